"""Face crops for training: JPEG bytes in memory, decoded by threads when a batch asks for them.

A crop is 5 KB as JPEG and 37 KB as pixels, so the bytes of a whole data set fit a workstation's memory where its
pixels do not, and simplejpeg decodes 13,000 of them a second a core without the GIL.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import simplejpeg

from pipeline.core.parquet import read_shards
from pipeline.core.paths import FACES
from pipeline.faces.media import decode_image

DECODERS = ThreadPoolExecutor(4, "decode")


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
    return np.stack(list(DECODERS.map(decode_crop, jpegs, [pixels] * len(jpegs))))


class Crops:
    """The faces found in one data set: row i is crop i of `table`, which also tells its video, frame and score."""

    def __init__(self, dataset: str, root: Path = FACES) -> None:
        columns = ["video", "frame", "image", "found", "score", "box", "landmarks", "jpeg"]
        table = read_shards(root / dataset, columns)
        self.table = table.filter(table["found"]).drop_columns(["found"])
        self.jpeg = self.table["jpeg"]
        self.dataset = dataset
        self._places: dict[tuple[str, int], int] | None = None

    def __len__(self) -> int:
        return len(self.table)

    def images(self, rows: np.ndarray, pixels: int) -> np.ndarray:
        """Decode crops: uint8 RGB (len(rows), 3, pixels, pixels)."""
        return decode_crops([self.jpeg[int(row)].as_py() for row in rows], pixels)

    def of_videos(self, videos: set[str]) -> np.ndarray:
        """Rows of the crops whose video is in the set."""
        return np.flatnonzero(pc.is_in(self.table["video"], value_set=pa.array(sorted(videos))).to_numpy())
