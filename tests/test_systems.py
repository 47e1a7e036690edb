"""Every system at a tiny size: shapes, gradients, masks, learning by heart, storage, layer groups."""

from collections.abc import Callable
from typing import cast

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from models.au_cvt import AuCvt
from models.backbone import timm_backbone, vit_backbone
from models.cotex import CoTex
from models.dan import Dan
from models.dtm import Dtm
from models.emma import Emma
from models.feedback import Feedback
from models.multitask import Multitask
from models.system import Batch, System
from models.temporal import TemporalEncoder
from models.thresholds import DynamicThreshold, FixedThreshold, SelfAdaptiveThreshold
from models.vit_heads import VitHeads
from pipeline.base.params import Optimise
from pipeline.train.checkpoint import save_tensors
from pipeline.train.loop import make_optimizer
from pipeline.train.schedule import set_learning_rate

VIT = {"image_pixels": 16, "patch_pixels": 4, "width": 16, "depth": 2, "heads": 2}
DAN = {"channels": [8, 8, 16, 64], "layers": [1, 1, 1, 1], "attention_heads": 2}
APPEARANCE = {"landmarks": 10, "pose": 2, "identity": 4, "age": 1, "sex": 1}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def build_vit_heads() -> VitHeads:
    backbone = vit_backbone(VIT, 2)
    return VitHeads(backbone, expressions=8, aus=True, va=True, label_smoothing=0.0, pseudo_weight=0.5)


def build_dan() -> Dan:
    return Dan(image_pixels=16, classes=6, label_smoothing=0.0, **DAN)


def build_au_cvt() -> AuCvt:
    sizes = {"channels": [8, 16], "units": [1, 1], "width": 16, "heads": 2, "blocks_before": 1, "blocks_after": 1}
    return AuCvt(image_pixels=16, classes=6, regions="abaw", au_weight=0.5, **sizes)


def build_multitask() -> Multitask:
    weights = dict.fromkeys(APPEARANCE, 1.0)
    backbones = [vit_backbone(VIT, 2), vit_backbone(VIT, 0)]
    return Multitask(backbones, width=16, classes=6, appearance_weights=weights, identity_width=4)


def build_emma() -> Emma:
    settings = {"readout_grid": 0, "hidden": 32, "va_hidden": 16, "va_from": "scores", "va_rate": 1e-2}
    return Emma(VIT, build_dan().net, 6, drop_path=0.0, au_pos_weight=[1.0] * 12, **settings)


def build_cotex() -> CoTex:
    settings = {"views": 2, "readout_grid": 0, "mask_ratio": 0.5, "consistency_weight": 10.0}
    return CoTex(VIT, classes=6, drop_path=0.0, **settings)


def build_feedback() -> Feedback:
    settings = {"temperature": 1.0, "unsupervised_weight": 1.0, "ramp_steps": 10, "head_start_steps": 0}
    teacher, student = vit_backbone(VIT, 2), vit_backbone(VIT, 2)
    return Feedback(teacher, student, classes=8, feedback=True, labelled_steps=0, total_steps=1000, **settings)


def build_temporal() -> TemporalEncoder:
    sizes = {"width": 16, "layers": 2, "heads": 2, "feedforward": 32, "dropout": 0.0}
    return TemporalEncoder(12, classes=8, window_frames=5, **sizes)


def build_dtm(threshold: FixedThreshold | None = None) -> Dtm:
    settings = {"scale": 16.0, "unlabelled_weight": 0.5, "supervised_steps": 0}
    return Dtm(vit_backbone(VIT, 2), threshold or FixedThreshold(8, 0.0), classes=8, **settings)


BUILDERS: dict[str, Callable[[], System]] = {
    "vit": build_vit_heads,
    "dan": build_dan,
    "au_cvt": build_au_cvt,
    "multitask": build_multitask,
    "emma": build_emma,
    "cotex": build_cotex,
    "feedback": build_feedback,
    "temporal": build_temporal,
    "dtm": build_dtm,
}
CLASSES = dict.fromkeys(("dan", "au_cvt", "multitask", "cotex"), 6) | dict.fromkeys(
    ("vit", "emma", "feedback", "temporal", "dtm"), 8
)
every_system = pytest.mark.parametrize("name", BUILDERS)


def pictures(batch: int) -> Tensor:
    return torch.randint(0, 256, (batch, 3, 16, 16), dtype=torch.uint8)


