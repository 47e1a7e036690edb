"""`mien retrain`: look at the inbox, take in what is new, train, compare, promote or refuse, and write it down.

Each step can be killed: the next run removes the worktree and begins again, and what had finished comes from DVC's
cache and the work store. The record is written after the commit and before branch and tags, which it tells of.
"""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipeline.abaw.tracks import TRACKS
from pipeline.core.errors import MienError
from pipeline.core.params import read_section
from pipeline.core.paths import ENSEMBLE, FACES, LABELS, MANIFEST
from pipeline.core.retrain import Retrain
from pipeline.retrain import registry, starts
from pipeline.retrain import worktree as tree
from pipeline.retrain.bundle import bundle
from pipeline.retrain.compare import Judged, compare, validation_rows
from pipeline.retrain.distance import Drift, summary
from pipeline.retrain.drift import drift_of
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
from pipeline.retrain.notify import tell, tell_record
from pipeline.retrain.outcome import Intake, lines
from pipeline.retrain.page import write_page
from pipeline.retrain.past import Past
from pipeline.retrain.unpack import forget, opened, settle
from pipeline.retrain.versions import Data, Versions
from pipeline.run.dag import run_dvc
from pipeline.run.environment import STATE
from pipeline.run.once import alone

LOCK = STATE / "retrain" / "lock"
NOBODY = Champion(tag="", commit="")
COLLECTED = "data/raw/collected"  # the release that grows, where it was a stage's output before


@dataclass(frozen=True)
class Base:
    """Where a run starts: a commit, the commit whose release it takes, and the release's place on the user's branch."""

    commit: str
    data_commit: str
    origin: str


def retrain(only_if_new: bool, accept_drift: bool = False) -> int:
    """One run, after any other that is at work; returns the exit code.

    `accept_drift`: new recordings that are unlike the champion's keep no challenger from its place.
    """
    settings = read_section("retrain", Retrain)
    if not succeeds("rev-parse", "--verify", "-q", "HEAD"):
        raise MienError("retraining commits to git, and there is no commit here; `git init`, `git commit`")
    try:
        return _one_run(settings, only_if_new, accept_drift)
    except Exception as error:
        tell(settings.notify, "failure", str(error) or type(error).__name__)
        raise


def _one_run(settings: Retrain, only_if_new: bool, accept_drift: bool) -> int:
    with alone(LOCK):
        if tree.remove_leftovers():
            print("a run was killed half-way; its worktree is removed, what it had finished is kept")
        records = read_history()
        versions = Versions()
        if records:
            mark(records[-1])
        if registry.is_behind(records):
            registry.update(records, versions)
        return _run(settings, only_if_new, accept_drift, records, versions)


def _run(settings: Retrain, only_if_new: bool, accept_drift: bool, records: list[Record], versions: Versions) -> int:
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
        record = train_and_judge(settings, base, data, intake, records, versions, accept_drift)
        if record is None:
            print("nothing is stale: no commit")
            return 0
    append(record)
    mark(record)
    registry.update([*records, record], versions)
    tell_record(settings.notify, record)
    print(f"{write_page(record)}: verdicts and drift")
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
    if aside:
        print("\n".join(lines(aside)))
        tell(settings.notify, "set_aside", "\n".join(lines(aside)))
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
    settings: Retrain,
    base: Base,
    data: Data,
    intake: Intake,
    records: list[Record],
    versions: Versions,
    accept_drift: bool,
) -> Record | None:
    """In the worktree: the release grows, the graph runs, challengers meet champions, all is committed.

    None where nothing is stale, unless that makes a champion of a challenger whose drift is accepted now.
    """
    root = grow(base, data, intake)
    champions = records[-1].champions
    choose_start(settings, champions, versions)
    tree.reproduce()
    judged = [judge(track, champions.get(track), settings, versions, accept_drift) for track in tracks_at_tree()]
    verdicts = [verdict for verdict, _ in judged]
    drift = [found for _, drifts in judged for found in drifts]
    date, arrived = now(), {name: arrival.md5 for arrival, name in sorted(intake.taken.items())}
    made = tree.commit_all(root, message(arrived, intake.told, verdicts))
    waited = any(v.promoted and champions.get(v.track, NOBODY).commit != base.commit for v in verdicts)
    if made is None and not (accept_drift and waited):
        return None
    commit = made or base.commit
    for line in [*map(verdict_line, verdicts), *summary(drift)]:
        print(line)
    fresh = {v.track: Champion(tag=next_tag(v.track, records), commit=commit) for v in verdicts if v.promoted}
    return Record(
        kind="run",
        date=date,
        commit=commit,
        branch=free_branch(date) if made else records[-1].branch,
        origin=base.origin,
        root=root,
        data=versions.digest(commit, root) or "",
        arrived=arrived,
        removed=left_of(intake, data),
        told=intake.told,
        unpacked=intake.unpacked,
        verdicts=verdicts,
        drift=drift,
        champions=champions | fresh,
    )


