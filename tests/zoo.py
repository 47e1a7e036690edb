"""Every system at a tiny size, with a batch that any of them can be given."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from models.au_cvt import AuCvt
from models.backbone import vit_backbone
from models.cotex import CoTex, View
from models.dan import Dan
from models.dtm import Dtm
from models.emma import Emma
from models.feedback import Feedback
from models.multitask import Multitask
from models.system import Batch, System
from models.temporal import TemporalEncoder
from models.thresholds import FixedThreshold
from models.vit_heads import VitHeads

VIT = {"image_pixels": 16, "patch_pixels": 4, "width": 16, "depth": 2, "heads": 2}
DAN: dict[str, Any] = {"channels": [8, 8, 16, 64], "layers": [1, 1, 1, 1], "attention_heads": 2}
APPEARANCE = {"landmarks": 10, "pose": 2, "identity": 4, "age": 1, "sex": 1}


def build_vit_heads() -> VitHeads:
    backbone = vit_backbone(VIT, 2)
    return VitHeads(backbone, expressions=8, aus=True, va=True, label_smoothing=0.0, pseudo_weight=0.5)


def build_dan() -> Dan:
    return Dan(image_pixels=16, classes=6, label_smoothing=0.0, **DAN)


def build_au_cvt() -> AuCvt:
    sizes: dict[str, Any] = {
        "channels": [8, 16],
        "units": [1, 1],
        "width": 16,
        "heads": 2,
        "blocks_before": 1,
        "blocks_after": 1,
    }
    return AuCvt(image_pixels=16, classes=6, regions="abaw", au_weight=0.5, **sizes)


def build_multitask() -> Multitask:
    weights = dict.fromkeys(APPEARANCE, 1.0)
    backbones = [vit_backbone(VIT, 2), vit_backbone(VIT, 0)]
    return Multitask(backbones, width=16, classes=6, appearance_weights=weights, identity_width=4)


def build_emma() -> Emma:
    settings: dict[str, Any] = {"hidden": 32, "va_hidden": 16, "va_from": "scores", "va_rate": 1e-2, "au_weight": 1.0}
    cnn = build_dan().net
    return Emma(vit_backbone(VIT, 0), cnn, 6, au_pos_weight=[1.0] * 12, **settings)


def build_cotex() -> CoTex:
    return CoTex([View(vit_backbone(VIT, 0), 6) for _ in range(2)], mask_ratio=0.5, consistency_weight=10.0)


def build_feedback() -> Feedback:
    settings: dict[str, Any] = {"temperature": 1.0, "unsupervised_weight": 1.0, "ramp_steps": 10, "head_start_steps": 0}
    teacher, student = vit_backbone(VIT, 2), vit_backbone(VIT, 2)
    return Feedback(teacher, student, classes=8, feedback=True, labelled_steps=0, total_steps=1000, **settings)


def build_temporal() -> TemporalEncoder:
    sizes: dict[str, Any] = {"width": 16, "layers": 2, "heads": 2, "feedforward": 32, "dropout": 0.0}
    return TemporalEncoder(12, outputs={"expression": 8}, window_frames=5, **sizes)


def build_dtm(threshold: FixedThreshold | None = None) -> Dtm:
    settings: dict[str, Any] = {"scale": 16.0, "unlabelled_weight": 0.5, "supervised_steps": 0}
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
        return {"expression": torch.cat([system.predict_video(x, present, 2)["expression"] for x, present in videos])}
    return system.predict({"images": batch["images"]})