def batch_of(name: str, rows: int = 6) -> Batch:
    """All that any system asks for; the unlabelled faces of the semi-supervised ones are the labelled ones."""
    if name == "temporal":
        present = torch.arange(5) < torch.randint(2, 6, (rows, 1))
        expression = torch.randint(0, 8, (rows, 5)).masked_fill(~present, -1)
        return {"features": torch.randn(rows, 5, 12), "present": present, "expression": expression}
    images = pictures(rows)
    batch = {
        "images": images,
        "expression": torch.arange(rows) % CLASSES[name],
        "aus": torch.randint(0, 2, (rows, 12)),
        "va": torch.rand(rows, 2) * 2 - 1,
        "pseudo": torch.zeros(rows, dtype=torch.bool),
    }
    batch |= {target: torch.rand(rows, size) for target, size in APPEARANCE.items()}
    return batch | {"sex": batch["sex"].round(), "weak": images, "other_weak": images, "strong": images}


def total(parts: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(parts.values())).sum()


def predict(system: System, batch: Batch) -> dict[str, Tensor]:
    if isinstance(system, TemporalEncoder):
        videos = zip(batch["features"], batch["present"], strict=True)
        return {"expression": torch.cat([system.predict_video(x, present, 2) for x, present in videos])}
    return system.predict({"images": batch["images"]})


# --- predictions -----------------------------------------------------------------------------------------------------


@every_system
def test_predictions_have_their_shapes_and_ranges(name):
    system = BUILDERS[name]().eval()
    scores = predict(system, batch_of(name))
    tasks = {"expression": CLASSES[name]} | ({"aus": 12, "va": 2} if name in ("vit", "emma") else {})
    rows = 30 if name == "temporal" else 6
    assert {task: tuple(values.shape) for task, values in scores.items()} == {t: (rows, n) for t, n in tasks.items()}
    torch.testing.assert_close(scores["expression"].sum(dim=1), torch.ones(rows))
    assert (scores["expression"] >= 0).all()
    if "aus" in tasks:
        assert ((scores["aus"] > 0) & (scores["aus"] < 1)).all() and (scores["va"].abs() <= 1).all()
    assert not any(values.requires_grad for values in scores.values())


@every_system
def test_a_prediction_does_not_depend_on_the_rest_of_the_batch(name):
    system, batch = BUILDERS[name]().eval(), batch_of(name)
    for head in system.modules():
        if isinstance(head, nn.Linear):
            nn.init.normal_(head.weight, std=0.3)
    whole = predict(system, batch)
    single = predict(system, {key: values[2:3] for key, values in batch.items()})
    rows = slice(10, 15) if name == "temporal" else slice(2, 3)
    for task, values in single.items():
        torch.testing.assert_close(values, whole[task][rows], atol=1e-5, rtol=1e-4)


def test_emma_cuts_valence_and_arousal():
    system = build_emma().eval()
    nn.init.normal_(system.va_head[2].weight, std=30)
    va = system(pictures(6))["va"]
    cut = system.predict({"images": pictures(6)})["va"]
    assert va.abs().max() > 1 and cut.abs().max() == 1


# --- gradients and masks ---------------------------------------------------------------------------------------------


@every_system
def test_gradients_reach_every_parameter(name):
    # in evaluation mode: in training a batch norm takes the bias before it away again
    system, batch = BUILDERS[name]().eval(), batch_of(name)
    for _ in range(8):  # from several places: some start at zero, and of two cheeks one may stay the larger
        for parameter in system.parameters():
            parameter.data += torch.randn_like(parameter) * 0.1
        for parts in system.steps(batch):
            total(parts).backward()
    trained = {n: p for n, p in system.named_parameters() if p.requires_grad}
    assert [n for n, p in trained.items() if p.grad is None or not p.grad.any()] == []
    frozen = {n for n, _ in system.named_parameters()} - set(trained)
    assert all(n.startswith("cnn.") for n in frozen) and bool(frozen) == (name == "emma")


INVALID = {"expression": -1, "aus": -1, "va": -5.0, **dict.fromkeys(APPEARANCE, float("nan"))}
ROWS = [1, 4]


@pytest.mark.parametrize("name", [name for name in BUILDERS if name != "feedback"])  # which has none such in a batch
def test_faces_without_labels_contribute_nothing(name):
    # in evaluation mode: in training a batch norm shows every face what the others look like
    system, batch = BUILDERS[name]().eval(), batch_of(name)
    seen = "features" if name == "temporal" else "images"
    for task, mark in INVALID.items():
        if task in batch:
            batch[task] = batch[task].clone()
            batch[task][ROWS] = mark

    def losses(changed: list[int]) -> dict[str, float]:
        inputs = batch[seen].clone()
        inputs[changed] = batch[seen].flip(-1)[changed]
        torch.manual_seed(3)  # the same patches are hidden
        return {part: loss.item() for part, loss in system.losses(batch | {seen: inputs}).items()}

    first = losses([])
    assert losses(ROWS) == first
    moved = losses([0])
    assert all(moved[part] != first[part] for part in first if part != "unlabelled")


