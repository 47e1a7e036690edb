"""What a rebuild made beside what was made: the same bytes, or decisions and scores within a bound.

Bytes are the same where processor, threads and libraries are (`run/machine.py`). Elsewhere sums of floats end in
another last digit, a training goes on from there, and what can be asked is whether the submission decides and scores
alike.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.abaw.tracks import TRACKS
from pipeline.audit.amount import amount
from pipeline.audit.case import Case
from pipeline.audit.claims import Claim, broken, some, verified
from pipeline.audit.lineage import is_below
from pipeline.audit.locks import Item, parse_lock
from pipeline.audit.objects import Objects
from pipeline.core.paths import ENSEMBLE, RUNS
from pipeline.run.machine import unlike
from pipeline.run.tracking import LOCKS

KIND = "rebuild"
METRICS = "metrics.json"
# How far apart two runs may be that differ in chance alone. Scores: over five seeds the demo's trainings spread by up
# to .077 (docs/benchmarks/ablations.json, dtm on EXPR), so two of them lie within 2 * sqrt(2) times that. A team with
# more data has smaller differences, and asks for less by `--within`. The other two are floors: a file that decides or
# scores further away than this is not the same model's, whatever its score.
SCORE_WITHIN = 0.2
AGREE_ABOVE = 0.5
SCORES_WITHIN = 0.3


@dataclass(frozen=True)
class Unlike:
    """An output that came out otherwise: its stage, and the pairs of files in it that are not the same."""

    stage: str
    path: str
    files: dict[str, tuple[Path | None, Path]]


@dataclass(frozen=True)
class Agreement:
    """How far two submissions agree: share of equal decisions, mean distance of scores; None where a track has none."""

    decisions: float | None
    distance: float | None

    def __str__(self) -> str:
        told = [] if self.decisions is None else [f"{self.decisions:.1%} of decisions are the same"]
        told += [] if self.distance is None else [f"scores are {self.distance:.3f} apart in the mean"]
        return ", ".join(told)


def judge_rebuild(case: Case, root: Path, data: bytes, within: float = SCORE_WITHIN) -> Iterator[Claim]:
    """Claims on the submission `data` of a case that was made again at `root`."""
    made = {item.path: item for stage in _locked(root).values() for item in stage.outs}
    apart = list(_unlike(case, root, made))
    stages = f"{len(case.stages)} stages of {case.hit.commits[0][:12]}, made again from nothing"
    if not apart:
        yield verified(case.hit.stage, KIND, f"{stages}: every output has the same bytes")
        return
    yield _first(case, root, apart)
    if all(one.path != case.hit.item.path for one in apart):
        yield verified(case.hit.stage, KIND, f"{stages}: the submission has the same bytes")
        return
    yield _alike(case, root, data, within)


def agreement(track: str, first: bytes, second: bytes) -> Agreement:
    """How far the rows of two submissions of a track agree; `ValueError` where they are not of the same images."""
    a, b = (_cells(text) for text in (first, second))
    if [row[0] for row in a] != [row[0] for row in b]:
        raise ValueError("other rows")
    fields = np.array(TRACKS[track].fields)
    ours, theirs = (np.array([row[1:] for row in rows], np.float64) for rows in (a, b))
    decided, scored = fields != "score", fields == "score"
    return Agreement(
        float((ours[:, decided] == theirs[:, decided]).mean()) if decided.any() else None,
        float(np.abs(ours[:, scored] - theirs[:, scored]).mean()) if scored.any() else None,
    )


def _cells(text: bytes) -> list[list[str]]:
    return [line.split(",") for line in text.decode().splitlines()[1:]]


def _locked(root: Path) -> dict[str, Any]:
    return parse_lock({lock: (root / lock).read_bytes() for lock in LOCKS if (root / lock).is_file()}, "the rebuild")


def _unlike(case: Case, root: Path, made: dict[str, Item]) -> Iterator[Unlike]:
    """Outputs that are not the same, upstream first; records of runs tell of a time and a place, and never are."""
    remade = Objects(root / ".dvc" / "cache")
    for stage in _in_order(case):
        for item in case.lock.stages[stage].outs:
            if is_below(item.path, RUNS.as_posix()) or made[item.path].md5 == item.md5:
                continue
            before, after = case.objects.members(item) or {}, remade.members(made[item.path]) or {}
            names = [name for name in after if before.get(name) != after[name]]
            files = {
                name: (case.objects.find(name, before[name]) if name in before else None, root / name) for name in names
            }
            yield Unlike(stage, item.path, files)


def _in_order(case: Case) -> list[str]:
    """The stages of the case, each after those that it reads from."""
    found: list[str] = []

    def visit(name: str) -> None:
        if name not in found:
            for source in case.hit.stages[name]:
                visit(source)
            found.append(name)

    visit(case.hit.stage)
    return found


def _first(case: Case, root: Path, apart: list[Unlike]) -> Claim:
    """Where the bytes first went apart, and whether the machines explain it."""
    first = apart[0]
    much = next((f"; {name}: {amount(old, new)}" for name, (old, new) in first.files.items() if old), "")
    stages = list(dict.fromkeys(one.stage for one in apart))
    text = f"first otherwise: {first.path} of {first.stage}, {len(first.files)} files{much}"
    text += f"; {len(stages)} stages in all: {some(stages)}" if len(stages) > 1 else ""
    then, now = case.runs.get(first.stage, {}).get("machine"), _machine(root, first.stage)
    if not then or not now:
        return verified(first.stage, KIND, f"{text}; on which machine it ran first is not recorded")
    if differences := unlike(then, now):
        return verified(first.stage, KIND, f"{text}; the machine differs: {some(differences)}")
    return broken(first.stage, KIND, f"{text}; processor, threads and libraries are the same, so bytes should be")


def _machine(root: Path, stage: str) -> dict[str, Any] | None:
    path = root / RUNS / stage / "run.json"
    return json.loads(path.read_text(encoding="utf-8")).get("machine") if path.is_file() else None


def _alike(case: Case, root: Path, data: bytes, within: float) -> Claim:
    """The submission's decisions, and its score on validation, against those of the rebuild."""
    remade = (root / case.hit.item.path).read_bytes()
    try:
        rows = agreement(case.track, data, remade)
    except ValueError:
        return broken(case.hit.stage, KIND, "the rebuild's submission has other rows")
    folder = ENSEMBLE / case.track
    item = case.out(folder.as_posix())
    made = case.objects.within(item, METRICS) if item else None
    before, after = _score(made) if made else None, _score(root / folder / METRICS)
    scores = f"score on validation {before:.4f}, rebuilt {after:.4f}" if before is not None else "its score is not here"
    text = f"not byte for byte, by decisions and scores: {rows}; {scores}"
    far = [] if before is None or abs(after - before) <= within else [f"scores more than {within:g} apart"]
    far += ["too few decisions are the same"] if rows.decisions is not None and rows.decisions < AGREE_ABOVE else []
    far += ["scores too far apart"] if rows.distance is not None and rows.distance > SCORES_WITHIN else []
    if far:
        return broken(case.hit.stage, KIND, f"{text}: {', '.join(far)}")
    return verified(case.hit.stage, KIND, f"{text} (within {within:g})")


def _score(metrics: Path) -> float:
    return float(json.loads(metrics.read_text(encoding="utf-8"))["score"])
