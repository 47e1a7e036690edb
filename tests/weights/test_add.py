"""From a published file by `mien weights add` to a backbone with the source network's own output."""

from pathlib import Path
from typing import Any

import onnx
import pytest
import timm
import torch
from onnx import helper, numpy_helper
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.backbone import Backbone
from models.dan import Dan
from pipeline.backbones.build import BackboneSettings, build_backbone, normaliser
from pipeline.backbones.features import CachedBackbone, load_backbone
from pipeline.backbones.loading import load_weights
from pipeline.cli import parser
from pipeline.core.errors import MienError
from pipeline.core.files import file_digest
from pipeline.core.weights import declaration, declared
from tests.backbones.test_features import write_onnx
from tests.weights.conftest import ORIGIN
from tests.weights.forms import ARGS, Dino, PublishedDan, enliven, ir_forward, ir_tensors, mae_full, vit

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5,) * 3, (0.5,) * 3)


def pictures(pixels: int = 32) -> Tensor:
    return torch.randint(0, 256, (3, 3, pixels, pixels), dtype=torch.uint8)


def normalised(images: Tensor, statistics: tuple = IMAGENET) -> Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in statistics)
    return (images / 255 - mean) / std


def backbone_of(path: Path, tiny: Any, **settings: Any) -> Backbone:
    return build_backbone(BackboneSettings(weights=str(path), **settings), tiny.vit, pretrained=True).eval()


@torch.no_grad()
def agree(backbone: Backbone, source: Any, images: Tensor, statistics: tuple = IMAGENET) -> None:
    expected = source(normalised(images, statistics))
    assert expected.shape == (3, backbone.width) and expected.std() > 1e-3
    torch.testing.assert_close(backbone(images), expected, atol=1e-4, rtol=1e-4)


# --- vision transformers ---------------------------------------------------------------------------------------------


def test_mae_encoder_with_its_decoder_and_its_authors_arguments(add, tiny, capsys):
    """facebookresearch/mae, pretraining, as `checkpoint-*.pth` and `*_full.pth` are."""
    source = vit()
    optimiser = {"state": {0: {"exp_avg": torch.randn(3)}}, "param_groups": [{"lr": 0.1}]}
    path = add(
        {"model": mae_full(source), "optimizer": optimiser, "epoch": 4, "scaler": {}, "args": ARGS}, "--heads", "2"
    )
    agree(backbone_of(path, tiny, readout_grid=0), source, pictures())  # timm's class token
    told = capsys.readouterr().out
    assert f"backbone: {{weights: {path}}}" in told and "found in model" in told
    assert (
        "left out: mask_token (1), decoder_pos_embed (1), decoder_embed (2)" in told and "decoder_blocks (12)" in told
    )
    assert not any(name.startswith(("decoder", "mask")) for name in load_file(path))


def test_mae_fine_tuned_has_its_norm_behind_the_mean(add, tiny):
    """As FMAE's and MAE-Face's fine-tuned files: `fc_norm` in place of `norm`, a head, wrapped for several devices."""
    source = vit(global_pool="avg")
    tensors = {f"module.{name}": tensor for name, tensor in source.state_dict().items()}
    assert "module.fc_norm.weight" in tensors
    path = add({"model": tensors | {"module.head.weight": torch.randn(8, 16)}, "args": ARGS}, "--heads", "2")
    agree(backbone_of(path, tiny, readout_grid=1), source, pictures())


@pytest.mark.parametrize("registers", [0, 4])
def test_dinov2(add, tiny, registers):
    source = enliven(Dino(registers))
    assert ("register_tokens" in source.state_dict()) == bool(registers)
    path = add(source.state_dict(), "--heads", "2")
    agree(backbone_of(path, tiny, readout_grid=0), source, pictures())


def test_a_teacher_and_its_student(add, tiny):
    """As DINO's training checkpoints: the teacher is taken, out of its mapping and its prefix."""
    teacher, student = vit(), vit()
    stored = {
        "student": {f"module.backbone.{n}": t for n, t in student.state_dict().items()},
        "teacher": {f"backbone.{n}": t for n, t in teacher.state_dict().items()} | {"head.mlp.0.weight": torch.ones(2)},
    }
    agree(backbone_of(add(stored, "--heads", "2"), tiny, readout_grid=0), teacher, pictures())


def test_a_timm_vit_in_safetensors(add, tiny):
    source = vit(class_token=True, no_embed_class=True)
    save_file({**source.state_dict(), "head.weight": torch.randn(5, 16)}, "model.safetensors")
    agree(backbone_of(add(None, "--heads", "2", file="model.safetensors"), tiny, readout_grid=0), source, pictures())