def test_unlabelled_faces_below_their_threshold_contribute_nothing():
    system, batch = build_dtm(FixedThreshold(8, 0.5)).eval(), batch_of("dtm", 16)
    nn.init.normal_(system.head.weight, std=0.15)
    _, accepted = system.pseudo_labels(batch["weak"], batch["other_weak"])
    assert 3 < accepted.sum() < 13

    def loss(changed: Tensor) -> float:
        strong = torch.where(changed[:, None, None, None], batch["strong"].flip(-1), batch["strong"])
        return system.losses(batch | {"strong": strong})["unlabelled"].item()

    nothing = torch.zeros_like(accepted)
    assert loss(~accepted) == loss(nothing) != loss(accepted)


# --- learning by heart -----------------------------------------------------------------------------------------------


@every_system
def test_a_batch_is_learnt_by_heart(name):
    steps, rows = 120 if name == "cotex" else 80, 16 if name == "dan" else 8
    system, batch = BUILDERS[name](), batch_of(name, rows)
    optimizer = torch.optim.AdamW(system.parameters(), weight_decay=0.0)
    history = []
    system.train()
    for step in range(steps):
        set_learning_rate(optimizer, 1e-2 * (1 - step / steps))  # batch statistics come to rest
        row = {}
        for parts in system.steps(batch):
            total(parts).backward()
            optimizer.step()
            optimizer.zero_grad()
            row |= {part: loss.item() for part, loss in parts.items()}
        history.append(row)
    learnt = {"vit": "expression aus va", "au_cvt": "expression aus", "emma": "expression aus va"}
    learnt |= {"feedback": "student teacher", "multitask": " ".join(["expression", *APPEARANCE])}
    for part in learnt.get(name, "expression").split():
        assert history[-1][part] < 0.4 * max(row[part] for row in history[:3]), part
    system.eval()
    scores = predict(system, batch)
    labels = batch["expression"].flatten()
    assert torch.equal(scores["expression"].argmax(dim=1)[labels >= 0], labels[labels >= 0])
    if "aus" in scores:
        assert ((scores["aus"] > 0.5) == batch["aus"]).float().mean() > 0.9


# --- storage ---------------------------------------------------------------------------------------------------------


@every_system
def test_weights_on_disk_predict_the_same(name, tmp_path):
    system, batch = BUILDERS[name](), batch_of(name)
    if name != "temporal":
        for parts in system.train().steps(batch):  # batch statistics and step counters leave their start
            del parts
    for parameter in system.parameters():
        nn.init.normal_(parameter, std=0.2)
    save_tensors(tmp_path / "weights.safetensors", system.state_dict())
    other = BUILDERS[name]()
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    first, second = (predict(module.eval(), batch) for module in (system, other))
    assert all(torch.equal(first[task], second[task]) for task in first)
    untrained = predict(BUILDERS[name]().eval(), batch)
    assert not any(torch.allclose(first[task], untrained[task], atol=1e-4) for task in first)


@pytest.mark.parametrize("threshold", [DynamicThreshold, SelfAdaptiveThreshold])
def test_thresholds_and_steps_are_stored(threshold, tmp_path):
    system, batch = build_dtm(threshold(8)), batch_of("dtm")
    system.losses(batch)
    system.threshold.update(torch.eye(8)[:4] * 0.9, torch.arange(4))
    save_tensors(tmp_path / "weights.safetensors", system.state_dict())
    other = build_dtm(threshold(8))
    assert not torch.equal(other.threshold.tau, system.threshold.tau)
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(other.threshold.tau, system.threshold.tau) and int(other.step) == 1


# --- layer groups ----------------------------------------------------------------------------------------------------

OPTIMISE = Optimise(
    batch=256,
    steps=10,
    warmup_steps=0,
    base_learning_rate=0.1,
    min_learning_rate=0.0,
    weight_decay=0.05,
    layer_decay=0.5,
    clip_norm=1.0,
    ema_decay=0.0,
)
HEADS = {"aus": False, "va": False, "label_smoothing": 0.0, "pseudo_weight": 1.0}
PREFIXES = {
    "vit": ["backbone.network.encoder."],
    "emma": ["encoder."],
    "cotex": ["views.0.encoder.", "views.1.encoder."],
    "feedback": ["teacher.backbone.network.encoder.", "student.backbone.network.encoder."],
    "dtm": ["backbone.network.encoder."],
}


