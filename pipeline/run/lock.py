"""The stages of a lock as DVC wrote it, as plain data."""

import re
from typing import Any

import yaml

from pipeline.core.errors import MienError
from pipeline.core.safe_yaml import parse_yaml

Stages = dict[str, dict[str, Any]]


class DvcSafeLoader(yaml.CSafeLoader):
    """Reads `1e-06` as the number that it is in YAML 1.2, which DVC writes; PyYAML's 1.1 takes it for a word."""


DvcSafeLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


def load_dvc(text: str | bytes) -> Any:
    """The plain values of a file of DVC's."""
    return yaml.load(text, DvcSafeLoader)


def lock_stages(text: str, name: str) -> Stages:
    """Each stage of the text of a lock; `MienError` where it is none, as after a merge that was left half done."""
    try:
        tree = parse_yaml(text, load_dvc) or {}
        stages = tree.get("stages") or {}
        if all(isinstance(entry, dict) for entry in stages.values()):
            return stages
    except (yaml.YAMLError, AttributeError):
        pass
    raise MienError(f"{name}: not a lock of DVC; restore it with `git restore {name}`, then `dvc repro`")
