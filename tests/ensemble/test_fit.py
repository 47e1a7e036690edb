"""What is fitted on validation, and whether the price of fitting is told honestly."""

import json
import math

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline.core.errors import MienError
from pipeline.core.files import write_json
from pipeline.ensemble.candidates import combine
from pipeline.ensemble.fit import (
    Ensemble,
    Timeline,
    combined,
    combined_tasks,
    fit_track,
    fold_of,
    inner_fold_decisions,
)
from pipeline.settings import load_params
from pipeline.tables.fitted import Fitted, as_json, read_fitted, thresholds_of
from pipeline.tables.scores import decide, official_score
from pipeline.tables.thresholds import best_thresholds, shrunk_thresholds

VIDEOS = 10
FRAMES = 40


@pytest.fixture(scope="module")
def params(root) -> Ensemble:
    update: dict = {"weight_step": 0.25, "half_windows_frames": [0, 1, 3, 6]}
    update |= {"au_thresholds": [0.3, 0.5, 0.7], "au_prior_frames": 0.0}
    return load_params(root / "params.yaml").ensemble.model_copy(update=update)


@pytest.fixture
def axis() -> Timeline:
    videos = np.repeat([f"v{number}" for number in range(VIDEOS)], FRAMES)
    return Timeline(videos, np.tile(np.arange(1, FRAMES + 1), VIDEOS), videos)


def slow_truth(seed: int = 0) -> np.ndarray:
    """Valence and arousal that change slowly, another wave in each video."""
    generator = np.random.default_rng(seed)
    time = np.arange(FRAMES) / FRAMES
    waves = [
        [np.sin(2 * math.pi * (time * generator.uniform(0.5, 1.5) + generator.random())) for _ in range(2)]
        for _ in range(VIDEOS)
    ]
    return np.concatenate([np.stack(wave, 1) for wave in waves]) * 0.8


# --- parts -----------------------------------------------------------------------------------------------------------


def test_combine():
    a, b = np.array([[1.0, 2.0]]), np.array([[3.0, np.nan]])
    assert combine([a, b], (1.0, 0.0)).tolist() == [[1, 2]]  # a member without weight is not looked at
    assert combine([a, a + 2], (0.25, 0.75)).tolist() == [[2.5, 3.5]]
    with pytest.raises(ValueError):
        combine([a], (0.5, 0.5))


def test_best_thresholds_against_brute_force():
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 2, (300, 12))
    labels[::7] = -1
    scores = np.clip(labels * 0.3 + generator.random((300, 12)) * 0.8 - 0.1 * np.arange(12) / 12, 0, 1)
    grid = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    found = best_thresholds(labels, scores, grid)
    valid = labels[:, 0] >= 0
    for unit, threshold in enumerate(found):
        truth = labels[valid, unit] == 1
        f1 = {}
        for candidate in grid:
            guess = scores[valid, unit] >= candidate
            f1[candidate] = 2 * (guess & truth).sum() / (guess.sum() + truth.sum())
        assert f1[threshold] == max(f1.values())
    assert len(set(found)) > 1


def test_best_thresholds_prefers_the_middle_among_equals():
    labels = np.zeros((4, 12), int)
    labels[0] = 1
    scores = np.where(labels == 1, 0.95, 0.05)
    assert best_thresholds(labels, scores, [0.1, 0.4, 0.6, 0.9]) == (0.4,) * 12
    assert best_thresholds(labels * 0, scores, [0.1, 0.9, 0.5]) == (0.5,) * 12  # a unit that is never active


def test_axis_of_a_table():
    table = pa.table({"video": ["a_left", "a_right", "b"], "frame": [1, 2, 3], "base_video": ["a", "a", "b"]})
    timed = Timeline.of(table, "va")
    assert timed.timed and timed.groups.tolist() == ["a", "a", "b"] and timed.videos.tolist()[0] == "a_left"
    pictures = Timeline.of(table, "lsd")
    assert not pictures.timed and pictures.groups.tolist() == [0, 1, 2]
    part = pictures.take(np.array([2, 0]))
    assert not part.timed and part.videos.tolist() == ["b", "a_left"] and part.frames.tolist() == [3, 1]