def settings_of(system: System, key: str) -> dict[str, float]:
    """A setting of each trained parameter's group, by the parameter's name."""
    optimizer = make_optimizer(system, OPTIMISE)
    names = {id(p): name for name, p in system.named_parameters()}
    found = [(names[id(p)], group.get(key)) for group in optimizer.param_groups for p in group["params"]]
    assert len(found) == len(dict(found)) == sum(p.requires_grad for p in system.parameters())
    return dict(found)


@pytest.mark.parametrize("name", PREFIXES)
def test_layer_decay_falls_from_the_heads_to_the_embedding(name):
    system = BUILDERS[name]()
    scale, decay = settings_of(system, "lr_scale"), settings_of(system, "weight_decay")
    for prefix in PREFIXES[name]:
        for stem in ("cls_token", "pos_embed", "patch_embed.proj.weight"):
            assert scale[prefix + stem] == 0.125
        assert [scale[f"{prefix}blocks.{number}.attn.qkv.weight"] for number in range(2)] == [0.25, 0.5]
        assert scale[f"{prefix}norm.weight"] == 0.5
        assert [decay[prefix + n] for n in ("cls_token", "pos_embed", "norm.weight")] == [0, 0, 0]
        assert decay[f"{prefix}patch_embed.proj.weight"] == 0.05
    heads = {n for n in scale if not any(n.startswith(prefix) for prefix in PREFIXES[name])}
    constant = {n for n in heads if n.startswith("va_head")}
    assert heads - constant and all(scale[n] == 1 for n in heads - constant)
    assert bool(constant) == (name == "emma")


def test_branches_move_faster_than_their_backbones():
    scale = settings_of(build_multitask(), "lr_scale")
    assert {n: s for n, s in scale.items() if s != (0.5 if ".backbone." in n else 1)} == {}
    decay = settings_of(build_multitask(), "weight_decay")
    assert decay["networks.1.backbone.network.encoder.pos_embed"] == 0


@pytest.mark.parametrize("name", ["dan", "au_cvt", "temporal"])
def test_systems_without_pretrained_layers_move_at_one_rate(name):
    assert set(settings_of(BUILDERS[name](), "lr_scale").values()) == {1}
    assert name != "au_cvt" or settings_of(build_au_cvt(), "weight_decay")["pos_embed"] == 0


def test_a_timm_backbone_is_one_group():
    settings = {"temperature": 1.0, "unsupervised_weight": 1.0, "ramp_steps": 10, "head_start_steps": 0}
    settings |= {"classes": 8, "feedback": True, "labelled_steps": 0, "total_steps": 10}
    for system in (
        Feedback(timm_backbone("test_resnet"), timm_backbone("test_resnet"), **settings),
        VitHeads(timm_backbone("test_resnet"), expressions=8, **HEADS),
    ):
        scale = settings_of(system, "lr_scale")
        assert {n: s for n, s in scale.items() if s != (0.5 if "backbone." in n else 1)} == {}


def test_positions_of_a_timm_backbone_are_not_decayed():
    system = VitHeads(timm_backbone("test_vit", 32), expressions=8, **HEADS)
    assert settings_of(system, "weight_decay")["backbone.network.pos_embed"] == 0


@pytest.mark.parametrize("layer_decay", [0.5, 1.0])
def test_the_valence_head_of_emma_has_a_rate_of_its_own(layer_decay):
    system = build_emma()
    optimizer = make_optimizer(system, OPTIMISE.model_copy(update={"layer_decay": layer_decay}))
    own = list(system.va_head.parameters())
    (group,) = [group for group in optimizer.param_groups if any(p is own[0] for p in group["params"])]
    assert [id(p) for p in group["params"]] == [id(p) for p in own]
    assert (group["weight_decay"], group["betas"]) == (0.0, (0.9, 0.999))
    for rate in (0.1, 0.003):
        set_learning_rate(optimizer, rate)
        assert group["lr"] == 1e-2
        assert max(g["lr"] for g in optimizer.param_groups if g is not group) == rate


def test_a_constant_rate_takes_no_part_in_weight_decay():
    system = cast(Emma, build_emma())
    optimizer = make_optimizer(system, OPTIMISE)
    before = {name: p.clone() for name, p in system.named_parameters() if p.requires_grad}
    for parameter in system.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    after = dict(system.named_parameters())
    moved = {name for name, start in before.items() if not torch.equal(start, after[name])}
    assert "head.0.weight" in moved and not any(name.startswith("va_head") for name in moved)
