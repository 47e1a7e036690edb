"""Files that params name and the graph must know: without a dep on them the lock would not tell what was read."""

from pathlib import Path

import yaml

from pipeline.base.params import Params
from pipeline.errors import MienError
from pipeline.layout import ARTIFACTS, FACES, FEATURES, LABELS, TEMPLATES
from pipeline.tracks import DATASET_OF


def declared_inputs(params: Params, system: str, track: str, needs: Path) -> list[Path]:
    """Inputs of a system that params name, other than its `needs`; each must be a dep of `finetune` in dvc.yaml."""
    systems = params.systems
    paths: list[Path] = []
    if system == "au_cvt" and systems.au_cvt.au_labels == "real":
        paths = [FACES / DATASET_OF["au"], LABELS / "au.parquet", TEMPLATES / "au.parquet"]
    elif system == "au_cvt" and systems.au_cvt.au_labels != "teacher":
        paths = [Path(systems.au_cvt.au_labels)]
    elif system == "multitask":
        weights = systems.multitask.appearance_weights
        named = [systems.multitask.identity_backbone] if weights.identity else []
        if systems.multitask.attribute_backbone and (weights.age or weights.sex):
            named.append(systems.multitask.attribute_backbone)
        paths = [FEATURES / name / DATASET_OF[track] for name in named]
    elif system == "emma" and Path(systems.emma.cnn.weights).is_relative_to(ARTIFACTS):
        paths = [Path(systems.emma.cnn.weights)]
    paths = [path for path in paths if not path.is_relative_to(needs)]
    if not paths:
        return []
    deps = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]["finetune"]["do"]["deps"]
    for path in paths:
        if path.as_posix() not in deps:
            raise MienError(
                f"dvc.yaml: finetune: add {path} to deps, or name it in needs, since params.yaml asks for it"
            )
    return paths