@pytest.mark.parametrize(("groups", "folds"), [(10, 5), (11, 3), (3, 5), (1, 5)])
def test_folds_keep_groups_together(groups, folds):
    names = np.random.default_rng(0).permutation(np.repeat([f"g{n}" for n in range(groups)], 7))
    numbers = fold_of(names, folds, seed=1)
    for name in set(names):
        assert len(set(numbers[names == name])) == 1
    sizes = [len(set(names[numbers == n])) for n in range(min(folds, groups))]
    assert sum(sizes) == groups and max(sizes) - min(sizes) <= 1
    assert np.array_equal(numbers, fold_of(names, folds, seed=1))
    if groups > 3:
        assert not np.array_equal(numbers, fold_of(names, folds, seed=2))


# --- fitting ---------------------------------------------------------------------------------------------------------


def test_fit_takes_the_better_member(axis, params):
    generator = np.random.default_rng(0)
    truth = slow_truth()
    good, bad = truth + generator.normal(0, 0.05, truth.shape), generator.uniform(-1, 1, truth.shape)
    for members, weights in (([{"va": bad}, {"va": good}], (0.0, 1.0)), ([{"va": good}, {"va": bad}], (1.0, 0.0))):
        assert fit_track("va", axis, members, {"va": truth}, params)["va"].weights == weights


def test_fit_mixes_members_whose_errors_differ(axis, params):
    generator = np.random.default_rng(0)
    truth = slow_truth()
    members = [{"va": truth + generator.normal(0, 0.5, truth.shape)} for _ in range(2)]
    plain = params.model_copy(update={"half_windows_frames": [0]})
    assert fit_track("va", axis, members, {"va": truth}, plain)["va"].weights == (0.5, 0.5)


def test_fit_prefers_the_simplest_among_equals(axis, params):
    truth = slow_truth()
    fitted = fit_track("va", axis, [{"va": truth}] * 3, {"va": truth}, params)["va"]
    assert sorted(fitted.weights) == [0, 0, 1] and fitted.half_window_frames == 0


def test_fit_finds_the_smoothing_that_is_needed(axis, params):
    truth = slow_truth()
    noisy = truth + np.random.default_rng(0).normal(0, 0.6, truth.shape)
    fitted = fit_track("va", axis, [{"va": noisy}], {"va": truth}, params)
    assert fitted["va"].half_window_frames >= 3

    def judge(values: np.ndarray) -> float:
        return official_score("va", {"va": truth}, decide({"va": values}))["score"]

    assert judge(combined_tasks(fitted, axis, [{"va": noisy}])["va"]) > judge(noisy) + 0.1
    fast = np.random.default_rng(1).uniform(-1, 1, truth.shape)
    assert fit_track("va", axis, [{"va": fast}], {"va": fast}, params)["va"].half_window_frames == 0


def test_fit_gives_each_unit_its_threshold(axis, params):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, (VIDEOS * FRAMES, 12))
    cut = np.tile([0.3, 0.5, 0.7], 4)  # active scores lie right above, the others right below
    scores = cut + np.where(labels == 1, 0.05, -0.05)
    fitted = fit_track("au", axis, [{"aus": scores}], {"aus": labels}, params)
    assert fitted["aus"].au_thresholds == tuple(cut) and fitted["aus"].half_window_frames == 0
    decided = decide(combined_tasks(fitted, axis, [{"aus": scores}]), thresholds_of(fitted))
    assert np.array_equal(decided["aus"], labels)
    assert thresholds_of({"va": Fitted((1.0,), 0)}) == 0.5


def test_each_task_of_mtl_is_fitted_on_its_own(axis, params):
    generator = np.random.default_rng(0)
    truth, classes = slow_truth(), generator.integers(0, 8, VIDEOS * FRAMES)
    units = generator.integers(0, 2, (len(classes), 12))
    sharp = {"expression": np.eye(8)[classes], "va": generator.uniform(-1, 1, truth.shape), "aus": units * 1.0}
    smooth = {"expression": generator.random((len(classes), 8)), "va": truth, "aus": 1.0 - units}
    fitted = fit_track("mtl", axis, [sharp, smooth], {"expression": classes, "aus": units, "va": truth}, params)
    assert {task: how.weights for task, how in fitted.items()} == {
        "expression": (1.0, 0.0),
        "aus": (1.0, 0.0),
        "va": (0.0, 1.0),
    }
    named = as_json(fitted, ["one", "two"])
    assert named["va"]["weights"] == {"one": 0.0, "two": 1.0} and named["va"]["half_window_frames"] == 0


