"""External weights: every file that Mien did not train is declared in weights.yaml and checked before use."""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.core.errors import MienError
from pipeline.core.files import file_digest
from pipeline.core.secrets import redacted

DECLARATIONS = Path("weights.yaml")


class Weights(BaseModel):
    """One declared file: where it comes from, what it is, and what it saw in training."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    source: str
    sha256: str
    licence: str
    trained_on: list[str]
    label_types: list[str]


def declared(path: Path | None = None) -> dict[str, Weights]:
    """All declarations, by name."""
    path = path or DECLARATIONS
    try:
        entries = yaml.safe_load(path.read_text()) or {}
        known = {name: Weights(**entry) for name, entry in entries.items()}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError, TypeError, AttributeError) as error:
        raise MienError(f"{path}: cannot be read as weight declarations: {' '.join(str(error).split())}") from None
    for name, entry in known.items():
        if redacted(entry.source) != entry.source:
            raise MienError(f"{path}: the source of {name} holds credentials; the file is copied, leave them out")
    return known


def verify(name: str, path: Path) -> str:
    """Return the file's sha256 when it is the declared one; raise `MienError` with the mend otherwise."""
    found = file_digest(path)
    entry = declared().get(name)
    if entry is None:
        raise MienError(f"{DECLARATIONS}: {name} is not declared; add it with its source, licence and sha256: {found}")
    if entry.sha256 != found:
        raise MienError(
            f"{path}: sha256 is {found}, {DECLARATIONS} declares {entry.sha256}; fetch the declared file again"
        )
    return found
