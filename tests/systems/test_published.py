"""Published networks in every system: no encoder of ours is read, each sees what it was trained on, all train."""

import shutil
from pathlib import Path
from typing import Any, cast

import pytest
import timm
import torch
import yaml
from torch import Tensor

from bench.jobs import recipe
from models.system import System
from pipeline.backbones.build import BackboneSettings
from pipeline.cli import parser
from pipeline.core.deps import stage_deps
from pipeline.core.errors import MienError
from pipeline.core.files import file_digest
from pipeline.core.paths import ENCODER
from pipeline.settings import Params, load_params
from pipeline.train.fit import fit, seed_weights
from pipeline.train.optimiser import layer_scales
from tests.mini import changed
from tests.weights.conftest import ORIGIN
from tests.weights.forms import Dino, PublishedDan, enliven, ir_forward, ir_tensors, mae_full, vit

NEEDS = ("artifacts/faces", "artifacts/systems", "artifacts/features")  # and not artifacts/mae


@pytest.fixture
def published(mini_root: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The miniature release without its encoder, and five files that `mien weights add` brought in."""
    torch.manual_seed(0)
    shutil.copytree(mini_root / "artifacts", tmp_path / "artifacts")
    shutil.rmtree(tmp_path / ENCODER)
    shutil.copy(root / "weights.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    efficientnet: Any = enliven(timm.create_model("test_efficientnet", num_classes=0))
    for name, stored, options in (
        ("mae", {"model": mae_full(vit())}, ["--heads", "2"]),
        ("dino", enliven(Dino(4)).state_dict(), ["--heads", "2"]),
        (
            "enet",
            efficientnet.state_dict(),
            ["--architecture", "test_efficientnet", "--pixels", "32", "--colours", "bgr"],
        ),
        ("ir", ir_tensors([8, 16, 32, 64], [1, 1, 1, 1]), []),  # a stage more than AU-CVT reads
        ("dan", {"model_state_dict": enliven(PublishedDan((8, 8, 16, 16), 2, 8)).state_dict()}, []),
    ):
        torch.save(stored, f"{name}.pth")
        args = parser().parse_args(["weights", "add", f"{name}.pth", "--name", name, *ORIGIN, *options])
        args.run(args)
    return tmp_path


def named(name: str, grid: int = 1, standardise: bool = False) -> BackboneSettings:
    return BackboneSettings(weights=f"weights/{name}.safetensors", readout_grid=grid, standardise=standardise)


def with_weights(tiny: Params) -> Params:
    """Every system that starts from a backbone, from published ones."""
    emma: Any = tiny.systems["emma"]
    cnn = emma.cnn.model_copy(update={"weights": "weights/dan.safetensors", "classes": 8})
    params = changed(tiny, "vit", backbone=named("dino", 0))
    params = changed(params, "emma", backbone=named("dino", 0), cnn=cnn)
    params = changed(params, "cotex", backbone=named("mae", 2, standardise=True))
    params = changed(params, "au_cvt", stem_weights="weights/ir.safetensors", channels=[8, 16, 32])
    params = changed(params, "multitask", networks=[named("mae"), named("enet"), named("dino", 0)])
    return changed(params, "dtm", backbone=named("enet"))


@pytest.mark.parametrize(
    ("system", "track"), [("vit", "va"), ("emma", "mtl"), ("cotex", "lsd"), ("multitask", "lsd"), ("dtm", "expr")]
)
def test_every_system_trains_from_published_weights(published, tiny, tmp_path, system, track):
    params = with_weights(tiny)
    seed_weights(params.finetune)
    made = recipe(system, track, params, [Path(path) for path in NEEDS])
    module, loop = fit(system, made, params.finetune, tmp_path / "work", lambda metrics, step: None)
    assert all(torch.isfinite(tensor).all() for tensor in module.state_dict().values())
    assert [row["step"] for row in loop.history if "score" in row] == [3, 6]
    again = recipe(system, track, params, [Path(path) for path in NEEDS], pretrained=False).module
    again.load_state_dict(module.state_dict())  # what `mien predict` does: the declaration alone says what it is


def built(system: str, track: str, tiny: Params) -> Any:
    module = recipe(system, track, with_weights(tiny), [Path(path) for path in NEEDS]).module
    assert isinstance(module, System)
    return module.eval()


def imagenet(images: Tensor) -> Tensor:
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (images / 255 - mean) / std


@torch.no_grad()
def test_each_network_sees_what_it_was_trained_on(published, tiny):
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    dino, dan = Dino(4).eval(), PublishedDan((8, 8, 16, 16), 2, 8).eval()
    dino.load_state_dict(torch.load("dino.pth", weights_only=True))
    dan.load_state_dict(torch.load("dan.pth", weights_only=True)["model_state_dict"])
    enet: Any = timm.create_model("test_efficientnet", num_classes=0).eval()
    enet.load_state_dict(torch.load("enet.pth", weights_only=True))
    mae = vit(global_pool="avg", fc_norm=False)
    mae.load_state_dict(torch.load("mae.pth", weights_only=True)["model"], strict=False)
    multitask, emma, cotex = (built(*pair, tiny) for pair in (("multitask", "lsd"), ("emma", "mtl"), ("cotex", "lsd")))
    sources = (mae(imagenet(images)), enet(imagenet(images.flip(1))), dino(imagenet(images)))
    for network, expected in zip(multitask.networks, sources, strict=True):
        torch.testing.assert_close(network.backbone(images), expected, atol=1e-4, rtol=1e-4)
    read: list[Tensor] = []
    emma.head.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    emma(images)
    torch.testing.assert_close(read[0], dino(imagenet(images)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(emma.cnn(images), dan(imagenet(images)), atol=1e-3, rtol=1e-3)
    view = cotex.views[1]
    view.head.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    view(images, 0.0)
    tokens = mae.forward_features(imagenet(images))[:, 1:].transpose(1, 2).unflatten(2, (4, 4))
    torch.testing.assert_close(read[1], torch.nn.functional.avg_pool2d(tokens, 2).flatten(1), atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", ["dino", "mae"])
def test_masked_views_of_a_published_vit_see_every_token_but_the_hidden(published, tiny, name):
    """Nothing hidden (a ratio too small to hide a patch) is the whole network, registers and positions included."""
    params = changed(with_weights(tiny), "cotex", backbone=named(name, 0))
    cotex: Any = recipe("cotex", "lsd", params, [Path("artifacts/faces")]).module.eval()
    images, view = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8), cotex.views[0]
    torch.testing.assert_close(view(images, 1e-9), view(images, 0.0), atol=1e-5, rtol=1e-4)
    seen: list[tuple] = []
    view.encoder.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape)))
    view(images, 0.5)
    assert seen == [(3, 8 + (5 if name == "dino" else 1), 16)]


@torch.no_grad()
def test_au_cvt_starts_from_the_first_stages_of_an_ir50(published, tiny):
    path, images = Path("artifacts/pseudo/au/lsd.parquet"), torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    system: Any = recipe("au_cvt", "lsd", with_weights(tiny), [path]).module.eval()
    read: list[Tensor] = []
    system.patch_embed.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    system(images)
    tensors = torch.load("ir.pth", weights_only=True)
    expected = ir_forward(tensors, [8, 16, 32], [1, 1, 1], images / 127.5 - 1)
    torch.testing.assert_close(read[0], expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_timm_vit_by_name_serves_where_tokens_are_read(published, tiny):
    source: Any = enliven(timm.create_model("test_vit", num_classes=0, img_size=32))
    torch.save(source.state_dict(), "test.pth")
    args = parser().parse_args(["weights", "add", "test.pth", "--name", "test", *ORIGIN, "--architecture", "test_vit"])
    args.run(args)
    backbone = named("test", 0).model_copy(update={"image_pixels": 32})
    made = recipe("cotex", "lsd", changed(with_weights(tiny), "cotex", backbone=backbone), [Path("artifacts/faces")])
    view, images = cast(Any, made.module.eval()).views[0], torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    mean, std = (torch.tensor(source.default_cfg[name]).view(3, 1, 1) for name in ("mean", "std"))
    expected = source.forward_features((images / 255 - mean) / std)[:, 0]
    torch.testing.assert_close(view(images, 0.0), view.head(expected), atol=1e-4, rtol=1e-4)
    assert layer_scales(made.module, 0.5)["views.1.encoder.norm.weight"] == 0.5


def test_layer_decay_reaches_into_published_networks(published, tiny):
    scales = layer_scales(built("multitask", "lsd", tiny), 0.5)
    for network, first, last in (
        ("0", "encoder.pos_embed", "encoder.norm.weight"),
        ("2", "encoder.reg_token", "encoder.norm.bias"),
    ):
        prefix = f"networks.{network}.backbone.network."
        assert (scales[prefix + first], scales[prefix + last]) == (0.125, 0.5)
    assert scales["networks.1.backbone.network.conv_stem.weight"] < 0.125


def test_what_is_no_vit_is_refused_where_tokens_are_read(published, tiny):
    params = changed(with_weights(tiny), "cotex", backbone=named("enet"))
    with pytest.raises(MienError, match=r"enet\.safetensors is no ViT, and this system reads a ViT's tokens"):
        recipe("cotex", "lsd", params, [Path("artifacts/faces")])


def test_a_graph_needs_no_encoder_of_ours(published, root):
    """One training from a published file, no pretraining: params are in order and nothing depends on artifacts/mae."""
    tree = yaml.safe_load((root / "params.yaml").read_text())
    line = tree["graph"]["trainings"]["cotex-lsd"] | {"needs": ["artifacts/faces/lsd"] * 3}
    empty: dict[str, Any] = {key: {} for key in ("external", "encoders", "features", "pool_labellers", "feedback")}
    tree["graph"] = empty | {
        "tracks": ["lsd"],
        "au_teachers": [],
        "trainings": {"cotex-lsd": line},
        "shown": ["artifacts/systems", "artifacts/systems"],
    }
    tree["cache_features"]["backbones"], tree["ensemble"]["members"] = {}, {"lsd": ["cotex"]}
    backbone = {"weights": "weights/mae.safetensors", "readout_grid": 2, "standardise": True}
    tree["systems"]["cotex"]["backbone"] = backbone
    Path("params.yaml").write_text(yaml.safe_dump(tree))
    shutil.copy(root / "dvc.yaml", "dvc.yaml")
    params = load_params()
    deps = stage_deps("finetune@cotex-lsd")
    assert Path("artifacts/declared/finetune@cotex-lsd.yaml") in deps
    assert not any(path.is_relative_to(ENCODER) for path in deps)
    needs = [Path(path) for path in params.graph.trainings["cotex-lsd"].needs]
    assert recipe("cotex", "lsd", params, needs).module


def test_a_changed_file_is_refused(published, tiny):
    path = Path("weights/mae.safetensors")
    digest = file_digest(path)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(MienError, match=rf"mae\.safetensors: sha256 is .*weights\.yaml declares {digest}"):
        recipe("cotex", "lsd", with_weights(tiny), [Path("artifacts/faces")])
