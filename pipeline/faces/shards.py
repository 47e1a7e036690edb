"""Shards of faces of many media items, made by worker processes or found in the work store."""

import functools
from pathlib import Path

from pipeline.core.code import code_digest
from pipeline.core.files import sizes_digest
from pipeline.faces.detector import DetectAlign, verified_digest
from pipeline.faces.extract import Extracted, by_source, extract
from pipeline.release.pack import INDEX
from pipeline.run.parallel import run_tasks
from pipeline.tables.manifest import MediaItem


def extract_all(items: list[MediaItem], root: Path, params: DetectAlign, stage: str) -> list[Extracted]:
    """Shards of every item below `root`, in the order of their sources; `stage` is their place in the work store."""
    paths = sorted({path for item in items for path in item.paths})
    facts = functools.partial(detection_facts, root, paths, params)
    known = facts()
    function = functools.partial(
        extract, root=root, params=params, stage=stage, code=known["code"], weights=known["weights"]
    )
    return [shard for shards in run_tasks(function, by_source(items), stage, facts) for shard in shards]


def detection_facts(root: Path, paths: list[str], params: DetectAlign) -> dict[str, str]:
    """What a worker must have to make these shards: the code, the detector's weights, the release."""
    return {
        "code": code_digest("pipeline.faces.extract"),
        "weights": verified_digest(params),
        "data": sizes_digest([root / INDEX, *(root / path for path in paths)]),
    }
