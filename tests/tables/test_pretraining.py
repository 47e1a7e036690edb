"""What pretraining is told of the splits: what it may read, and nothing that changes with other videos."""

import pyarrow as pa
import pytest

from pipeline.core.parquet import write_parquet
from pipeline.tables.pretraining import PRETRAINING, pretraining_table, split_sets, training_videos

SPLITS = [
    ("aff-wild2", "1", "train"),
    ("lsd", "b/ANGER", "train"),
    ("lsd", "a/ANGER", "train"),
    ("lsd", "v/ANGER", "validation"),
    ("s-aff-wild2", "7", "train"),
    ("s-aff-wild2", "7", "validation"),
    ("s-aff-wild2", "8", "train"),
]
ENCODERS = ["artifacts/faces/extra", "artifacts/faces/lsd", "artifacts/external/affectnet/faces"]


def table(rows: list[tuple[str, str, str]]) -> pa.Table:
    return pa.table(dict(zip(("dataset", "video", "split"), map(list, zip(*rows, strict=True)), strict=True)))


def test_only_sets_with_a_split_are_asked_for():
    assert split_sets(ENCODERS) == {"lsd"}
    assert split_sets([*ENCODERS, "artifacts/faces/s-aff-wild2"]) == {"lsd", "s-aff-wild2"}


def test_a_video_that_any_track_holds_back_is_left_out(workspace):
    told = pretraining_table(table(SPLITS), {"lsd", "s-aff-wild2"})
    assert told.to_pydict() == {"dataset": ["lsd", "lsd", "s-aff-wild2"], "video": ["a/ANGER", "b/ANGER", "8"]}
    write_parquet(PRETRAINING, told)
    assert training_videos("lsd") == {"a/ANGER", "b/ANGER"} and training_videos("extra") is None


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_video_that_it_may_not_read_changes_no_byte(workspace, split):
    for name, rows in (("before", SPLITS), ("after", [*SPLITS, ("aff-wild2", "9", split)])):
        write_parquet(workspace / name, pretraining_table(table(rows), {"lsd"}))
    held_back = [*SPLITS, ("lsd", "x/ANGER", "validation"), ("lsd", "y", "test")]
    write_parquet(workspace / "held back", pretraining_table(table(held_back), {"lsd"}))
    assert len({(workspace / name).read_bytes() for name in ("before", "after", "held back")}) == 1
