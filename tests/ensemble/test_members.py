"""A member of several trainings: seeds are averaged, folds judge what they have not seen."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.errors import MienError
from pipeline.core.parquet import read_parquet
from pipeline.core.paths import LABELS, SYSTEMS, TEMPLATES
from pipeline.ensemble.fit import Ensemble
from pipeline.ensemble.members import read_members
from pipeline.settings import load_params
from pipeline.tables.scores import KEYS, write_predictions
from tests.mini import AU_SPLITS, write_axes


@pytest.fixture
def labels(workspace: Path) -> pa.Table:
    write_axes(workspace, "va", AU_SPLITS)
    return read_parquet(LABELS / "va.parquet")


def write_training(name: str, rows: pa.Table, value: float, lost: int = -1) -> None:
    """Predictions that are `value` everywhere; of `rows` on validation, of all test rows; one row has no face."""
    for split, axis in (("validation", rows), ("test", read_parquet(TEMPLATES / "va.parquet"))):
        found = np.arange(len(axis)) != (lost if split == "validation" else -1)
        scores = np.where(found[:, None], value, np.nan).repeat(2, axis=1)
        write_predictions(SYSTEMS / "va" / name / f"{split}.parquet", axis.select(list(KEYS)), {"va": scores}, found)


def rows_of(labels: pa.Table, *videos: str) -> pa.Table:
    return labels.filter(pa.array([video in videos for video in labels["video"].to_pylist()]))


def test_seeds_are_averaged_and_a_face_that_one_lost_is_the_others(labels):
    for name, value, lost in (("one", 0.2, 3), ("two", 0.6, -1)):
        write_training(name, rows_of(labels, "v"), value, lost)
    _, (member,), present = read_members("va", {"both": ["one", "two"]}, "validation")
    expected = np.full(6, 0.4)
    expected[3] = 0.6
    np.testing.assert_allclose(member["va"], np.stack([expected] * 2, axis=1), atol=1e-6)
    assert present.all()


def test_each_row_of_validation_is_judged_by_the_fold_that_has_not_seen_it(labels):
    write_training("fold0", rows_of(labels, "a"), 0.9)
    write_training("fold1", rows_of(labels, "v", "b"), 0.3)
    trainings = {"folds": ["fold0", "fold1"]}
    _, (member,), _ = read_members("va", trainings, "validation")
    np.testing.assert_allclose(member["va"], 0.3, atol=1e-6)
    _, (member,), _ = read_members("va", trainings, "test")
    np.testing.assert_allclose(member["va"], 0.6, atol=1e-6)  # the mean of all


def test_a_fold_that_is_missing_is_told(labels):
    write_training("fold0", rows_of(labels, "a"), 0.9)
    write_training("fold2", rows_of(labels, "b"), 0.9)
    with pytest.raises(MienError, match=r"none of folds's trainings has judged 0\.jpg \(validation\) and 5 rows more"):
        read_members("va", {"folds": ["fold0", "fold2"]}, "validation")


def test_a_training_that_is_no_member_stands_beside_and_a_leaving_is_refused(labels):
    for name in ("one", "two"):
        write_training(name, rows_of(labels, "v"), 0.2)
    (SYSTEMS / "va/.one.tmp-99").mkdir()  # of a training that was killed while it wrote
    assert len(read_members("va", {"one": ["one"]}, "test", {"two"})[1]) == 1
    with pytest.raises(MienError, match="artifacts/systems/va/two is no member of this ensemble"):
        read_members("va", {"one": ["one"]}, "test")


def test_a_member_is_named_once(root):
    tree = load_params(root / "params.yaml").ensemble.model_dump()
    for members, trainings in (
        (["vit", {"mean": ["vit", "vit-1"]}], {"vit": ["vit"], "mean": ["vit", "vit-1"]}),
        ([], {}),
    ):
        ensemble = Ensemble.model_validate(tree | {"members": {"va": members}})
        assert ensemble.trainings_of("va") == trainings
    with pytest.raises(ValueError, match=r"members\.va names a member twice"):
        Ensemble.model_validate(tree | {"members": {"va": ["vit", {"vit": ["vit-1"]}]}})
