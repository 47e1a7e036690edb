"""`mien init DIR`: look at a release, write a params.yaml for it, say what was left out and what comes next."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.abaw.tracks import TRAINED_TRACKS
from pipeline.core.errors import MienError
from pipeline.core.params import PARAMS
from pipeline.plan.init import SIZES, Held, Plan, build, write_params
from pipeline.release.discover import find_release
from pipeline.run.git import git
from pipeline.settings import load_params


def init(place: Path, wanted: Sequence[str], size: str, output: Path) -> int:
    """Write `output`; the shipped file it starts from must be as git holds it when it is overwritten."""
    for track in wanted:
        if track not in TRAINED_TRACKS:
            raise MienError(f"there is no track {track}; use some of: {', '.join(TRAINED_TRACKS)}", exit_code=2)
    root = _below_project(place)
    shipped = SIZES[size]
    if output == shipped and _is_changed(output):
        raise MienError(f"{output} has changes that git does not hold; commit them, or give --output", exit_code=2)
    plan = build(Held.of(find_release(place)), wanted)
    write_params(plan, root, place.name, size, output)
    load_params(output)
    _tell(plan, output)
    return 0


def _below_project(place: Path) -> str:
    """The release's place from the project's root."""
    here = Path.cwd()
    path = place if place.is_absolute() else here / place
    if not path.is_relative_to(here) or ".." in place.parts:
        raise MienError(
            f"{place} lies outside of the project; `mien data import {place} --name NAME` brings it in",
            exit_code=2,
        )
    return path.relative_to(here).as_posix()


def _is_changed(path: Path) -> bool:
    """Whether git knows the file and holds it otherwise."""
    return bool(git("status", "--porcelain", "--", str(path)))


def _tell(plan: Plan, output: Path) -> None:
    print(f"{output}: tracks {', '.join(plan.graph['tracks'])}")
    for name, line in plan.graph["trainings"].items():
        print(f"  {name:16s} needs {', '.join(dict.fromkeys(line['needs']))}")
    for reason in plan.left_out:
        print(f"left out: {reason}")
    print(f"Next: {'make repro' if output == PARAMS else f'cp {output} params.yaml, then make repro'}")
