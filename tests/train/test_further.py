"""Further faces: their share of a batch, in the track's classes, with nothing that the rules forbid."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from bench.jobs import job_of
from pipeline.abaw.tracks import EXPRESSIONS, LSD_EXPRESSIONS, TRACKS
from pipeline.core.errors import MienError
from pipeline.core.graph import Needs
from pipeline.core.parquet import array_column, read_parquet, write_parquet
from pipeline.faces.crops import Crops
from pipeline.systems.named import system_module
from pipeline.train.fit import Recipe
from pipeline.train.further import FurtherFaces, in_classes
from tests.mini import ALL, EVERYTHING, batch_of, grey_jpeg, levels, write_faces

OTHER = Path("artifacts/external/other")
NEEDS = Needs("graph.trainings.x", [*EVERYTHING, OTHER])
LOOKS = ["Happiness", "Neutral", "Sadness", "Other", "Anger"]


@pytest.fixture
def other(mini: Path) -> Path:
    """Five faces of levels 200 and up, the last one for validation; each with expression, valence and AU labels."""
    write_faces(mini, "../external/other/faces", {"top": 5}, jpeg=[grey_jpeg(200 + 5 * n) for n in range(5)])
    table = pa.table(
        {
            "video": ["top"] * 5,
            "frame": pa.array(range(1, 6), pa.int32()),
            "ordinal": pa.array(range(5), pa.int32()),
            "split": ["train"] * 4 + ["validation"],
            "expression": pa.array([EXPRESSIONS.index(name) for name in LOOKS], pa.int8()),
            "aus": array_column(np.ones((5, 12), np.int8)),
            "va": array_column(np.full((5, 2), 0.5, np.float32)),
        }
    )
    write_parquet(mini / OTHER / "labels.parquet", table)
    return mini


def test_classes_are_met_by_name():
    found = in_classes(np.array([*range(8), -1]), LSD_EXPRESSIONS)
    assert found.tolist() == [-1, 0, 1, 2, 3, 4, 5, -1, -1]
    assert in_classes(np.arange(8), EXPRESSIONS).tolist() == list(range(8))


@pytest.mark.parametrize(
    ("track", "names"), [("expr", {"Happiness", "Neutral", "Sadness", "Other"}), ("lsd", {"Happiness", "Sadness"})]
)
def test_training_faces_with_a_class_of_the_track(other, track, names):
    faces = FurtherFaces("other", 0.5, TRACKS[track], 32, 0.0, NEEDS)
    classes = TRACKS[track].classes
    assert {classes[label] for label in faces.labels["expression"]} == names and set(faces.labels) == {"expression"}
    batch = faces.batch(np.random.default_rng(0), 64, {"expression": np.zeros(3, np.int8)})
    drawn = set(zip(levels(batch["images"]), batch["expression"].tolist(), strict=True))
    assert drawn == {(40 + LOOKS.index(name), classes.index(name)) for name in names}


@pytest.mark.parametrize(("share", "theirs"), [(0.25, 2), (1.0, 8)])
@pytest.mark.parametrize(("system", "track"), [("vit", "va"), ("dan", "lsd"), ("multitask", "lsd"), ("dtm", "expr")])
def test_a_share_of_the_batch_is_theirs(other, tiny, system, track, share, theirs):
    job = job_of(track, tiny, NEEDS.paths)
    job = type(job)(**(vars(job) | {"further": {"other": share}}))
    made = system_module(system).recipe(tiny.systems[system], job)
    assert isinstance(made, Recipe)
    batch = batch_of(made)
    assert sum(level >= 40 for level in levels(batch["images"])) == theirs and len(batch["images"]) == 8
    assert "aus" not in batch or track == "au"
    losses = made.module.losses(made.prepare(batch))
    assert all(np.isfinite(float(loss.detach())) for loss in losses.values())


def test_what_the_line_does_not_name_is_not_read(other, tiny):
    with pytest.raises(MienError, match="add artifacts/external/other to needs: its further faces are of it"):
        FurtherFaces("other", 0.5, TRACKS["expr"], 32, 0.0, ALL)


def test_a_set_without_labels_of_the_track_is_told(other):
    assert len(Crops("faces", OTHER)) == 5
    labels = OTHER / "labels.parquet"
    table = read_parquet(labels)
    none = pa.array([-1] * 5, pa.int8())
    write_parquet(labels, table.set_column(table.column_names.index("expression"), "expression", none))
    with pytest.raises(MienError, match=r"graph\.trainings\.x: other has no training face with a label of EXPR"):
        FurtherFaces("other", 0.5, TRACKS["expr"], 32, 0.0, NEEDS)
