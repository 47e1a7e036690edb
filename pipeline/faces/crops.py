"""Face crops for training: JPEG bytes stay in their shards on disk, read and decoded by threads when a batch asks.

A data set of three million crops is 15 to 60 GB, so nothing is held but where each crop stands: 12 bytes. Its place is
found when the first crop of its row group is asked for, which reads that group once (`core/pages.py`); from then on a
crop is one read of its own bytes, out of the system's cache where that has them. simplejpeg decodes 13,000 crops a
second a core without the GIL.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import simplejpeg

from pipeline.core.errors import MienError
from pipeline.core.pages import Column, byte_values
from pipeline.core.parquet import read_parquet, shard_paths
from pipeline.core.paths import FACES
from pipeline.core.pictures import decode_image
from pipeline.run.parallel import worker_count

JPEG = "jpeg"


@cache
def decoders() -> ThreadPoolExecutor:
    """The threads that decode, as many as this process has cores; no result depends on their number."""
    return ThreadPoolExecutor(worker_count(), "decode")


def decode_crop(jpeg: bytes, pixels: int) -> np.ndarray:
    """One crop as RGB uint8 (3, pixels, pixels)."""
    try:
        image = simplejpeg.decode_jpeg(jpeg, colorspace="RGB")
    except ValueError:  # organisers' crops may be PNG or progressive oddities that only OpenCV reads
        image = np.ascontiguousarray(decode_image(jpeg)[..., ::-1])
    if image.shape[:2] != (pixels, pixels):
        method = cv2.INTER_AREA if image.shape[0] > pixels else cv2.INTER_LINEAR
        image = cv2.resize(image, (pixels, pixels), interpolation=method)
    return image.transpose(2, 0, 1)


def decode_crops(jpegs: list[bytes], pixels: int) -> np.ndarray:
    """Crops as RGB uint8 (N, 3, pixels, pixels)."""
    return np.stack(list(decoders().map(decode_crop, jpegs, [pixels] * len(jpegs))))


class Crops:
    """The faces found in one data set, in the order of its shards: row i of `table` (video, frame) is crop i.

    `dataset` is a folder of shards below `root`, or one shard.
    """

    def __init__(self, dataset: str, root: Path = FACES) -> None:
        self.dataset = dataset
        self.paths = shard_paths(root / dataset)
        shards = [read_parquet(path, ["video", "frame", "found"]) for path in self.paths]
        self.table: pa.Table = pa.concat_tables([_found(shard) for shard in shards]).combine_chunks()
        self._column = Column(self.paths, JPEG)
        found = np.concatenate([shard["found"].to_numpy() for shard in shards])
        self._ends = np.concatenate([[0], np.cumsum(found)])[np.cumsum(self._column.rows)]  # of each row group
        self._values: list[tuple[np.ndarray, np.ndarray] | None] = [None] * len(self._ends)

    def __len__(self) -> int:
        return len(self.table)

    def columns(self, names: list[str]) -> pa.Table:
        """Further columns of the shards, a row a crop: image, score, box, landmarks."""
        return pa.concat_tables([_found(read_parquet(path, [*names, "found"])) for path in self.paths])

    def jpeg(self, row: int) -> bytes:
        """The bytes of one crop; several threads may ask at once."""
        group = int(np.searchsorted(self._ends, row, side="right"))
        # two threads may both find a group's values the first time: the same ones
        values = self._values[group] = self._values[group] or self._locate(group)
        starts, lengths = values
        place = row - int(self._ends[group])  # from the group's end
        return self._column.read(group, int(starts[place]), int(lengths[place]))

    def _locate(self, group: int) -> tuple[np.ndarray, np.ndarray]:
        """Where each crop of a row group starts in its chunk, and its length."""
        path = self._column.path(group)
        starts, lengths = byte_values(self._column.chunk(group), path)
        if len(starts) != self._ends[group] - (self._ends[group - 1] if group else 0):
            raise MienError(f"{path}: damaged: not a crop for each face found; run `dvc repro detect_align`")
        return starts, lengths

    def images(self, rows: np.ndarray, pixels: int) -> np.ndarray:
        """Read and decode crops: uint8 RGB (len(rows), 3, pixels, pixels), channels last in memory as by the decoder.

        A network's last digit depends on that order, so `decode_crops` has it too.
        """
        out = np.empty((len(rows), pixels, pixels, 3), np.uint8).transpose(0, 3, 1, 2)

        def fill(place: int) -> None:
            out[place] = decode_crop(self.jpeg(int(rows[place])), pixels)

        _run(decoders().map(fill, range(len(rows))))
        return out

    def of_videos(self, videos: set[str]) -> np.ndarray:
        """Rows of the crops whose video is in the set."""
        return np.flatnonzero(pc.is_in(self.table["video"], value_set=pa.array(sorted(videos))).to_numpy())


def _run(results: Iterable[None]) -> None:
    for _ in results:  # raises what a thread raised
        pass


def _found(table: pa.Table) -> pa.Table:
    return table.filter(table["found"]).drop_columns(["found"])
