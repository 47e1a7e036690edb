"""Members and labels are joined by key: no order of rows changes a score, other rows are refused."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import MienError
from pipeline.core.parquet import read_parquet, write_parquet
from pipeline.core.paths import ENSEMBLE, LABELS, SUBMISSIONS, SYSTEMS, TEMPLATES
from pipeline.ensemble.fit import Ensemble, Timeline
from pipeline.ensemble.judge import judge
from pipeline.ensemble.members import read_members, validation_labels
from pipeline.report.content import TrackPage
from pipeline.settings import load_params
from pipeline.tables.scores import write_predictions

VIDEOS, FRAMES = 4, 6
MEMBERS = ("one", "two")
ALONE = {name: [name] for name in MEMBERS}


def axis_of(split: str) -> pa.Table:
    videos = [f"{split}{number}" for number in range(VIDEOS) for _ in range(FRAMES)]
    frames = list(range(1, FRAMES + 1)) * VIDEOS
    return pa.table(
        {
            "split": [split] * len(videos),
            "video": videos,
            "base_video": videos,
            "frame": pa.array(frames, pa.int32()),
            "ordinal": pa.array([frame - 1 for frame in frames], pa.int32()),
            "image": [f"{video}/{frame:05d}.jpg" for video, frame in zip(videos, frames, strict=True)],
        }
    )


@pytest.fixture
def track(workspace: Path) -> Ensemble:
    """Labels of EXPR, its template, and the predictions of two members that are right more often than not."""
    generator = np.random.default_rng(0)
    rows = VIDEOS * FRAMES
    for split, folder in (("validation", LABELS), ("test", TEMPLATES)):
        axis, classes = axis_of(split), generator.integers(0, 8, rows)
        labelled = axis.append_column("expression", pa.array(classes.astype(np.int8)))
        write_parquet(folder / "expr.parquet", labelled if split == "validation" else axis)
        for member in MEMBERS:
            scores = generator.random((rows, 8)) + 0.6 * np.eye(8)[classes]
            found = generator.random(rows) > 0.2
            path = SYSTEMS / "expr" / member / f"{split}.parquet"
            write_predictions(path, axis, {"expression": scores}, found)
    given = load_params().ensemble
    return given.model_copy(update={"bootstrap_draws": 5, "members": {"expr": list(MEMBERS)}})


def judged(params: Ensemble) -> tuple[dict, list]:
    """Fitted values and metrics of validation, and the test scores by image."""
    axis, members, _ = read_members("expr", ALONE, "validation")
    fitted, metrics = judge("expr", Timeline.of(axis, "expr"), members, validation_labels("expr"), params)
    test_axis, test_members, present = read_members("expr", ALONE, "test")
    images = test_axis["image"].to_pylist()
    scores = [dict(zip(images, member["expression"].tolist(), strict=True)) for member in test_members]
    return {"fitted": fitted, "metrics": metrics}, [*scores, dict(zip(images, present.tolist(), strict=True))]


def shuffled(path: Path, seed: int) -> None:
    table = read_parquet(path)
    write_parquet(path, table.take(np.random.default_rng(seed).permutation(len(table))))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**31))
def test_no_order_of_the_members_rows_changes_anything(track, seed):
    before = judged(track)
    for number, path in enumerate(sorted(SYSTEMS.rglob("*.parquet"))):
        shuffled(path, seed + number)
    assert judged(track) == before


def test_reversed_labels_give_the_same_score(track):
    """Everything is on the labels' axis: its order changes which row is first, and no score."""
    score = judged(track)[0]["metrics"]["tuned_score"]
    table = read_parquet(LABELS / "expr.parquet")
    write_parquet(LABELS / "expr.parquet", table.take(np.arange(len(table))[::-1]))
    assert judged(track)[0]["metrics"]["tuned_score"] == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.slice(1), "1 are missing, 0 are not on it"),
        (lambda t: pa.concat_tables([t, t.slice(0, 1)]), "0 are missing, 0 are not on it, 1 are repeated"),
        (lambda t: t.slice(0, 0), "24 are missing"),
        (
            lambda t: t.set_column(t.column_names.index("frame"), "frame", pa.array([9] * len(t), pa.int32())),
            "24 are missing, 24 are not on it",
        ),
    ],
)
@pytest.mark.parametrize("split", ["validation", "test"])
def test_other_rows_are_refused(track, change, said, split):
    path = SYSTEMS / "expr/two" / f"{split}.parquet"
    write_parquet(path, change(read_parquet(path)))
    with pytest.raises(MienError, match=said) as caught:
        read_members("expr", ALONE, split)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_the_report_joins_by_key_too(track):
    from pipeline.core.files import write_json
    from pipeline.tables.fitted import Fitted, as_json

    axis, members, present = read_members("expr", ALONE, "validation")
    write_predictions(ENSEMBLE / "expr/validation.parquet", axis, members[0], present)
    write_json(ENSEMBLE / "expr/fitted.json", as_json({"expression": Fitted((1.0, 0.0), 0)}, MEMBERS))
    write_json(ENSEMBLE / "expr/metrics.json", {})
    write_json(SUBMISSIONS / "expr/filled.json", {})
    before = TrackPage("expr").labels["expression"].tolist()
    shuffled(LABELS / "expr.parquet", 3)
    page = TrackPage("expr")
    assert page.labels["expression"].tolist() == before
    shuffled(ENSEMBLE / "expr/validation.parquet", 4)
    moved = TrackPage("expr")
    by_image = dict(zip(page.axis["image"].to_pylist(), before, strict=True))
    assert dict(zip(moved.axis["image"].to_pylist(), moved.labels["expression"].tolist(), strict=True)) == by_image


