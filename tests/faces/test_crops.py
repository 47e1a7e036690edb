"""Crops read from their shards one by one."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import simplejpeg

from pipeline.core.errors import MienError
from pipeline.core.parquet import CROP_ROWS, read_shards, write_parquet
from pipeline.faces import crops as crops_module
from pipeline.faces.crops import Crops, decode_crop, decode_crops
from pipeline.faces.extract import FACES_SCHEMA

LENGTHS = {"a": 700, "b/c": 3, "d": 300, "none": 4}


def face(video: str, frame: int) -> bytes:
    image = np.full((16, 16, 3), (frame % 256, len(video) * 40, frame // 256 * 50), np.uint8)
    return simplejpeg.encode_jpeg(image, quality=95)


def is_found(video: str, frame: int) -> bool:
    return video != "none" and frame % 5 != 1


def shard(video: str, frames: int) -> pa.Table:
    rows = range(1, frames + 1)
    columns = {
        "video": [video] * frames,
        "frame": rows,
        "image": [f"{frame:05d}.jpg" for frame in rows],
        "found": [is_found(video, frame) for frame in rows],
        "score": [0.5] * frames,
        "box": [[float(frame)] * 4 for frame in rows],
        "landmarks": [[float(frame)] * 10 for frame in rows],
        "jpeg": [face(video, frame) if is_found(video, frame) else None for frame in rows],
    }
    return pa.table(columns, schema=FACES_SCHEMA)


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("faces")
    for video, frames in LENGTHS.items():
        write_parquet(root / f"x/{video}.parquet", shard(video, frames), CROP_ROWS)
    return root


def test_every_crop_is_the_one_that_arrow_reads(faces):
    crops, whole = Crops("x", faces), read_shards(faces / "x")
    whole = whole.filter(whole["found"])
    assert len(crops) == len(whole) > 2 * CROP_ROWS
    assert crops.table.equals(whole.select(["video", "frame"]).combine_chunks())
    order = np.random.default_rng(0).permutation(len(crops))
    assert [crops.jpeg(int(row)) for row in order] == whole["jpeg"].take(order).to_pylist()
    assert crops.columns(["box", "image"]).equals(whole.select(["box", "image"]))
    rows = order[:40]
    images = np.stack([decode_crop(data, 8) for data in whole["jpeg"].take(rows).to_pylist()])
    assert (crops.images(rows, 8) == images).all()
    jpegs = [crops.jpeg(int(row)) for row in rows]
    assert crops.images(rows, 8).strides == decode_crops(jpegs, 8).strides == (192, 1, 24, 3)  # channels last
    assert len(Crops("none.parquet", faces / "x")) == 0
    one = Crops("d.parquet", faces / "x")
    assert one.jpeg(0) == face("d", 2) and one.table["video"].unique().to_pylist() == ["d"]


def test_bytes_are_never_read_as_a_column(faces, monkeypatch):
    """Memory is bounded by structure: no read asks for the JPEGs as such, and one is never larger than a row group."""
    asked, sizes = [], []
    read_parquet, read = crops_module.read_parquet, crops_module.Column.read

    def watched(path, columns):
        asked.extend(columns)
        return read_parquet(path, columns)

    def measured(self, group, start, size):
        sizes.append(size)
        return read(self, group, start, size)

    monkeypatch.setattr(crops_module, "read_parquet", watched)
    monkeypatch.setattr(crops_module.Column, "read", measured)
    crops = Crops("x", faces)
    assert sizes == []
    crops.images(np.arange(len(crops)), 8)
    crops.images(np.arange(len(crops)), 8)
    assert set(asked) == {"video", "frame", "found"}
    metas = [pq.ParquetFile(path).metadata for path in crops.paths]
    groups = [meta.row_group(i).column(7).total_compressed_size for meta in metas for i in range(meta.num_row_groups)]
    assert max(sizes) <= max(groups) and len(groups) == 7
    crop = max(len(crops.jpeg(row)) for row in range(len(crops)))
    once = [size for size in sizes if size > crop]
    assert set(once) <= set(groups) and len(sizes) - len(once) >= 2 * len(crops)


def test_threads_may_share_it(faces):
    crops = Crops("x", faces)
    wanted = [face("a", frame) for frame in range(1, 701) if is_found("a", frame)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(crops.jpeg, range(len(wanted)))) == wanted


def test_a_shard_that_lacks_a_crop_is_named(tmp_path):
    table = shard("a", 8)
    table = table.set_column(3, "found", pa.array([True] * 8))
    write_parquet(tmp_path / "x/a.parquet", table, CROP_ROWS)
    with pytest.raises(MienError, match=r"a\.parquet: damaged: not a crop for each face found"):
        Crops("x", tmp_path).jpeg(0)