def test_an_ensemble_without_members_is_told(axis, params):
    with pytest.raises(MienError, match=r"ensemble\.members\.va is empty"):
        fit_track("va", axis, [], {"va": slow_truth()}, params)


def test_pictures_are_never_smoothed(params):
    generator = np.random.default_rng(0)
    rows = 240
    axis = Timeline(np.array(["pictures"] * rows), np.arange(rows), np.arange(rows), timed=False)
    labels = np.repeat(generator.integers(0, 6, 12), 20)  # neighbours agree: smoothing would help, wrongly
    scores = np.eye(6)[labels] + generator.normal(0, 0.8, (rows, 6))
    fitted = fit_track("lsd", axis, [{"expression": scores}], {"expression": labels}, params)
    assert fitted["expression"].half_window_frames == 0
    kept = combined(Fitted((1.0,), 6), axis, [scores])
    assert np.array_equal(kept, scores)
    axis.timed = True
    assert not np.allclose(combined(Fitted((1.0,), 6), axis, [scores]), scores)
    timed = fit_track("expr", axis, [{"expression": np.c_[scores, scores[:, :2] - 9]}], {"expression": labels}, params)
    assert timed["expression"].half_window_frames > 0


# --- the price of fitting --------------------------------------------------------------------------------------------


def optimism(seed: int, axis: Timeline, params: Ensemble) -> float:
    """Tuned minus inner-fold score where there is nothing to learn."""
    generator = np.random.default_rng(seed)
    labels = {"va": generator.uniform(-1, 1, (len(axis.videos), 2))}
    members = [{"va": generator.uniform(-1, 1, labels["va"].shape)} for _ in range(3)]
    fitted = fit_track("va", axis, members, labels, params)
    tuned = official_score("va", labels, decide(combined_tasks(fitted, axis, members)))["score"]
    inner = official_score("va", labels, inner_fold_decisions("va", axis, members, labels, params))["score"]
    return tuned - inner


def test_fitting_to_noise_is_seen_as_optimism(axis, params):
    found = [optimism(seed, axis, params) for seed in range(8)]
    assert np.mean(found) > 0.01
    assert np.mean(np.array(found) > 0) > 0.7


def test_inner_folds_do_not_see_their_own_videos(axis, params):
    """Each member knows one of two videos: fitted without a video, the choice falls on the member that fails there."""
    rows = np.arange(2 * FRAMES)
    axis, truth, first = axis.take(rows), slow_truth()[rows], (rows < FRAMES)[:, None]
    noise = np.random.default_rng(0).uniform(-1, 1, truth.shape)
    members = [{"va": np.where(first, truth, noise)}, {"va": np.where(first, noise, truth)}]
    plain = params.model_copy(update={"half_windows_frames": [0]})
    assert np.allclose(inner_fold_decisions("va", axis, members, {"va": truth}, plain)["va"], noise)


def test_one_group_alone_is_fitted_on_itself(params):
    truth = slow_truth()[:FRAMES]
    axis = Timeline(np.array(["only"] * FRAMES), np.arange(FRAMES), np.array(["only"] * FRAMES))
    assert np.allclose(inner_fold_decisions("va", axis, [{"va": truth}], {"va": truth}, params)["va"], truth)


# --- a threshold needs frames ----------------------------------------------------------------------------------------


