"""All that a track's ensemble needs to answer, as a commit has it, in one folder laid out like a project."""

from pathlib import Path

import yaml

from pipeline.core.params import validated
from pipeline.core.paths import ENSEMBLE, FEEDBACK, SYSTEMS
from pipeline.ensemble.fit import Ensemble
from pipeline.retrain.git import text_at
from pipeline.retrain.versions import Versions


def bundle(commit: str, track: str, folder: Path, versions: Versions) -> None:
    """Params, what was fitted and the members' weights; predictions of other people's data are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("params.yaml", "weights.yaml"):
        (folder / file).write_text(text_at(commit, file) or "")
    params = yaml.safe_load(text_at(commit, "params.yaml") or "")
    members = validated(Ensemble, params["ensemble"], "ensemble").trainings_of(track)
    outs = [ENSEMBLE / track, *(SYSTEMS / track / training for trainings in members.values() for training in trainings)]
    if track in params["graph"]["feedback"] and "feedback" in members:
        outs.append(FEEDBACK / track)
    for out in outs:
        versions.fetch(commit, out.as_posix(), folder / out, without=".parquet")
