"""The `graph` section of params.yaml: what is trained, for which track, on what. `dvc.yaml` iterates over it.

A training reads what its line names and nothing else, so `dvc.lock` tells all that it has seen: every path below
`artifacts/` that a system opens beside its track's faces and labels goes through `Needs`, which refuses what is not on
the line. Weight files from outside are declared in weights.yaml with their digests instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from pipeline.core.errors import MienError
from pipeline.core.params import Section
from pipeline.core.paths import EXTERNAL, FEATURES

NEEDS = 3  # deps of a training in dvc.yaml; DVC knows no optional dep and no list of them


class Fold(Section):
    """One of `of` folds over the recordings of training and validation: those of fold `number` judge, all others train.

    What the trainings of all folds say of validation is honest: each row is judged by the one that has not seen its
    recording. They are made one member of the ensemble: `{vit: [vit-0, vit-1, vit-2, vit-3, vit-4]}`.
    """

    number: int = Field(ge=0)
    of: int = Field(ge=2)

    @model_validator(mode="after")
    def _counts_from_nought(self) -> "Fold":
        if self.number >= self.of:
            raise ValueError(f"number counts from 0: the last of {self.of} is {self.of - 1}")
        return self


class ExternalSet(Section):
    """Somebody else's labelled faces: where `mien data import --labels` put them, and the name that the rules know."""

    path: str
    known_as: str


class Training(Section):
    """One training: a system for a track, and the name that its scores have in the track's ensemble.

    `needs` are the paths that it reads beside its track's faces and labels, always three: DVC has no optional deps, so
    a shorter list repeats an entry (its own faces, where it needs nothing). `seed` stands in place of `finetune.seed`
    and `balance` in place of the system's `train.balance`; `updates` is how many times its system's updates it takes.
    `further` are external sets with their share of each batch; 1 leaves the track's own faces to judging alone. `start`
    is a file of weights, declared in weights.yaml, that the whole network starts from: a champion's.
    """

    system: str
    track: str
    member: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    faces: str
    needs: list[str] = Field(min_length=NEEDS, max_length=NEEDS)
    seed: int | None = None
    balance: float | None = Field(default=None, ge=0, le=1)
    updates: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    fold: Fold | None = None
    further: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(default={})
    start: str | None = None


class CachedFeatures(Section):
    """One backbone whose features are cached: the weights that it starts from and the faces that it reads."""

    weights: str
    faces: str


class FeedbackTraining(Section):
    """The two phases of the feedback system for one track: its faces, its pool, the name of its student's features.

    `needs` are two: the pool, and what the backbone starts from (the pool again, where that is nothing).
    """

    faces: str
    needs: list[str] = Field(min_length=2, max_length=2)
    features: str


class Graph(Section):
    """Everything that `dvc.yaml` iterates over.

    Whatever the data do not support is left out: a section may be empty but for `tracks`. `external` are other people's
    labelled faces; `encoders` the two folders of faces that the encoder is pretrained on (one alone is given twice);
    `shown` the two folders that the report tells of beside scores.
    """

    tracks: list[str] = Field(min_length=1)
    external: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")], ExternalSet]
    encoders: dict[Literal["mae"], Annotated[list[str], Field(min_length=2, max_length=2)]]
    features: dict[str, CachedFeatures]
    au_teachers: list[str] = Field(max_length=1)
    pool_labellers: dict[str, str]
    feedback: dict[str, FeedbackTraining]
    trainings: dict[str, Training]
    shown: list[str] = Field(min_length=2, max_length=2)


def dataset_of(faces: Path) -> str:
    """The data set of a folder of faces: `artifacts/faces/lsd`, `artifacts/external/affectnet/faces`."""
    return faces.parent.name if faces.is_relative_to(EXTERNAL) else faces.name


class FeatureFolder(NamedTuple):
    """What a folder of cached features holds."""

    backbone: str
    dataset: str


def feature_folder(path: Path) -> FeatureFolder | None:
    """Backbone and data set of `artifacts/features/<backbone>/<data set>`; None for any other path."""
    return FeatureFolder(path.parent.name, path.name) if path.parent.parent == FEATURES else None


@dataclass(frozen=True)
class Needs:
    """The paths that a training may read beside its track's faces and labels; `where` names its line in params.yaml."""

    where: str
    paths: Sequence[Path]

    @classmethod
    def of(cls, where: str, needs: Sequence[str]) -> "Needs":
        """What the line names, each path once."""
        return cls(where, tuple(dict.fromkeys(map(Path, needs))))

    def below(self, folder: Path) -> Path | None:
        """The needed path below a folder; None where there is none."""
        return next((path for path in self.paths if path.is_relative_to(folder)), None)

    def names(self, path: Path) -> bool:
        """Whether the lock will tell that `path` was read: it is needed, or lies in a folder that is."""
        return any(path.is_relative_to(needed) for needed in self.paths)

    def check(self, path: Path, why: str) -> Path:
        """`path`, which must be named."""
        if not self.names(path):
            raise MienError(f"params.yaml: {self.where}: add {path} to needs: {why}")
        return path
