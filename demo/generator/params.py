"""`demo/params.yaml` as a frozen model: unknown keys and impossible values are errors that name the key."""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.core.errors import MienError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Videos(_Section):
    """Recordings for EXPR, AU and VA."""

    train: int = Field(ge=3)
    validation: int = Field(ge=1)
    test: int = Field(ge=2)
    frames: int = Field(ge=24)
    height_pixels: int = Field(ge=96, multiple_of=16)
    width_pixels: int = Field(ge=96, multiple_of=16)
    frames_per_second: int = Field(ge=1)


class Mtl(_Section):
    """Sequences of aligned crops for MTL, each sampled every `step_frames`."""

    train: int = Field(ge=1)
    validation: int = Field(ge=1)
    test: int = Field(ge=1)
    frames: int = Field(ge=4)
    step_frames: int = Field(ge=1)


class Lsd(_Section):
    """Aligned stills for LSD."""

    train_per_class: int = Field(ge=1)
    validation_per_class: int = Field(ge=1)
    test: int = Field(ge=1)
    stills_per_identity: int = Field(ge=1)


class Unlabelled(_Section):
    """Whole frames without labels."""

    images: int = Field(ge=2)
    without_face: int = Field(ge=0)
    stills_per_identity: int = Field(ge=1)
    pixels: int = Field(ge=96)


class Params(_Section):
    """Everything that decides the bytes of the demo data."""

    seed: int = Field(ge=0)
    videos: Videos
    mtl: Mtl
    lsd: Lsd
    unlabelled: Unlabelled


def read_params(path: Path) -> Params:
    """Read and check the file. Raises MienError naming the file and the first key that is wrong."""
    try:
        return Params.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise MienError(f"{path}: cannot be read: {' '.join(str(error).split())}", 2) from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        if first["type"] == "extra_forbidden":
            raise MienError(f"{path}: unknown key {key}; remove it or mend its spelling", 2) from None
        raise MienError(f"{path}: {key}: {first['msg']}", 2) from None