@pytest.mark.parametrize(("errors", "chosen"), [("of one's own", "mix"), ("shared", "one")])
def test_a_mix_that_is_not_above_its_best_member_is_not_chosen(root, errors, chosen):
    rows = 240
    generator = np.random.default_rng(0)
    truth, names = np.arange(rows) % 8, np.repeat([f"v{number}" for number in range(12)], 20)
    first, second = (1.6 * np.eye(8)[truth] + generator.normal(0, 0.9, (rows, 8)) for _ in range(2))
    members = [{"expression": first}, {"expression": second if errors != "shared" else first - 2 * np.eye(8)[truth]}]
    given = load_params(root / "params.yaml").ensemble
    settings = given.model_copy(update={"bootstrap_draws": 5, "members": {"expr": list(MEMBERS)}})
    axis = Timeline(names, np.tile(np.arange(20), 12), names)
    fitted, metrics = judge("expr", axis, members, {"expression": truth}, settings)
    best = max(metrics["members"].values())
    assert metrics["chosen"] == chosen and metrics["score"] == max(metrics["mixed"], best)
    assert (metrics["mixed"] > best) == (chosen == "mix") == (max(fitted["expression"].weights) < 1)
    assert metrics["gain_over_best_member"]["difference"] == pytest.approx(metrics["mixed"] - best)
    assert sum(fitted["expression"].weights) == pytest.approx(1) and len(fitted["expression"].weights) == 2


def test_what_a_member_adds_is_the_mix_less_the_mix_of_the_others(root):
    """Two that err apart, and one that guesses: without it the mix is the same or better."""
    rows = 240
    generator = np.random.default_rng(1)
    truth, names = np.arange(rows) % 8, np.repeat([f"v{number}" for number in range(12)], 20)
    noise = [generator.normal(0, 0.9, (rows, 8)) for _ in range(3)]
    members = [
        {"expression": gain * np.eye(8)[truth] + error} for gain, error in zip((1.6, 1.6, 0.0), noise, strict=True)
    ]
    axis = Timeline(names, np.tile(np.arange(20), 12), names)

    def metrics(used: tuple[int, ...]) -> dict:
        settings = load_params(root / "params.yaml").ensemble.model_copy(
            update={"bootstrap_draws": 40, "members": {"expr": [str(number) for number in used]}}
        )
        return judge("expr", axis, [members[number] for number in used], {"expression": truth}, settings)[1]

    found = metrics((0, 1, 2))
    for name, others in {"0": (1, 2), "1": (0, 2), "2": (0, 1)}.items():
        adds = found["adds"][name]
        assert adds["difference"] == pytest.approx(found["mixed"] - metrics(others)["mixed"], abs=1e-12)
        assert adds["interval_95"][0] <= adds["difference"] <= adds["interval_95"][1]
    assert found["adds"]["0"]["difference"] > 0.02 > found["adds"]["2"]["difference"]
    assert metrics((0,))["adds"] == {}
