"""The champions' ensembles for `mien predict`: each copied once from DVC's cache, by its commit, and kept.

The history says who they are, so that neither MLflow (three seconds) nor DVC is imported to find out.
"""

import contextlib
import json
import shutil
from pathlib import Path

from pipeline.core.errors import MienError
from pipeline.core.files import atomic_dir, write_json
from pipeline.predict.members import Home
from pipeline.retrain.history import Champion, read_history
from pipeline.run.delivery import warn
from pipeline.run.environment import STATE

KEPT = STATE / "retrain" / "champions"
REGISTERED_AS = STATE / "retrain" / "versions.json"  # commit and version of each champion in MLflow's registry


def champion_homes() -> dict[str, Home]:
    """Where the champion of each track lies; a track whose champion cannot be had is left to the workspace, with a
    warning.
    """
    records = read_history()
    homes = {}
    for track, champion in sorted(records[-1].champions.items()) if records else ():
        try:
            homes[track] = Home(_kept(track, champion), described(track, champion))
        except (MienError, OSError) as error:
            warn(f"{champion.tag} cannot be had ({error}); {track} is answered by the workspace, where it is trained")
    return homes


def described(track: str, champion: Champion) -> str:
    """A champion's tag, its version in the registry where it has one, and its commit."""
    commit, version = _registered().get(track, ("", ""))
    known = f" (mien-{track} version {version})" if commit == champion.commit else ""
    return f"{champion.tag}{known} of commit {champion.commit[:10]}"


def note_versions(versions: dict[str, tuple[str, str]]) -> None:
    """Keep commit and version of each track's champion, as the registry has just told them."""
    write_json(REGISTERED_AS, versions)


def _registered() -> dict[str, tuple[str, str]]:
    with contextlib.suppress(OSError, ValueError):
        return {track: (commit, version) for track, (commit, version) in json.loads(REGISTERED_AS.read_text()).items()}
    return {}


def _kept(track: str, champion: Champion) -> Path:
    """The folder of a champion's files, made where it is not there; those of former champions go."""
    folder = KEPT / f"{track}-{champion.commit}"
    if not folder.is_dir():
        from pipeline.retrain.bundle import bundle
        from pipeline.retrain.versions import Versions

        with atomic_dir(folder) as temporary:
            bundle(champion.commit, track, temporary, Versions())
        for former in set(KEPT.glob(f"{track}-*")) - {folder}:
            shutil.rmtree(former)
    return folder
