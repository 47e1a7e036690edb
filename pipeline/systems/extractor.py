"""The frozen network of cached features: a declared file, our encoder, the student, or a trained system's backbone."""

import functools
from pathlib import Path

from safetensors.torch import load_file

from models.vit import freeze
from pipeline.abaw.tracks import trained_track
from pipeline.backbones.build import build_backbone
from pipeline.backbones.device import device
from pipeline.backbones.encoder import Vit
from pipeline.backbones.features import OWN, CachedBackbone, Extractor, load_backbone, write_features
from pipeline.backbones.loading import fill
from pipeline.core.code import code_digest
from pipeline.core.errors import MienError
from pipeline.core.files import content_digest, sizes_digest
from pipeline.core.params import read_section
from pipeline.core.paths import SYSTEMS
from pipeline.core.workstore import seal
from pipeline.systems.feedback import Spatial, load_student, student_extractor

TRUNK = "backbone."  # where a system with one backbone keeps it among its weights


def extractor_of(settings: CachedBackbone, weights: Path) -> Extractor:
    """The frozen network that params name, filled with the weights that the graph names."""
    vit = read_section("vit", Vit)
    if settings.name == OWN:
        spatial = read_section("systems.feedback.spatial", Spatial)
        classes = len(trained_track(weights.name).classes)  # artifacts/feedback/<track>
        return student_extractor(load_student(spatial, vit, classes, weights))
    if weights.is_relative_to(SYSTEMS):
        return trained_extractor(settings, weights, vit)
    return load_backbone(settings, weights, vit)


def trained_extractor(settings: CachedBackbone, folder: Path, vit: Vit) -> Extractor:
    """The backbone of a trained system (`artifacts/systems/<track>/<member>`), without its heads."""
    path = folder / "weights.safetensors"
    own = {name.removeprefix(TRUNK): x for name, x in load_file(path).items() if name.startswith(TRUNK)}
    if not own:
        raise MienError(f"{path}: no backbone of its own; graph.features reads systems with one, as `vit` has it")
    backbone = build_backbone(settings, vit, pretrained=False)
    fill(backbone, own, path, settings.label)
    freeze(backbone)
    return Extractor(backbone.to(device()), backbone.pixels)


# --- shards of features, in this process or on a worker --------------------------------------------------------------


def make_shard(task: tuple[Path, Path], settings: CachedBackbone, weights: Path, batch: int) -> None:
    """Features of one shard of faces, written to its place in the work store and sealed: (faces, place)."""
    faces, shard = task
    extractor = _extractor(settings.model_dump_json(), weights)
    write_features(faces, shard, extractor, batch, {"mien.backbone": settings.name or weights.as_posix()})
    seal(shard)


@functools.lru_cache(maxsize=1)
def _extractor(settings: str, weights: Path) -> Extractor:
    """One network a process: loading it costs more than a shard."""
    return extractor_of(CachedBackbone.model_validate_json(settings), weights)


def feature_facts(weights: Path, faces: list[Path]) -> dict[str, str]:
    """What a worker must have to make these shards: the code, the network's weights, the faces."""
    return {
        "code": code_digest("pipeline.systems.extractor"),
        "weights": content_digest([weights]),
        "data": sizes_digest(faces),
    }
