"""`retrain.start: champion`: encoder and systems go on from the champion's weights, as files declared like any others.

The champion's weights are copied out of DVC's cache into `weights/champion/`, declared in weights.yaml with digest,
commit and place, and named in params.yaml: so the lock pins them, a stage refuses other bytes, and the audit finds the
run that made them. What has changed its shape since, or has no champion, starts from random weights and says so.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML

from pipeline.abaw.tracks import TRACKS
from pipeline.core.files import file_digest
from pipeline.core.graph import dataset_of
from pipeline.core.params import PARAMS
from pipeline.core.paths import ENCODER, SYSTEMS
from pipeline.core.weights import DECLARATIONS, Weights
from pipeline.retrain.git import text_at
from pipeline.retrain.history import Champion
from pipeline.retrain.versions import CHAMPION, Versions

START = Path(CHAMPION)
ENCODER_FILE, SYSTEM_FILE = "encoder.safetensors", "weights.safetensors"
LICENCE = "under the terms of the data that it was trained on"


@dataclass(frozen=True)
class Start:
    """A file that a training starts from: its md5 in DVC's cache, and what weights.yaml is to say of it.

    `source` has the form that the audit reads (`audit/outside.py`).
    """

    name: str
    md5: str
    source: str
    trained_on: list[str]
    label_types: list[str]

    @property
    def place(self) -> Path:
        """Where it lies, from the project's root; its name is one of its own among all weights."""
        return START / f"champion-{self.name}.safetensors"


def start_from(champions: dict[str, Champion], versions: Versions, tree: Path) -> bool:
    """Let all trainings of the project at `tree` that can start from a champion do so; whether any does."""
    clear(tree)
    params = yaml.safe_load((tree / PARAMS).read_text(encoding="utf-8"))
    found = dict(_starts(champions, versions, params))
    if not found:
        return False
    (tree / START).mkdir(parents=True, exist_ok=True)
    for start in found.values():
        shutil.copyfile(versions.place(start.md5), tree / start.place)
    _declare(list(found.values()), tree)
    _name({key: start.place.as_posix() for key, start in found.items()}, tree / PARAMS)
    return True


def clear(tree: Path) -> None:
    """Let no training start from a champion; params.yaml is left alone where none does."""
    params = yaml.safe_load((tree / PARAMS).read_text(encoding="utf-8"))
    lines = {name: line for name, line in params["graph"]["trainings"].items() if _is_ours(line.get("start"))}
    keys: dict[str, str | None] = dict.fromkeys(lines)
    if _is_ours(params["pretrain_mae"].get("start")):
        keys[ENCODER.name] = None
    if keys:
        _name(keys, tree / PARAMS)
    shutil.rmtree(tree / START, ignore_errors=True)


def _is_ours(start: str | None) -> bool:
    return start is not None and Path(start).is_relative_to(START)


def _starts(champions: dict[str, Champion], versions: Versions, params: Any) -> Iterator[tuple[str, Start]]:
    """The file of each training, and of the encoder; tells of those that have none."""
    first = next((champions[track] for track in params["graph"]["tracks"] if track in champions), None)
    for name, folders in params["graph"]["encoders"].items():
        datasets = [dataset_of(Path(folder)) for folder in dict.fromkeys(folders)]
        yield from _start(name, first, ENCODER / ENCODER_FILE, (datasets, []), ["vit"], versions, params)
    for name, line in params["graph"]["trainings"].items():
        track, file = TRACKS[line["track"]], SYSTEMS / line["track"] / line["member"] / SYSTEM_FILE
        seen = [track.dataset], [str(task) for task in track.tasks]
        shape = ["vit", f"systems.{line['system']}"]
        yield from _start(name, champions.get(line["track"]), file, seen, shape, versions, params)


def _start(
    name: str,
    champion: Champion | None,
    file: Path,
    seen: tuple[list[str], list[str]],
    shape: list[str],
    versions: Versions,
    params: Any,
) -> Iterator[tuple[str, Start]]:
    """What one training starts from, where its champion has that file and its `shape`, sections of params, is the same.

    `seen` are the data sets and label types that the file was trained on.
    """
    why = "the track has no champion" if champion is None else _other_shape(champion, params, shape)
    md5 = _weights(champion, file.parent, file.name, versions)
    if champion and md5 and not why:
        yield name, Start(name, md5, f"{champion.tag} at {champion.commit}: {file.as_posix()}", *seen)
    else:
        print(f"{name} starts from random weights: {why or 'its champion has none in the cache'}")


def _weights(champion: Champion | None, folder: Path, file: str, versions: Versions) -> str | None:
    """md5 of a file of a champion's output, whose bytes the cache has."""
    if champion is None or not versions.has(champion.commit, folder.as_posix()):
        return None
    return versions.files(versions.digest(champion.commit, folder.as_posix()) or "").get(file)


def _other_shape(champion: Champion, params: Any, sections: list[str]) -> str | None:
    """Why the champion's weights do not fit: a section, but for how it is trained, that has changed since."""
    theirs = yaml.safe_load(text_at(champion.commit, PARAMS.as_posix()) or "") or {}
    changed = [name for name in sections if _section(theirs, name) != _section(params, name)]
    return f"{changed[0]} has changed since {champion.tag}" if changed else None


def _section(params: Any, name: str) -> Any:
    found = params
    for part in name.split("."):
        found = found.get(part, {})
    return {key: value for key, value in found.items() if key != "train"}


# --- written ---------------------------------------------------------------------------------------------------------


def _editor() -> YAML:
    editor = YAML()  # keeps comments and builds no objects
    editor.width, editor.preserve_quotes = 120, True
    return editor


def _edit(path: Path, change: Any) -> None:
    editor = _editor()
    tree = editor.load(path.read_text(encoding="utf-8")) or {}
    change(tree)
    with path.open("w", encoding="utf-8") as file:
        editor.dump(tree, file)


def _name(starts: dict[str, str | None], params: Path) -> None:
    """Name the file of each training in params.yaml, or take the name out."""

    def change(tree: Any) -> None:
        for name, place in starts.items():
            line = tree["pretrain_mae"] if name in tree["graph"]["encoders"] else tree["graph"]["trainings"][name]
            line.pop("start", None)
            if place:
                line["start"] = place

    _edit(params, change)


def _declare(starts: list[Start], tree: Path) -> None:
    """Declare the files in weights.yaml, in the place of those of earlier champions."""
    entries = {
        start.place.name: Weights(
            source=start.source,
            sha256=file_digest(tree / start.place),
            licence=LICENCE,
            trained_on=start.trained_on,
            label_types=start.label_types,
        ).model_dump(exclude_none=True)
        for start in starts
    }
    _edit(tree / DECLARATIONS, lambda known: known.update(entries))
