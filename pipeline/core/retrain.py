"""The `retrain` section of params.yaml: where recordings arrive, and when a challenger takes the champion's place.

It stands here, and not in its room, because `pipeline/settings.py` checks the whole file and the room stands above it.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from pipeline.core.params import Section


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

    @field_validator("inbox", "set_aside")
    @classmethod
    def _relative(cls, folder: str) -> str:
        if Path(folder).is_absolute() or ".." in Path(folder).parts:
            raise ValueError(f"must be a path below the project, not {folder}; link the folder there")
        return folder
