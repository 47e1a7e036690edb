"""Rows that belong together: found by (video, frame), aligned by (video, frame, ordinal)."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import MienError
from pipeline.tables.join import align, find_rows


def rows(*pairs: tuple[str, int]) -> pa.Table:
    videos, frames = zip(*pairs, strict=True) if pairs else ((), ())
    return pa.table({"video": pa.array(videos, pa.string()), "frame": pa.array(frames, pa.int32())})


def test_duplicates_and_absent_rows():
    table = rows(("b", 1), ("a", 2), ("a", 1))
    wanted = rows(("a", 1), ("a", 1), ("b", 1), ("a", 3), ("b", 2), ("a", 2))
    assert find_rows(table, wanted).tolist() == [2, 2, 0, -1, -1, 1]


def test_a_video_that_is_not_there():
    table = rows(("a", 1), ("b", 1))
    assert find_rows(table, rows(("c", 1), ("", 1), ("a", 1), ("zz", 2**31 - 1))).tolist() == [-1, -1, 0, -1]


def test_names_that_are_prefixes_of_each_other():
    table = rows(("12-24", 1), ("12", 1), ("12-24-1920x1080", 1), ("1", 2))
    wanted = rows(("1", 2), ("12-24-1920x1080", 1), ("12", 1), ("12-24", 1), ("1", 1), ("1", 21))
    assert find_rows(table, wanted).tolist() == [3, 2, 1, 0, -1, -1]


def test_empty_tables():
    assert find_rows(rows(), rows(("a", 1))).tolist() == [-1]
    assert find_rows(rows(("a", 1)), rows()).tolist() == []
    assert find_rows(rows(), rows()).tolist() == []


def test_columns_in_several_chunks():
    table = pa.concat_tables([rows(("a", 1), ("b", 2)), rows(), rows(("a", 2))])
    wanted = pa.concat_tables([rows(("a", 2)), rows(("b", 2), ("c", 2))])
    assert table["video"].num_chunks > 1
    assert find_rows(table, wanted).tolist() == [2, 1, -1]


@pytest.mark.parametrize("seed", range(5))
def test_against_a_dictionary(seed):
    generator = np.random.default_rng(seed)
    names = [str(n) for n in range(12)]
    everything = [(name, int(frame)) for name in names for frame in range(1, 20)]
    order = generator.permutation(len(everything))
    table = [everything[i] for i in order[:100]]
    wanted = [everything[i] for i in generator.integers(len(everything), size=300)]
    known = {pair: row for row, pair in enumerate(table)}
    assert find_rows(rows(*table), rows(*wanted)).tolist() == [known.get(pair, -1) for pair in wanted]


# --- aligning --------------------------------------------------------------------------------------------------------


def listed(rows: list[tuple[str, int, int]]) -> pa.Table:
    videos, frames, ordinals = zip(*rows, strict=True) if rows else ((), (), ())
    columns = {"video": pa.array(videos, pa.string()), "frame": pa.array(frames, pa.int32())}
    return pa.table(columns | {"ordinal": pa.array(ordinals, pa.int32())})


keys = st.lists(
    st.tuples(st.sampled_from(["a", "b", "a-1", ""]), st.integers(0, 5), st.integers(0, 9)), max_size=30, unique=True
)


@settings(max_examples=100, deadline=None)
@given(keys, st.randoms())
def test_shuffled_rows_are_found_again(rows, random):
    shuffled = random.sample(rows, len(rows))
    places = align(listed(rows), listed(shuffled), "x")
    assert [shuffled[place] for place in places] == rows


@settings(max_examples=100, deadline=None)
@given(keys, keys)
def test_other_rows_are_refused_and_counted(rows, others):
    if set(rows) == set(others):
        assert len(align(listed(rows), listed(others), "x")) == len(rows)
        return
    with pytest.raises(MienError, match=r"^predictions: not the rows of its list: ") as caught:
        align(listed(rows), listed(others), "predictions")
    missing, surplus = len(set(rows) - set(others)), len(set(others) - set(rows))
    assert f"{missing} are missing, {surplus} are not on it, 0 are repeated" in str(caught.value)


def test_repeated_rows_are_refused():
    rows = [("a", 1, 0), ("a", 1, 1)]
    assert align(listed(rows), listed(rows[::-1]), "x").tolist() == [1, 0]  # duplicates of a list differ by ordinal
    with pytest.raises(MienError, match="1 are missing, 0 are not on it, 1 are repeated"):
        align(listed(rows), listed([rows[0], rows[0]]), "x")
