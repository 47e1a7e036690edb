"""Files that params name and the graph must know: without a dep on them the lock would not tell what was read."""

from pathlib import Path

import yaml

from pipeline.base.params import Params
from pipeline.errors import MienError
from pipeline.layout import FACES, LABELS
from pipeline.tracks import DATASET_OF


def declared_inputs(params: Params, system: str) -> list[Path]:
    """Inputs of a system that depend on its params; each must be a dep of `finetune` in dvc.yaml."""
    paths: list[Path] = []
    if system == "au_cvt" and params.systems.au_cvt.au_labels == "real":
        paths = [FACES / DATASET_OF["au"], LABELS / "au.parquet"]
    elif system == "au_cvt" and params.systems.au_cvt.au_labels != "teacher":
        paths = [Path(params.systems.au_cvt.au_labels)]
    if not paths:
        return []
    deps = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]["finetune"]["do"]["deps"]
    for path in paths:
        if path.as_posix() not in deps:
            raise MienError(f"dvc.yaml: finetune: add {path} to deps, since params.yaml asks for it")
    return paths
