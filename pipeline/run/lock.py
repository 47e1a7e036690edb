"""The stages of a lock as DVC wrote it, as plain data."""

from typing import Any

import yaml

from pipeline.core.errors import MienError

Stages = dict[str, dict[str, Any]]


def lock_stages(text: str, name: str) -> Stages:
    """Each stage of the text of a lock; `MienError` where it is none, as after a merge that was left half done."""
    try:
        tree = yaml.load(text, yaml.CSafeLoader) or {}
        stages = tree.get("stages") or {}
        if all(isinstance(entry, dict) for entry in stages.values()):
            return stages
    except (yaml.YAMLError, AttributeError):
        pass
    raise MienError(f"{name}: not a lock of DVC; restore it with `git restore {name}`, then `dvc repro`")
