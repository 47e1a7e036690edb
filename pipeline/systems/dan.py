"""DAN for the expressions of a track, on labelled faces alone. The network: `models/dan.py`."""

from pydantic import Field

from models.dan import Dan
from pipeline.core.params import Section
from pipeline.train.fit import Job, Recipe, Train
from pipeline.train.frames import frame_recipe


class DanSizes(Section):
    """Sizes of the DAN network."""

    channels: list[int] = Field(min_length=4, max_length=4)
    layers: list[int] = Field(min_length=4, max_length=4)
    attention_heads: int = Field(ge=1)


class Settings(DanSizes):
    """`systems.dan`: DAN trained for a track."""

    image_pixels: int = Field(ge=32)
    label_smoothing: float = Field(ge=0, lt=1)
    train: Train


def build(settings: Settings, job: Job) -> Dan:
    """The network for the job's track."""
    job.require_expressions_alone("dan")
    return Dan(classes=len(job.track.classes), **settings.model_dump(exclude={"train"}))


def recipe(settings: Settings, job: Job) -> Recipe:
    """Labelled faces alone."""
    made, _ = frame_recipe(build(settings, job), settings.train, job)
    return made
