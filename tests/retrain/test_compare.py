"""Champion against challenger on the rows that both have, by key, with an interval over recordings."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.abaw.metrics import ccc
from pipeline.core.retrain import Retrain
from pipeline.retrain.compare import Judged, compare
from pipeline.tables.scores import Tasks

RECORDINGS, FRAMES = 6, 20


def axis(recordings: range, order: np.ndarray | None = None) -> pa.Table:
    keys = [(str(video), frame) for video in recordings for frame in range(1, FRAMES + 1)]
    keys = [keys[i] for i in (order if order is not None else range(len(keys)))]
    videos, frames = [video for video, _ in keys], np.array([frame for _, frame in keys])
    return pa.table(
        {
            "split": ["validation"] * len(keys),
            "video": videos,
            "base_video": videos,
            "frame": pa.array(frames, pa.int32()),
            "ordinal": pa.array(frames - 1, pa.int32()),
            "image": [f"{video}/{frame:05d}.jpg" for video, frame in keys],
        }
    )


def truth(table: pa.Table) -> np.ndarray:
    """Two values a row that its key alone decides."""
    video, frame = table["video"].to_numpy().astype(int), table["frame"].to_numpy()
    return np.stack([np.sin(frame + video), np.cos(2 * frame + video)], axis=1).astype(np.float32)


def labelled(table: pa.Table) -> pa.Table:
    return table.append_column("va", pa.FixedSizeListArray.from_arrays(pa.array(truth(table).reshape(-1)), 2))


def judged(table: pa.Table, noise: float, seed: int = 0) -> Judged:
    wrong = np.random.default_rng(seed).normal(0, noise, (len(table), 2))
    decided: Tasks = {"va": (truth(table) + wrong).clip(-1, 1)}
    return Judged(table, decided)


@pytest.mark.parametrize(("ours", "theirs", "promoted"), [(0.1, 0.8, True), (0.8, 0.1, False), (0.4, 0.4, False)])
def test_the_low_end_of_the_gain_decides(ours, theirs, promoted):
    rows = axis(range(RECORDINGS))
    settings = Retrain(draws=200)
    verdict = compare("va", labelled(rows), judged(rows, ours), judged(rows, theirs, seed=1), settings)
    assert verdict.interval and verdict.difference is not None
    assert verdict.promoted == promoted == (verdict.interval[0] > 0)
    assert verdict.interval[0] <= verdict.difference <= verdict.interval[1]
    assert (verdict.rows, verdict.recordings) == (RECORDINGS * FRAMES, RECORDINGS)


def test_the_margin_counts():
    rows = axis(range(RECORDINGS))
    both = judged(rows, 0.1), judged(rows, 0.8, seed=1)
    for margin, promoted in ((-1.0, True), (1.0, False)):
        verdict = compare("va", labelled(rows), *both, Retrain(draws=50, margin=margin))
        assert verdict.promoted == promoted
        assert ("above" in verdict.why) and (("not above" in verdict.why) != promoted)


def test_only_rows_that_both_have_count_whatever_their_order():
    """A challenger with more recordings of validation, in another order: the champion's rows are the judge."""
    generator = np.random.default_rng(0)
    theirs = axis(range(RECORDINGS))
    ours = axis(range(1, RECORDINGS + 3), generator.permutation((RECORDINGS + 2) * FRAMES))
    wrong = judged(ours, 0.0)
    beyond = ours["video"].to_numpy().astype(int) >= RECORDINGS
    wrong.decided["va"][beyond] = -1  # nonsense, where the champion has no say
    verdict = compare("va", labelled(ours), wrong, judged(theirs, 0.5), Retrain(draws=50))
    assert verdict.score == pytest.approx(1.0) and verdict.recordings == RECORDINGS - 1
    assert verdict.why.endswith("(5 recordings, 100 rows; of the champion's own, 1 left the release)")
    kept = theirs["video"].to_numpy() != "0"
    mine, right = judged(theirs, 0.5).decided["va"][kept], truth(theirs)[kept]
    assert verdict.champion_score == pytest.approx(np.mean([ccc(right[:, i], mine[:, i]) for i in range(2)]))


def test_one_recording_is_too_few():
    rows = axis(range(1))
    verdict = compare("va", labelled(rows), judged(rows, 0), judged(rows, 1), Retrain())
    assert not verdict.promoted and verdict.interval is None and "too few" in verdict.why
    apart = compare("va", labelled(rows), judged(rows, 0), judged(axis(range(5, 9)), 1), Retrain())
    assert apart.rows == 0 and not apart.promoted


def test_the_same_draws_every_time():
    rows = axis(range(RECORDINGS))
    verdicts = [compare("va", labelled(rows), judged(rows, 0.3), judged(rows, 0.4, 1), Retrain()) for _ in range(2)]
    assert verdicts[0] == verdicts[1]
