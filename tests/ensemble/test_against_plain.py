"""What is fitted from counts is what the official metric fits on the rows: weights, windows, thresholds, decisions."""

import numpy as np
import pytest

from pipeline.abaw.tracks import TRACKS
from pipeline.ensemble import fit
from pipeline.ensemble.fit import Ensemble, Timeline
from pipeline.ensemble.judge import judge
from pipeline.settings import load_params
from pipeline.tables.scores import Tasks, official_score
from tests.ensemble import plain

CASES = [("expr", 1), ("expr", 3), ("expr", 5), ("au", 2), ("au", 3), ("va", 2), ("va", 5), ("mtl", 2), ("lsd", 3)]


def problem(track: str, count: int, seed: int) -> tuple[Timeline, list[Tasks], Tasks]:
    """Videos of unlike length with missing frames and rows in any order, invalid labels, members of unlike worth."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(5, 40, 9)
    videos = np.repeat([f"{n // 2}_left" if n % 2 else f"{n // 2}_right" for n in range(9)], lengths).astype(object)
    frames = np.concatenate([np.sort(generator.choice(90, n, replace=False)) for n in lengths])
    order = generator.permutation(len(videos))
    videos, frames = videos[order], frames[order]
    rows, timed = len(videos), track != "lsd"
    groups = np.array([video.partition("_")[0] for video in videos], object) if timed else np.arange(rows)
    wave = np.sin(frames / 9 + np.unique(videos, return_inverse=True)[1])
    classes = len(TRACKS[track].classes) or 8
    labels: Tasks = {}
    truth: Tasks = {}
    if "expression" in TRACKS[track].tasks:
        labels["expression"] = ((wave + 1) / 2.001 * classes).astype(int)
        truth["expression"] = np.eye(classes)[labels["expression"]]
    if "aus" in TRACKS[track].tasks:
        labels["aus"] = (wave[:, None] * 0.8 + generator.normal(0, 0.4, (rows, 12)) > 0.3).astype(int)
        truth["aus"] = labels["aus"] * 0.5 + 0.2
    if "va" in TRACKS[track].tasks:
        labels["va"] = truth["va"] = np.stack((wave, -wave), 1) * 0.9
    spread = {task: generator.uniform(0.3, 0.8, count) for task in truth}
    members = [
        {task: values + generator.normal(0, spread[task][m], values.shape) for task, values in truth.items()}
        for m in range(count)
    ]  # valence and arousal go beyond [-1, 1] in many rows
    for member in members:
        if "expression" in member:
            member["expression"] = np.exp(3 * member["expression"])
            member["expression"] /= member["expression"].sum(axis=1, keepdims=True)
    for task, values in labels.items():
        labels[task] = values.copy()
        labels[task][generator.random(rows) < 0.15] = -5 if task == "va" else -1
    return Timeline(videos, frames, groups, timed), members, labels


def settings(root, track: str, count: int, **changes) -> Ensemble:
    update = {"half_windows_frames": [0, 1, 3, 8], "bootstrap_draws": 40, "folds": 3, "au_prior_frames": 20.0}
    update |= {"class_prior_powers": {track: [1.0, 0.5, 0.0]}} | changes
    update["members"] = {track: [f"m{number}" for number in range(count)]}
    return load_params(root / "params.yaml").ensemble.model_copy(update=update)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("track", "count"), CASES)
def test_the_same_is_fitted_and_decided(root, track, count, seed):
    timeline, members, labels = problem(track, count, seed)
    params = settings(root, track, count)
    given = track, timeline, members, labels, params
    assert fit.fit_track(*given) == plain.fit_track(*given)
    found, wanted = fit.inner_fold_decisions(*given), plain.inner_fold_decisions(*given)
    assert found.keys() == wanted.keys() and all(np.array_equal(found[task], wanted[task]) for task in wanted)


@pytest.mark.parametrize("track", ["expr", "au", "mtl"])
def test_the_same_is_told_of_it(root, track):
    timeline, members, labels = problem(track, 2, seed=7)
    params = settings(root, track, 2)
    fitted, metrics = judge(track, timeline, members, labels, params)
    mixed = plain.inner_fold_decisions(track, timeline, members, labels, params)
    alone = [plain.inner_fold_decisions(track, timeline, [member], labels, params) for member in members]
    scores = [official_score(track, labels, decided)["score"] for decided in alone]
    assert metrics["mixed"] == official_score(track, labels, mixed)["score"]
    assert list(metrics["members"].values()) == scores
    chosen = mixed if metrics["chosen"] == "mix" else alone[int(np.argmax(scores))]
    wanted = plain.interval(track, timeline, labels, chosen, params)
    assert metrics["interval_95"] == pytest.approx(wanted, abs=1e-12)
    if metrics["chosen"] == "mix":
        assert fitted == plain.fit_track(track, timeline, members, labels, params)


@pytest.mark.parametrize("prior", [0.0, 1e9])
def test_thresholds_with_and_without_a_prior(root, prior):
    timeline, members, labels = problem("au", 2, seed=1)
    params = settings(root, "au", 2, au_prior_frames=prior, au_thresholds=[0.9, 0.3, 0.5, 0.4, 0.5])
    given = "au", timeline, members, labels, params
    assert fit.fit_track(*given) == plain.fit_track(*given)


def test_members_that_say_the_same_leave_one(root):
    timeline, members, labels = problem("va", 1, seed=2)
    found = fit.fit_track("va", timeline, members * 3, labels, settings(root, "va", 3))["va"]
    assert found.weights == (0.0, 0.0, 1.0)  # the first of the grid's single members


def test_no_labels_at_all_are_no_error(root):
    timeline, members, labels = problem("mtl", 2, seed=3)
    nothing = {task: np.full_like(values, -5 if task == "va" else -1) for task, values in labels.items()}
    given = "mtl", timeline, members, nothing, settings(root, "mtl", 2)
    assert fit.fit_track(*given) == plain.fit_track(*given)
