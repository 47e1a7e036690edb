"""What retraining has done, a line a run; which commit is each track's champion follows from it.

The records lie beside MLflow's database. Each run's commit tells the same in words, and tags mark the champions.
"""

import os
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pipeline.core.errors import MienError
from pipeline.core.files import atomic_write_text
from pipeline.retrain.distance import Drift, summary
from pipeline.retrain.git import git, succeeds
from pipeline.run.environment import STATE

HISTORY = STATE / "retrain" / "history.jsonl"


class Verdict(BaseModel):
    """How a track's challenger did. `interval` is that of the difference; without a champion there is none.

    `held`: better than the champion, and not promoted because of drift.
    """

    model_config = ConfigDict(extra="forbid")

    track: str
    score: float | None
    champion_score: float | None
    difference: float | None
    interval: tuple[float, float] | None
    rows: int
    recordings: int
    promoted: bool
    why: str
    held: bool = False

    @classmethod
    def undecided(cls, track: str, promoted: bool, why: str, rows: int = 0, recordings: int = 0) -> "Verdict":
        """Where nothing could be compared: there are no scores."""
        return cls(
            track=track,
            score=None,
            champion_score=None,
            difference=None,
            interval=None,
            rows=rows,
            recordings=recordings,
            promoted=promoted,
            why=why,
        )


class Champion(BaseModel):
    """A track's champion: its tag and commit."""

    model_config = ConfigDict(extra="forbid")

    tag: str
    commit: str


class Record(BaseModel):
    """A run, the adoption of what was there before the first (`first`), or a rollback.

    `arrived`: md5 of each file that came in with it, by its place in the release; `root`, `data`: the release's place
    and digest, and `origin` the place that params.yaml of the user's branch names; `champions`: who they are after it.
    `removed`: md5 of each file that left the release or was replaced, by its place; `told`: what changed, in words;
    `unpacked`: md5 of each archive that is done, by its name in the inbox. `drift`: how recordings that a champion
    has not seen differ from its own.
    """

    model_config = ConfigDict(extra="forbid")

    kind: str
    date: str
    commit: str
    branch: str = ""
    origin: str = ""
    root: str = ""
    data: str = ""
    arrived: dict[str, str] = {}
    removed: dict[str, str] = {}
    told: list[str] = []
    unpacked: dict[str, str] = {}
    verdicts: list[Verdict] = []
    drift: list[Drift] = []
    champions: dict[str, Champion] = {}


def now() -> str:
    """The time, UTC, to the second; `SOURCE_DATE_EPOCH` stands in for the clock where it is set."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(float(epoch) if epoch else None))


def read_history(path: Path = HISTORY) -> list[Record]:
    """All records, oldest first; `MienError` names a line that is none."""
    records = []
    for number, line in enumerate(path.read_text().splitlines() if path.is_file() else [], 1):
        try:
            records.append(Record.model_validate_json(line))
        except ValueError:
            raise MienError(f"{path}:{number}: not a record of retraining; mend or delete the line") from None
    return records


def append(record: Record, path: Path = HISTORY) -> None:
    """Add a record, whole or not at all."""
    former = path.read_text() if path.is_file() else ""
    atomic_write_text(path, former + record.model_dump_json() + "\n")


def next_tag(track: str, records: list[Record]) -> str:
    """The tag of a track's next champion: `champion/<track>/<n>`, beyond all that git or the history know."""
    prefix = f"champion/{track}/"
    known = git("tag", "--list", f"{prefix}*").split()
    known += [champion.tag for record in records for champion in record.champions.values()]
    numbers = [int(tag.removeprefix(prefix)) for tag in known if tag.startswith(prefix) and _is_number(tag)]
    return f"{prefix}{max(numbers, default=0) + 1}"


def _is_number(tag: str) -> bool:
    return tag.rpartition("/")[2].isdigit()


def free_branch(date: str) -> str:
    """`retrain/<date>`, with a number behind it where there is one already."""
    name = f"retrain/{date[:10]}"
    number = 1
    while exists(f"refs/heads/{name}"):
        number += 1
        name = f"retrain/{date[:10]}-{number}"
    return name


def mark(record: Record) -> None:
    """Make the branch and the tags that a record tells of; a run may have been killed before it came to that."""
    if record.branch and not exists(f"refs/heads/{record.branch}"):
        git("branch", record.branch, record.commit)
    for champion in record.champions.values():
        if not exists(f"refs/tags/{champion.tag}"):
            git("tag", champion.tag, champion.commit)


def exists(name: str) -> bool:
    """Whether git knows a commit by this name."""
    return succeeds("rev-parse", "--verify", "-q", f"{name}^{{commit}}")


def render(records: list[Record]) -> str:
    """The history for people, newest last."""
    lines = []
    for record in records:
        lines.append(f"{record.date}  {record.kind:<9}{record.branch or record.commit[:10]}  {_data(record)}".rstrip())
        lines += [f"    {text}" for text in record.told]
        lines += [f"    {verdict_line(verdict)}" for verdict in record.verdicts]
        lines += [f"    {text}" for text in summary(record.drift)]
        if record.kind != "run":
            lines += [f"    {track}: {c.tag} at {c.commit[:10]}" for track, c in sorted(record.champions.items())]
    return "\n".join(lines) if lines else "no run yet; `mien retrain` makes the first"


def _data(record: Record) -> str:
    return f"{record.root} {record.data[:10]}, {len(record.arrived)} new files" if record.data else ""


def verdict_line(verdict: Verdict) -> str:
    """One track's comparison and what came of it."""
    told = f"{verdict.track}: " + ("promoted" if verdict.promoted else "refused")
    if verdict.score is not None:
        told += f", {verdict.score:.3f}"
    if verdict.champion_score is not None and verdict.interval:
        low, high = verdict.interval
        told += (
            f" against {verdict.champion_score:.3f}, difference {verdict.difference:+.3f} ({low:+.3f} to {high:+.3f})"
        )
    return f"{told}: {verdict.why}"
