"""Features of several backbones, joined by key."""

import numpy as np
import pyarrow as pa

from pipeline.core.parquet import write_parquet
from pipeline.tables.features import Features
from pipeline.tables.joined import JoinedFeatures
from tests.mini import feature_table


def write(path, keys, value):
    """A feature of two numbers a face: its frame and `value`."""
    faces = pa.table({"video": [video for video, _ in keys], "frame": [frame for _, frame in keys]})
    write_parquet(path, feature_table(faces, np.array([[frame, value] for _, frame in keys])))


def test_backbones_are_joined_by_key_whatever_the_order_of_their_shards(tmp_path):
    keys = [("a", 1), ("a", 2), ("b", 1), ("b", 7)]
    write(tmp_path / "one/a.parquet", keys[:2], 10)
    write(tmp_path / "one/b.parquet", keys[2:], 20)
    write(tmp_path / "two/z.parquet", [keys[3], keys[0]], 40)
    write(tmp_path / "two/y.parquet", [keys[2]], 30)
    joined = JoinedFeatures([Features(tmp_path / "one"), Features(tmp_path / "two")])
    found = {
        (video, frame): feature.tolist()
        for video, frame, feature in zip(
            *(joined.table[name].to_pylist() for name in ("video", "frame")), joined.rows(np.arange(3)), strict=True
        )
    }
    assert joined.width == 4  # and frame 2 of a, which one backbone alone has seen, is left out
    assert found == {
        ("a", 1): [1, 10, 1, 40],
        ("b", 1): [1, 20, 1, 30],
        ("b", 7): [7, 20, 7, 40],
    }
    np.testing.assert_array_equal(joined.rows(np.array([2, 0]))[:, 3], [40, 40])
