"""The `retrain` section of params.yaml: where recordings arrive, and when a challenger takes the champion's place.

It stands here, and not in its room, because `pipeline/settings.py` checks the whole file and the room stands above it.
"""

from pathlib import Path
from typing import Literal, get_args

from pydantic import Field, field_validator

from pipeline.core.params import Section


class Bounds(Section):
    """How far new recordings may lie from the champion's before nobody is promoted unasked; None: not looked at.

    Numbers in standard deviations of the champion's frames, `without_face` as a share of frames, kinds (`labels`,
    `predictions`) as a Jensen-Shannon distance from 0 to 1.
    """

    face_size: float | None = Field(default=1.0, gt=0)
    brightness: float | None = Field(default=1.0, gt=0)
    contrast: float | None = Field(default=1.0, gt=0)
    yaw: float | None = Field(default=1.0, gt=0)
    pitch: float | None = Field(default=1.0, gt=0)
    without_face: float | None = Field(default=0.1, gt=0)
    labels: float | None = Field(default=0.3, gt=0)
    predictions: float | None = Field(default=0.3, gt=0)
    confidence: float | None = Field(default=1.0, gt=0)


Event = Literal["end", "promotion", "refusal", "failure", "set_aside"]


class Notify(Section):
    """Who is told what. `.mien/retrain/log` has all of it; `of` is what is sent.

    `webhook`: the environment variable that holds an address which takes JSON (`text`, `event`, `project`); `block`: a
    block of Prefect's by its name, `webhook/<name>` or `slack-webhook/<name>`. Neither is a secret.
    """

    of: list[Event] = Field(default=list(get_args(Event)))
    webhook: str = Field(default="MIEN_WEBHOOK", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$|^$")
    block: str = Field(default="", pattern=r"^[a-z0-9-]+/[A-Za-z0-9-]+$|^$")


class Retrain(Section):
    """How new recordings are taken in. No stage reads it.

    `start`: what encoder and systems are trained from: random weights, or those of the track's champion.
    """

    inbox: str = "data/inbox"
    set_aside: str = "data/set_aside"
    settle_seconds: float = Field(default=60.0, ge=0)
    margin: float = 0.0
    draws: int = Field(default=1000, ge=10)
    seed: int = 0
    cron: str = "0 3 * * 1"
    look_seconds: float = Field(default=30.0, gt=0)
    start: Literal["scratch", "champion"] = "scratch"
    drift: Bounds = Bounds()
    notify: Notify = Notify()

    @field_validator("inbox", "set_aside")
    @classmethod
    def _relative(cls, folder: str) -> str:
        if Path(folder).is_absolute() or ".." in Path(folder).parts:
            raise ValueError(f"must be a path below the project, not {folder}; link the folder there")
        return folder
