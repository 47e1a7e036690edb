"""Challenger against champion on the same rows: the validation rows that both have judged, joined by key.

Both were fitted on validation, so the two scores are a little too good and their difference is what counts: it gets a
95 % interval by drawing whole recordings, the same ones for both (Efron, 1979).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.abaw.resample import bootstrap_interval, group_codes
from pipeline.core.parquet import read_parquet
from pipeline.core.paths import LABELS
from pipeline.core.retrain import Retrain
from pipeline.ensemble.fit import take
from pipeline.retrain.history import Verdict
from pipeline.tables.fitted import read_fitted, thresholds_of
from pipeline.tables.join import find_listed
from pipeline.tables.scores import (
    Tasks,
    decide,
    official_part_scores,
    official_score,
    read_predictions,
    recordings,
    task_arrays,
)


@dataclass(frozen=True)
class Judged:
    """What an ensemble submits for validation: its rows, and its decisions on them by task."""

    axis: pa.Table
    decided: Tasks

    @classmethod
    def read(cls, folder: Path, track: str) -> "Judged":
        """Of an ensemble's folder: `validation.parquet` decided at the thresholds of `fitted.json`."""
        axis, scores, _ = read_predictions(folder / "validation.parquet", track)
        _, fitted = read_fitted(folder / "fitted.json")
        return cls(axis, decide(scores, thresholds_of(fitted)))


def validation_rows(root: Path, track: str) -> pa.Table:
    """Label rows of validation of the project at `root`."""
    table = read_parquet(root / LABELS / f"{track}.parquet")
    return table.filter(pc.equal(table["split"], "validation"))


def compare(track: str, labels: pa.Table, challenger: Judged, champion: Judged, settings: Retrain) -> Verdict:
    """The official score of both on the rows that `labels`, challenger and champion have, and who is to be champion.

    The challenger is promoted where the low end of the interval of its gain is above `settings.margin`.
    """
    rows, of_labels = find_listed(challenger.axis, champion.axis), find_listed(labels, champion.axis)
    common = np.flatnonzero((rows >= 0) & (of_labels >= 0))
    truth = take(task_arrays(track, labels), of_labels[common])
    ours, theirs = take(challenger.decided, rows[common]), take(champion.decided, common)
    groups = recordings(champion.axis, track)[common]
    names, codes = group_codes(groups)
    count = len(names)
    if count < 2:
        return _undecided(track, len(common), count, _lost(champion, track, groups))
    scores = [official_part_scores(track, truth, decided, codes, count) for decided in (ours, theirs)]
    interval = bootstrap_interval(
        lambda times: scores[0](times) - scores[1](times), count, settings.seed, settings.draws
    )
    score, champion_score = (official_score(track, truth, decided)["score"] for decided in (ours, theirs))
    better = interval[0] > settings.margin
    why = f"the low end of its gain is {interval[0]:+.3f}, " + ("above" if better else "not above")
    return Verdict(
        track=track,
        score=score,
        champion_score=champion_score,
        difference=score - champion_score,
        interval=interval,
        rows=len(common),
        recordings=count,
        promoted=better,
        why=f"{why} {settings.margin:+.3f} ({count} recordings, {len(common)} rows{_lost(champion, track, groups)})",
    )


def _lost(champion: Judged, track: str, groups: np.ndarray) -> str:
    """What of the champion's own validation cannot be compared, in words; nothing where all of it can."""
    gone = np.setdiff1d(recordings(champion.axis, track), groups)
    return f"; of the champion's own, {len(gone)} left the release" if len(gone) else ""


def _undecided(track: str, rows: int, count: int, lost: str) -> Verdict:
    why = f"champion and challenger share {count} recordings of validation: too few for an interval{lost}"
    return Verdict.undecided(track, False, why, rows, count)