def test_thresholds_of_rare_units_are_drawn_to_the_common_one():
    labels = np.zeros((100, 12), int)
    labels[:40, :11] = 1
    labels[:4, 11] = 1
    scores = np.where(labels == 1, 0.45, 0.05)  # eleven units: anything from 0.1 to 0.4, of which 0.4 is nearest 0.5
    scores[:, 11] = np.where(labels[:, 11] == 1, 0.95, 0.65)  # the rare one: 0.7 to 0.9
    grid = [0.1, 0.2, 0.3, 0.4, 0.7, 0.9]
    assert best_thresholds(labels, scores, grid) == (0.4,) * 11 + (0.7,)
    assert shrunk_thresholds(labels, scores, grid, 0) == (0.4,) * 11 + (0.7,)
    found = shrunk_thresholds(labels, scores, grid, 16)
    assert found[:11] == pytest.approx([0.4] * 11) and found[11] == pytest.approx((4 * 0.7 + 16 * 0.4) / 20)
    labels[:10, 3] = -1  # rows that no AU score counts, active ones of the others among them
    assert shrunk_thresholds(labels, scores, grid, 16)[11] == pytest.approx(0.4)


def test_prior_frames_reach_the_fitted_thresholds(axis, params):
    labels = np.random.default_rng(0).integers(0, 2, (VIDEOS * FRAMES, 12))
    cut = np.tile([0.3, 0.5, 0.7], 4)
    scores = cut + np.where(labels == 1, 0.05, -0.05)
    strong = params.model_copy(update={"au_prior_frames": 1e9})
    found = fit_track("au", axis, [{"aus": scores}], {"aus": labels}, strong)["aus"].au_thresholds
    assert any(found == pytest.approx([one] * 12) for one in (0.3, 0.5, 0.7))


def test_class_scores_over_their_prior(params):
    generator = np.random.default_rng(0)
    labels = np.tile(np.arange(6), 40)
    scores = np.eye(6)[labels] + generator.uniform(0, 0.5, (240, 6)) + np.array([2.0, 0, 0, 0, 0, 0])
    scores /= scores.sum(axis=1, keepdims=True)
    axis = Timeline(np.array(["pictures"] * 240), np.arange(240), np.arange(240), timed=False)
    given = "lsd", axis, [{"expression": scores}], {"expression": labels}
    assert fit_track(*given, params.model_copy(update={"class_prior_powers": {}}))["expression"].class_prior == ()
    other = params.model_copy(update={"class_prior_powers": {"expr": [1.0]}})
    assert fit_track(*given, other)["expression"].class_prior == ()
    fitted = fit_track(*given, params.model_copy(update={"class_prior_powers": {"lsd": [0.0, 1.0]}}))["expression"]
    assert fitted.class_prior == pytest.approx(scores.mean(axis=0))
    found = combined(fitted, axis, [scores])
    assert found.sum(axis=1) == pytest.approx(np.ones(240))
    assert (scores.argmax(axis=1) == 0).all() and (found.argmax(axis=1) == labels).mean() > 0.9
    never = np.where(np.arange(6) == 5, 0.0, scores)  # a class that no member ever gives
    always = params.model_copy(update={"class_prior_powers": {"lsd": [1.0]}})
    fitted = fit_track("lsd", axis, [{"expression": never}], {"expression": labels}, always)["expression"]
    found = combined(fitted, axis, [never])
    assert np.isfinite(found).all()


@pytest.mark.parametrize("powers", [[], [1.5], [-0.5], [float("nan")]])
def test_a_power_is_between_nought_and_one(params, powers):
    with pytest.raises(ValidationError, match="class_prior_powers"):
        Ensemble.model_validate(params.model_dump() | {"class_prior_powers": {"lsd": powers}})


def test_what_was_fitted_is_read_again(tmp_path):
    fitted = {"expression": Fitted((0.25, 0.75), 2, (), (0.5, 0.5)), "aus": Fitted((1.0, 0.0), 0, (0.5,) * 12)}
    write_json(tmp_path / "fitted.json", as_json(fitted, ["one", "two"]))
    assert read_fitted(tmp_path / "fitted.json") == (["one", "two"], fitted)
    tree = json.loads((tmp_path / "fitted.json").read_text())
    del tree["expression"]["class_prior"]  # as files of before were
    write_json(tmp_path / "fitted.json", tree)
    assert read_fitted(tmp_path / "fitted.json")[1]["expression"] == Fitted((0.25, 0.75), 2)
