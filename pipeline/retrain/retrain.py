"""`mien retrain`: look at the inbox, take in what is new, train, compare, promote or refuse, and write it down.

Each step can be killed: the next run removes the worktree and begins again, and what had finished comes from DVC's
cache and the work store. The record is written after the commit and before branch and tags, which it tells of.
"""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipeline.core.errors import MienError
from pipeline.core.params import read_section
from pipeline.core.paths import ENSEMBLE
from pipeline.core.retrain import Retrain
from pipeline.retrain import registry, starts
from pipeline.retrain import worktree as tree
from pipeline.retrain.compare import Judged, compare, validation_rows
from pipeline.retrain.git import git, succeeds, text_at
from pipeline.retrain.held import Held
from pipeline.retrain.history import (
    Champion,
    Record,
    Verdict,
    append,
    exists,
    free_branch,
    mark,
    next_tag,
    now,
    read_history,
    verdict_line,
)
from pipeline.retrain.inbox import look, set_aside
from pipeline.retrain.intake import decide
from pipeline.retrain.outcome import Intake, lines
from pipeline.retrain.past import Past
from pipeline.retrain.unpack import forget, opened, settle
from pipeline.retrain.versions import Data, Versions
from pipeline.run.environment import STATE
from pipeline.run.once import alone

LOCK = STATE / "retrain" / "lock"
COLLECTED = "data/raw/collected"  # the release that grows, where it was a stage's output before


@dataclass(frozen=True)
class Base:
    """Where a run starts: a commit, the commit whose release it takes, and the release's place on the user's branch."""

    commit: str
    data_commit: str
    origin: str


def retrain(only_if_new: bool) -> int:
    """One run, after any other that is at work; returns the exit code."""
    settings = read_section("retrain", Retrain)
    if not succeeds("rev-parse", "--verify", "-q", "HEAD"):
        raise MienError("retraining commits to git, and there is no commit here; `git init`, `git commit`")
    with alone(LOCK):
        if tree.remove_leftovers():
            print("a run was killed half-way; its worktree is removed, what it had finished is kept")
        records = read_history()
        versions = Versions()
        if records:
            mark(records[-1])
        if registry.is_behind(records):
            registry.update(records, versions)
        return _run(settings, only_if_new, records, versions)


def _run(settings: Retrain, only_if_new: bool, records: list[Record], versions: Versions) -> int:
    base = find_base(records[-1] if records else None)
    data = versions.data(base.data_commit)
    intake = take_in(settings, data, Past.of(records, again=not only_if_new), versions)
    if only_if_new and not intake.changes:
        print("nothing new: no run")
        return 0
    if git("status", "--porcelain", "--untracked-files=no"):
        print("uncommitted changes are here; this run uses what is committed and leaves them alone")
    if not records:
        records = adopt(base, data, versions)
    started = time.monotonic()
    with tree.worktree(base.commit, versions.cache):
        record = train_and_judge(settings, base, data, intake, records, versions)
        if record is None:
            print("nothing is stale: no commit")
            return 0
    append(record)
    mark(record)
    registry.update([*records, record], versions)
    print(f"{record.branch}: {record.commit[:10]}, {time.monotonic() - started:.0f} s")
    return 0


def find_base(last: Record | None) -> Base:
    """Where the next run starts from.

    The last run's commit where the user's branch has nothing beyond it, else the user's `HEAD`. The release is that of
    the last run, which has grown, unless the user's branch has taken that run in or names another release.
    """
    head = git("rev-parse", "HEAD")
    origin = root_at(head)
    if last is None or not exists(last.commit) or succeeds("merge-base", "--is-ancestor", last.commit, head):
        return Base(head, head, origin)
    if succeeds("merge-base", "--is-ancestor", head, last.commit):
        return Base(last.commit, last.commit, last.origin)
    return Base(head, last.commit if origin in (last.origin, last.root) else head, origin)


def root_at(commit: str) -> str:
    """`data.root` as a commit has it."""
    tree = yaml.safe_load(text_at(commit, "params.yaml") or "") or {}
    try:
        return tree["data"]["root"]
    except (KeyError, TypeError):
        raise MienError(f"params.yaml at {commit[:10]} has no data.root; commit the params.yaml that you use") from None


def take_in(settings: Retrain, data: Data, past: Past, versions: Versions) -> Intake:
    """Sort what has arrived, set aside what is bad, tell all of it."""
    found = look(Path(settings.inbox), settings.settle_seconds)
    intake = Intake()
    arrivals = opened(found.whole, past.unpacked, intake)
    decide(arrivals, Held.of(data.files), versions.place, past, intake)
    settle(found.whole, intake)
    forget(found.whole, past.unpacked)
    for name in found.unsettled:
        print(f"{name}: still being written, or has come within {settings.settle_seconds:.0f} s; left for the next run")
    for line in [*lines({a: f"waits: {reason}" for a, reason in intake.waiting.items()}), *intake.told]:
        print(line)
    aside = {a: f"{why}. Set aside as {set_aside(a, why, Path(settings.set_aside))}" for a, why in intake.bad.items()}
    print("\n".join(lines(aside)), end="\n" if aside else "")
    removed = f", {len(intake.removed)} leave the release" if intake.removed else ""
    print(f"inbox: {len(intake.taken)} new files, {intake.known} known, {len(intake.bad)} set aside{removed}")
    return intake