def grow(base: Base, data: Data, intake: Intake) -> str:
    """In the worktree: the release of the last run, with what came in; its place."""
    root = data.root if text_at(base.data_commit, f"{data.root}.dvc") else COLLECTED
    if base.data_commit != base.commit and root == data.root:
        tree.carry(base.data_commit, root, base.origin)
    tree.bring_data(data.root)
    if not intake.changes:
        return data.root
    tree.change_release(data.root, root, intake)
    return root


def choose_start(settings: Retrain, champions: dict[str, Champion], versions: Versions) -> None:
    """In the worktree: random weights, or the champions' where `retrain.start` says so."""
    if settings.start == "scratch":
        starts.clear(tree.TREE)
    elif starts.start_from(champions, versions, tree.TREE):
        run_dvc("add", starts.START.as_posix(), folder=tree.TREE)


def left_of(intake: Intake, data: Data) -> dict[str, str]:
    """md5 of each file that was part of the release and is no longer, by its place."""
    places = {*intake.removed, *intake.rewritten, *intake.taken.values()}
    return {place: data.files[place] for place in sorted(places & data.files.keys())}


def tracks_at_tree() -> list[str]:
    """The tracks of the graph in the worktree."""
    return list(yaml.safe_load((tree.TREE / "params.yaml").read_text())["graph"]["tracks"])


def judge(
    track: str, champion: Champion | None, settings: Retrain, versions: Versions, accept_drift: bool
) -> tuple[Verdict, list[Drift]]:
    """A track's challenger, in the worktree, against its champion, from DVC's cache; and what came in, against what the
    champion was trained on.
    """
    if champion is None:
        return Verdict.undecided(track, True, "the track had no champion"), []
    home = tree.HOME / "champion" / track
    shutil.rmtree(home, ignore_errors=True)
    versions.fetch(champion.commit, f"{ENSEMBLE}/{track}", home / ENSEMBLE / track)
    ours, theirs = (Judged.read(root / ENSEMBLE / track, track) for root in (tree.TREE, home))
    verdict = compare(track, validation_rows(tree.TREE, track), ours, theirs, settings)
    shutil.rmtree(home)
    try:
        drifts = look_for_drift(track, champion.commit, home, settings, versions)
    except MienError as error:
        return weighed(verdict, [f"drift cannot be measured ({error})"], accept_drift), []
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return weighed(verdict, [f"drift: {drift.line()}" for drift in drifts if drift.is_beyond], accept_drift), drifts


def look_for_drift(track: str, commit: str, home: Path, settings: Retrain, versions: Versions) -> list[Drift]:
    """What came in, against what the champion of a commit was trained on, whose project is made at `home`."""
    versions.link(commit, FACES.as_posix(), home / FACES, f"{TRACKS[track].dataset}/")
    versions.link(commit, MANIFEST.as_posix(), home / MANIFEST, f"{LABELS.name}/{track}.parquet")
    return drift_of(track, tree.TREE, home, settings, lambda: bundle(commit, track, home, versions))


def weighed(verdict: Verdict, faults: list[str], accept_drift: bool) -> Verdict:
    """A verdict in the light of what is wrong with the new recordings: better or not, it waits for somebody's word."""
    if not faults or not verdict.promoted:
        return verdict
    if accept_drift:
        return verdict.model_copy(update={"why": f"{verdict.why}; accepted all the same, {'; '.join(faults)}"})
    why = f"{verdict.why}, but {'; '.join(faults)}; `mien retrain --accept-drift` promotes it"
    return verdict.model_copy(update={"promoted": False, "held": True, "why": why})


def message(arrived: dict[str, str], told: list[str], verdicts: list[Verdict]) -> str:
    """The commit's message: what came in, what it changed, how the challengers did."""
    lines = [f"Retrained: {len(arrived)} new files", ""]
    lines += [f"{name} md5 {md5}" for name, md5 in arrived.items()]
    return "\n".join([*lines, *told, "", *map(verdict_line, verdicts)])
