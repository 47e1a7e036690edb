"""A system at any params without its stage: for benches and tests."""

from collections.abc import Sequence
from pathlib import Path

from models.system import System
from pipeline.abaw.tracks import trained_track
from pipeline.core.graph import Fold, Needs
from pipeline.core.paths import ENCODER, FACES, FEATURES, LABELS, SYSTEMS, TEMPLATES
from pipeline.settings import Params
from pipeline.systems import feedback
from pipeline.systems.named import system_module
from pipeline.train.fit import Job, Recipe

EVERYTHING = (ENCODER, FACES, SYSTEMS, FEATURES, LABELS, TEMPLATES)  # what any system may need but a teacher's labels


def job_of(
    track: str,
    params: Params,
    needs: Sequence[Path] = EVERYTHING,
    pretrained: bool = True,
    fold: Fold | None = None,
) -> Job:
    """A job that may read everything, or what is given."""
    common = params.finetune
    given = trained_track(track), params.vit, Needs("graph.trainings.x", needs)
    return Job(*given, common.evaluate_batch, pretrained, fold=fold, mirror=common.mirror)


def build_system(name: str, track: str, params: Params, pretrained: bool = True) -> System:
    """The network of a system."""
    return system_module(name).build(params.systems[name], job_of(track, params, pretrained=pretrained))


def recipe(
    name: str,
    track: str,
    params: Params,
    needs: Sequence[Path] = EVERYTHING,
    pretrained: bool = True,
    fold: Fold | None = None,
) -> Recipe:
    """A system with its batches; `feedback` in its first phase."""
    job = job_of(track, params, needs, pretrained, fold)
    if name == "feedback":
        settings = params.systems["feedback"]
        assert isinstance(settings, feedback.Settings)
        return feedback.pair_recipe(settings.spatial, job)
    made = system_module(name).recipe(params.systems[name], job)
    assert isinstance(made, Recipe), f"nothing of {name} is trained"
    return made