def adopt(base: Base, data: Data, versions: Versions) -> list[Record]:
    """Before the first run: what is committed is the champion of each track that it has an ensemble of."""
    champions = {
        track: Champion(tag=next_tag(track, []), commit=base.commit)
        for track in tracks_at(base.commit)
        if versions.has(base.commit, f"{ENSEMBLE}/{track}")
    }
    record = Record(
        kind="first",
        date=now(),
        commit=base.commit,
        origin=data.root,
        root=data.root,
        data=data.digest,
        champions=champions,
    )
    append(record)
    mark(record)
    print(f"the champion of {', '.join(champions) or 'no track'} is what is committed, {base.commit[:10]}")
    return [record]


def tracks_at(commit: str) -> list[str]:
    """The tracks of the graph as a commit has it."""
    return list(yaml.safe_load(text_at(commit, "params.yaml") or "")["graph"]["tracks"])


def train_and_judge(
    settings: Retrain, base: Base, data: Data, intake: Intake, records: list[Record], versions: Versions
) -> Record | None:
    """In the worktree: the release grows, the graph runs, challengers meet champions, all is committed."""
    root = data.root if text_at(base.data_commit, f"{data.root}.dvc") else COLLECTED
    if base.data_commit != base.commit and root == data.root:
        tree.carry(base.data_commit, root, base.origin)
    tree.bring_data(data.root)
    if intake.changes:
        tree.change_release(data.root, root, intake)
    kept = root if intake.changes else data.root
    champions = records[-1].champions
    choose_start(settings, champions, versions)
    tree.reproduce()
    verdicts = [judge(track, champions.get(track), settings, versions) for track in tracks_at_tree()]
    arrived = {name: arrival.md5 for arrival, name in sorted(intake.taken.items())}
    date = now()
    commit = tree.commit_all(kept, message(arrived, intake.told, verdicts))
    if commit is None:
        return None
    for verdict in verdicts:
        print(verdict_line(verdict))
    fresh = {v.track: Champion(tag=next_tag(v.track, records), commit=commit) for v in verdicts if v.promoted}
    return Record(
        kind="run",
        date=date,
        commit=commit,
        branch=free_branch(date),
        origin=base.origin,
        root=kept,
        data=versions.digest(commit, kept) or "",
        arrived=arrived,
        removed=left_of(intake, data),
        told=intake.told,
        unpacked=intake.unpacked,
        verdicts=verdicts,
        champions=champions | fresh,
    )


def choose_start(settings: Retrain, champions: dict[str, Champion], versions: Versions) -> None:
    """In the worktree: random weights, or the champions' where `retrain.start` says so."""
    if settings.start == "scratch":
        starts.clear(tree.TREE)
    elif starts.start_from(champions, versions, tree.TREE):
        tree.run_dvc("add", starts.START.as_posix(), folder=tree.TREE)


def left_of(intake: Intake, data: Data) -> dict[str, str]:
    """md5 of each file that was part of the release and is no longer, by its place."""
    places = {*intake.removed, *intake.rewritten, *intake.taken.values()}
    return {place: data.files[place] for place in sorted(places & data.files.keys())}


def tracks_at_tree() -> list[str]:
    """The tracks of the graph in the worktree."""
    return list(yaml.safe_load((tree.TREE / "params.yaml").read_text())["graph"]["tracks"])


def judge(track: str, champion: Champion | None, settings: Retrain, versions: Versions) -> Verdict:
    """A track's challenger, in the worktree, against its champion, from DVC's cache."""
    if champion is None:
        return Verdict.undecided(track, True, "the track had no champion")
    folder = tree.HOME / "champion" / track
    shutil.rmtree(folder, ignore_errors=True)
    versions.fetch(champion.commit, f"{ENSEMBLE}/{track}", folder)
    ours, theirs = (Judged.read(place, track) for place in (tree.TREE / ENSEMBLE / track, folder))
    return compare(track, validation_rows(tree.TREE, track), ours, theirs, settings)


def message(arrived: dict[str, str], told: list[str], verdicts: list[Verdict]) -> str:
    """The commit's message: what came in, what it changed, how the challengers did."""
    lines = [f"Retrained: {len(arrived)} new files", ""]
    lines += [f"{name} md5 {md5}" for name, md5 in arrived.items()]
    return "\n".join([*lines, *told, "", *map(verdict_line, verdicts)])