def test_another_input_size_is_resampled_as_timm_does(add, tiny):
    source = vit()
    path = add(source.state_dict(), "--heads", "2")
    backbone = backbone_of(path, tiny, readout_grid=0, image_pixels=48)
    assert backbone.pixels == 48
    source.set_input_size(img_size=(48, 48))
    agree(backbone, source, pictures(48))
    with pytest.raises(MienError, match="image_pixels is 50; this ViT needs a multiple of 8"):
        backbone_of(path, tiny, image_pixels=50)


def test_half_precision_is_kept_as_float32(add, tiny):
    source = vit().half().float()
    path = add({name: tensor.half() for name, tensor in source.state_dict().items()}, "--heads", "2")
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float32}
    agree(backbone_of(path, tiny, readout_grid=0), source, pictures())


# --- convolutional networks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nest", [False, True])
def test_ir50_as_au_cvts_authors_use_it(add, tiny, nest):
    channels, units = [8, 16, 32], [2, 1, 2]
    tensors = ir_tensors(channels, units)
    path = add({"state_dict": {f"module.{n}": t for n, t in tensors.items()}} if nest else tensors)
    backbone = backbone_of(path, tiny, readout_grid=2, image_pixels=32)

    def source(images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(ir_forward(tensors, channels, units, images), 2).flatten(1)

    agree(backbone, source, pictures(), HALVES)
    assert backbone_of(path, tiny).pixels == 112


def test_dan_in_its_authors_names(add, tiny):
    source = enliven(PublishedDan((8, 8, 16, 32), 3, 8))
    stored = {"iter": 5, "model_state_dict": source.state_dict(), "optimizer_state_dict": {"state": {}}}
    path = add(stored)
    entry = declaration(path)
    assert entry and entry.architecture
    sizes: Any = entry.architecture.sizes
    assert sizes == {"channels": [8, 8, 16, 32], "layers": [1, 1, 1, 1], "attention_heads": 3, "classes": 8}
    dan = Dan(image_pixels=64, label_smoothing=0.0, normalise=normaliser(entry.normalisation), **sizes)
    load_weights(dan, path, "DAN")
    images = pictures(64)
    with torch.no_grad():
        torch.testing.assert_close(dan.eval().net(images), source(normalised(images)), atol=1e-4, rtol=1e-4)
    with pytest.raises(MienError, match=r"dan is no backbone to train: systems\.emma\.cnn\.weights reads such a file"):
        backbone_of(path, tiny)


def test_emotieffnet(add, tiny):
    """HSEmotion's state dict: timm's EfficientNet-B0 with a classifier of its own."""
    source: Any = enliven(timm.create_model("tf_efficientnet_b0", num_classes=0))
    stored = source.state_dict() | {"classifier.0.weight": torch.randn(8, 1280), "classifier.0.bias": torch.randn(8)}
    backbone = backbone_of(add(stored, file="enet_b0.pt"), tiny, image_pixels=64)
    agree(backbone, source, pictures(64))


def test_a_network_that_saw_opencvs_order_of_colours(add, tiny):
    """As SSL-DTM's EfficientNet-B7 did; here a small network of timm's, named."""
    source: Any = enliven(timm.create_model("test_efficientnet", num_classes=0))
    path = add(source.state_dict(), "--architecture", "test_efficientnet", "--colours", "bgr", "--pixels", "32")
    backbone, images = backbone_of(path, tiny), pictures()
    assert backbone.pixels == 32
    agree(backbone, lambda x: source(normalised(images.flip(1))), images)


def test_any_timm_network_by_name(add, tiny):
    source: Any = enliven(timm.create_model("test_vit", num_classes=7))
    statistics = ("--mean", "0.4", "0.5", "0.6", "--std", "0.1", "0.2", "0.3")
    path = add(source.state_dict(), "--architecture", "test_vit", *statistics)
    source.reset_classifier(0)
    backbone = backbone_of(path, tiny)
    agree(backbone, source, pictures(backbone.pixels), ((0.4, 0.5, 0.6), (0.1, 0.2, 0.3)))


@pytest.mark.parametrize("name", [None, "encoder"])
def test_cached_features_of_a_published_network(add, tiny, name):
    """The graph names the file, cache_features the data sets."""
    source = vit()
    path = add(source.state_dict(), "--heads", "2")
    extractor = load_backbone(CachedBackbone(name=name, readout_grid=0, datasets=["lsd"]), path, tiny.vit)
    images = pictures()
    assert extractor.pixels == 32
    torch.testing.assert_close(extractor(images), source(normalised(images)), atol=1e-4, rtol=1e-4)
    with pytest.raises(
        MienError, match=r"net\.safetensors is not resnet18: weights\.yaml declares it as vit; leave the name"
    ):
        backbone_of(path, tiny, name="resnet18")


# --- ONNX ------------------------------------------------------------------------------------------------------------


def test_onnx_with_parameter_names(add, tiny):
    source = vit()
    tensors = [numpy_helper.from_array(tensor.numpy(), name) for name, tensor in source.state_dict().items()]
    value = helper.make_tensor_value_info("x", 1, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "vit", [value], [value], tensors)
    onnx.save(helper.make_model(graph), "net.onnx")
    agree(backbone_of(add(None, "--heads", "2", file="net.onnx"), tiny, readout_grid=0), source, pictures())


def test_an_onnx_face_network_stays_onnx(add, tiny, capsys):
    write_onnx(Path("w600k.onnx"), 112, normalises_itself=False)
    path = add(file="w600k.onnx")
    assert path.read_bytes() == Path("w600k.onnx").read_bytes() and path.name == "net.onnx"
    assert "`name: onnx` in cache_features.backbones" in capsys.readouterr().out
    with pytest.raises(
        MienError, match="onnx is no backbone to train: cache_features, `name: onnx`, reads such a file"
    ):
        build_backbone(BackboneSettings(name="onnx").model_copy(update={"weights": str(path)}), tiny.vit, False)
    write_onnx(Path("other.onnx"), 8, normalises_itself=False)
    with pytest.raises(MienError, match=r"other\.onnx: its export kept no parameter names"):
        add(file="other.onnx")


# --- the declaration -------------------------------------------------------------------------------------------------


def test_the_declaration_says_all_of_it_and_leaves_the_rest_as_it_is(add):
    before = Path("weights.yaml").read_text()
    path = add(vit().state_dict(), "--heads", "2", "--label-types", "action units", "valence, arousal")
    after = Path("weights.yaml").read_text()
    assert after.startswith(before)
    entry = declared()["net.safetensors"]
    assert entry.sha256 == file_digest(path)
    assert (entry.source, entry.licence) == ("https://example.org/x", "CC-BY-NC 4.0")
    assert entry.trained_on == ["AffectNet", "MS-Celeb-1M"] and entry.label_types == [
        "action units",
        "valence, arousal",
    ]
    assert entry.architecture and entry.normalisation
    assert entry.architecture.sizes == {"image_pixels": 32, "patch_pixels": 8, "width": 16, "depth": 2, "heads": 2}
    assert (tuple(entry.normalisation.mean), tuple(entry.normalisation.std)) == IMAGENET
    assert (entry.normalisation.pixels, entry.normalisation.colours) == (32, "rgb")


def test_added_twice_is_declared_once_and_other_bytes_are_refused(add):
    stored = vit().state_dict()
    path = add(stored, "--heads", "2")
    text, data = Path("weights.yaml").read_bytes(), path.read_bytes()
    add(stored, "--heads", "2")
    assert (Path("weights.yaml").read_bytes(), path.read_bytes()) == (text, data)
    for changed, options in ((vit().state_dict(), ()), (stored, ("--pixels", "64"))):
        with pytest.raises(MienError, match=r"weights\.yaml: net\.safetensors is declared otherwise"):
            add(changed, "--heads", "2", *options)
    assert (Path("weights.yaml").read_bytes(), path.read_bytes()) == (text, data)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--name", "../net"], "--name ../net: use letters"),
        (["--source", "https://me:secret@example.org/x"], "--source holds credentials"),
        (["--std", "0", "1", "1"], "--std: Input should be greater than 0"),
        (["--pixels", "-3"], "--pixels: Input should be greater than or equal to 1"),
        (["--architecture", "vit_none"], "--architecture: timm knows no model vit_none"),
        (["--heads", "3"], r"published\.pth: no shape tells how many heads a ViT of width 16 has; say it with --heads"),
        ([], r"published\.pth: no shape tells how many heads"),
    ],
)
def test_what_is_said_wrongly_is_told(workspace, options, reason):
    torch.save(vit().state_dict(), "published.pth")
    heads = [] if "heads" in reason else ["--heads", "2"]
    args = parser().parse_args(["weights", "add", "published.pth", "--name", "net", *ORIGIN, *heads, *options])
    with pytest.raises(MienError, match=reason) as caught:
        args.run(args)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2 and not Path("weights").exists()
