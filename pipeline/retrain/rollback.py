"""`mien rollback [TAG]`: back to an earlier champion: params, data pointers, lock and files together, no training."""

from pathlib import Path

from pipeline.core.errors import MienError
from pipeline.retrain import registry
from pipeline.retrain.git import git, succeeds, text_at
from pipeline.retrain.history import Champion, Record, append, exists, now, read_history
from pipeline.retrain.retrain import LOCK, root_at
from pipeline.retrain.versions import Versions
from pipeline.retrain.worktree import STARTED
from pipeline.run.dag import run_dvc
from pipeline.run.once import alone
from pipeline.run.tracking import WRITTEN

FILES = ("params.yaml", *WRITTEN)


def rollback(tag: str | None) -> int:
    """Restore the workspace as a champion's commit has it, and make it the champion again.

    Without a tag: what was champion before the last promotion.
    """
    with alone(LOCK):
        records, versions = read_history(), Versions()
        if not records:
            raise MienError("no champion yet; `mien retrain` makes the first", exit_code=2)
        back = {_track(tag): _named(tag)} if tag else former_champions(records)
        commits = {champion.commit for champion in back.values()}
        newest = git("rev-list", "--no-walk", "--max-count=1", "--date-order", *sorted(commits))
        restore(newest, versions)
        root = root_at(newest)
        record = Record(
            kind="rollback",
            date=now(),
            commit=newest,
            origin=records[-1].origin,
            root=root,
            data=versions.digest(newest, root) or "",
            champions=records[-1].champions | back,
        )
        append(record)
        registry.update([*records, record], versions)
    _tell(newest, back, record.champions)
    return 0


def _track(tag: str) -> str:
    parts = tag.split("/")
    if len(parts) != 3 or parts[0] != "champion":
        raise MienError(f"{tag} is no tag of a champion; `mien history` lists them", exit_code=2)
    return parts[1]


def _named(tag: str) -> Champion:
    if not exists(f"refs/tags/{tag}"):
        raise MienError(f"there is no tag {tag}; `mien history` lists the champions", exit_code=2)
    return Champion(tag=tag, commit=git("rev-parse", f"refs/tags/{tag}^{{commit}}"))


def former_champions(records: list[Record]) -> dict[str, Champion]:
    """Who was champion before the last change of champions that still holds, of the tracks that changed."""
    present = records[-1].champions
    for before in reversed(records[:-1]):
        back = {track: c for track, c in before.champions.items() if c != present.get(track)}
        if back:
            return back
    raise MienError("there is no earlier champion to go back to", exit_code=2)


def restore(commit: str, versions: Versions) -> None:
    """Params, data pointers and lock of a commit, and all files that they name, from DVC's cache.

    `dvc checkout` deletes first and finds out later that the cache lacks what should stand there; so that is asked
    before anything is touched.
    """
    root = root_at(commit)
    names = [name for name in (*FILES, *STARTED, f"{root}.dvc") if text_at(commit, name) is not None]
    present = [name for name in names if Path(name).exists()]
    if not succeeds("diff", "--quiet", "HEAD", "--", *present):
        raise MienError(f"{', '.join(present)}: not all as committed; commit or stash your changes first")
    outs = versions.outs(commit)
    if lost := [out for out in outs if not versions.has(commit, out)]:
        raise MienError(
            f"DVC's cache lacks {lost[0]} and {len(lost) - 1} more of {commit[:10]}; `dvc fetch --all-commits` brings "
            "them, or `dvc repro` at that commit; nothing was changed"
        )
    git("checkout", commit, "--", *names)
    run_dvc("checkout", *outs)


def _tell(commit: str, back: dict[str, Champion], champions: dict[str, Champion]) -> None:
    for track, champion in sorted(back.items()):
        print(f"{track}: {champion.tag} is champion again")
    for track, champion in sorted(champions.items()):
        if champion.commit != commit:
            print(f"{track}: {champion.tag} stays champion; its files are those of {champion.commit[:10]}, not these")
    print(f"params, data pointers, lock and files are those of {commit[:10]}; `git commit` keeps them")
    if not succeeds("diff", "--quiet", commit, "HEAD", "--", "pipeline", "models", "stages", "requirements.lock"):
        print("the code is not that of the champion: `mien repro` would rebuild what it has changed")
