"""MLflow's model registry: each champion and the last challenger as a version of `mien-<track>`, under these aliases.

A version is made from DVC's cache by commit, so it can be made late: where the server is away, the next run does it.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.errors import MienError
from pipeline.core.files import atomic_write_text
from pipeline.core.paths import ENSEMBLE
from pipeline.retrain.bundle import bundle
from pipeline.retrain.champions import note_versions
from pipeline.retrain.history import Record, Verdict
from pipeline.retrain.versions import Versions
from pipeline.retrain.worktree import HOME
from pipeline.run.delivery import Delivery, warn
from pipeline.run.environment import STATE

MODEL = Path(__file__).with_name("served.py")
REGISTERED = STATE / "retrain" / "registered"  # how many records of the history the registry knows
COMMIT, CHAMPION = "mien.commit", "mien.champion"
LICENCE = "code Apache-2.0; weights under the terms of the data that they were trained on"


def is_behind(records: list[Record]) -> bool:
    """Whether the registry has not been told of all records."""
    told = REGISTERED.read_text() if REGISTERED.is_file() else "0"
    return told != str(len(records))


def update(records: list[Record], versions: Versions) -> None:
    """Make versions and aliases what the last record says; a registry that cannot be reached costs a warning."""
    try:
        _update(records[-1], versions)
    except Exception as error:  # the server's own, a network's, a full disk: the champion is in git all the same
        first = (str(error) or type(error).__name__).splitlines()[0][:160]
        warn(f"the model registry was not updated ({first}); the next `mien retrain` does it")
        return
    atomic_write_text(REGISTERED, str(len(records)))


def _update(record: Record, versions: Versions) -> None:
    delivery = Delivery()
    verdicts = {verdict.track: verdict for verdict in record.verdicts}
    known = {}
    for track, champion in record.champions.items():
        version = _version(delivery, track, champion.commit, verdicts.get(track), record, versions)
        delivery.client.set_model_version_tag(name(track), version, CHAMPION, champion.tag)
        delivery.client.set_registered_model_alias(name(track), "champion", version)
        known[track] = champion.commit, version
    note_versions(known)
    for track, verdict in verdicts.items():
        if not verdict.promoted:
            version = _version(delivery, track, record.commit, verdict, record, versions)
            delivery.client.set_registered_model_alias(name(track), "challenger", version)


def name(track: str) -> str:
    """The registered model of a track."""
    return f"mien-{track}"


def _version(
    delivery: Delivery, track: str, commit: str, verdict: Verdict | None, record: Record, versions: Versions
) -> str:
    """The version made from a commit, made now where there is none."""
    for known in delivery.client.search_model_versions(f"name='{name(track)}'"):
        if known.tags.get(COMMIT) == commit:
            return known.version
    folder = HOME / "model"
    shutil.rmtree(folder, ignore_errors=True)
    bundle(commit, track, folder, versions)
    try:
        version = _log(delivery, track, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for key, value in lineage(commit, track, verdict if commit == record.commit else None, versions).items():
        delivery.client.set_model_version_tag(name(track), version, key, value)
    return version


def lineage(commit: str, track: str, verdict: Verdict | None, versions: Versions) -> dict[str, str]:
    """What a version was made from, as tags."""
    data = versions.data(commit)
    tags = {COMMIT: commit, "mien.track": track, "dvc.data.root": data.root, "dvc.data.md5": data.digest}
    tags |= {"dvc.ensemble.md5": versions.digest(commit, f"{ENSEMBLE}/{track}") or "", "licence": LICENCE}
    if verdict and verdict.interval:
        tags["mien.gain"] = f"{verdict.difference:+.4f}"
        tags["mien.gain_interval_95"] = f"{verdict.interval[0]:+.4f} to {verdict.interval[1]:+.4f}"
    return tags


def _log(delivery: Delivery, track: str, folder: Path) -> str:
    """Log a bundle as a pyfunc model from code and register it; returns the version."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    from pipeline.retrain.answers import answer_schema

    pixels = yaml.safe_load((folder / "params.yaml").read_text())["detect_align"]["crop_pixels"]
    pictures = TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))
    with mlflow.start_run(experiment_id=delivery.experiment(), run_name=f"register {name(track)}"):
        logged: Any = mlflow.pyfunc.log_model(
            name=name(track),
            python_model=str(MODEL),
            artifacts={"ensemble": str(folder)},
            signature=ModelSignature(inputs=Schema([pictures]), outputs=answer_schema(track, folder)),
            input_example=np.zeros((1, pixels, pixels, 3), np.uint8),
            pip_requirements=["mien"],
            registered_model_name=name(track),
        )
    if not logged.registered_model_version:
        raise MienError(f"{name(track)} was logged and not registered")
    return str(logged.registered_model_version)
