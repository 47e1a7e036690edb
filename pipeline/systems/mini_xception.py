"""A published expression network as a member: mini-Xception as it was trained on FER-2013, of which nothing is trained.

It gives scores of validation and test and is judged as any other member. `mien weights add` brings its file; how its
classes become the track's is told in `models/mini_xception.py`.
"""

from pathlib import Path

from models.mini_xception import Expressions
from pipeline.backbones.expressions import NETWORK, expressions_of
from pipeline.backbones.loading import Local
from pipeline.core.params import Section
from pipeline.train.fit import Job, Scored
from pipeline.train.frames import published_frames


class Settings(Section):
    """`systems.mini_xception`: the file, which weights.yaml declares."""

    weights: Local


def build(settings: Settings, job: Job) -> Expressions:
    """The network with the classes of the job's track."""
    job.require_expressions_alone(NETWORK)
    return expressions_of(Path(settings.weights), job.track, job.pretrained)


def recipe(settings: Settings, job: Job) -> Scored:
    """Its scores alone."""
    return published_frames(build(settings, job), job)
