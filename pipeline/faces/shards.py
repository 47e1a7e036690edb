"""Shards of faces of many media items, made by worker processes or found in the work store."""

import functools
from pathlib import Path

from pipeline.core.code import code_digest
from pipeline.faces.detector import DetectAlign, verified_digest
from pipeline.faces.extract import Extracted, by_source, extract
from pipeline.run.parallel import run_tasks
from pipeline.tables.manifest import MediaItem


def extract_all(items: list[MediaItem], root: Path, params: DetectAlign, stage: str) -> list[Extracted]:
    """Shards of every item below `root`, in the order of their sources; `stage` is their place in the work store."""
    function = functools.partial(
        extract,
        root=root,
        params=params,
        stage=stage,
        code=code_digest("pipeline.faces.extract"),
        weights=verified_digest(params),
    )
    return [shard for shards in run_tasks(function, by_source(items), stage) for shard in shards]
