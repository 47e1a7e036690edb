"""The frozen network of cached features: a declared file, our encoder, the student, or a trained system's backbone."""

from pathlib import Path

from safetensors.torch import load_file

from models.vit import freeze
from pipeline.abaw.tracks import trained_track
from pipeline.backbones.build import build_backbone
from pipeline.backbones.device import device
from pipeline.backbones.encoder import Vit
from pipeline.backbones.features import OWN, CachedBackbone, Extractor, load_backbone
from pipeline.backbones.loading import fill
from pipeline.core.errors import MienError
from pipeline.core.params import read_section
from pipeline.core.paths import SYSTEMS
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
