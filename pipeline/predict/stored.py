"""What a long video has much of, in memory up to a bound and beyond it in an unnamed file: crops and features."""

import tempfile
from collections.abc import Sequence
from typing import IO, overload

import numpy as np
import torch
from torch import Tensor

IN_MEMORY_BYTES = 2**26


class StoredCrops(Sequence[bytes]):
    """The JPEGs of one file in the order in which they came: an hour of video has 100,000, of 5 to 15 KB each."""

    def __init__(self, file: IO[bytes] | None = None) -> None:
        self._file = file or tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115  # `close`
        self._spans: list[tuple[int, int]] = []  # where each begins and how long it is
        self._end = 0

    def append(self, jpeg: bytes) -> None:
        """Keep one more."""
        self._file.seek(self._end)
        self._file.write(jpeg)
        self._spans.append((self._end, len(jpeg)))
        self._end += len(jpeg)

    def chosen(self, places: Sequence[int]) -> "StoredCrops":
        """Some of them, by place, from the same file."""
        some = StoredCrops(self._file)
        some._spans, some._end = [self._spans[place] for place in places], self._end
        return some

    def close(self) -> None:
        """Give memory or file back."""
        self._file.close()

    def __len__(self) -> int:
        return len(self._spans)

    @overload
    def __getitem__(self, place: int) -> bytes: ...

    @overload
    def __getitem__(self, place: slice) -> list[bytes]: ...

    def __getitem__(self, place: int | slice) -> bytes | list[bytes]:
        """One, or a list of several."""
        if isinstance(place, slice):
            return [self._read(span) for span in self._spans[place]]
        return self._read(self._spans[place])

    def _read(self, span: tuple[int, int]) -> bytes:
        self._file.seek(span[0])
        return self._file.read(span[1])


class StoredFeatures:
    """float16 features (N, D) of a video's faces, read by frame: those of an hour are a gigabyte a network.

    `places` (N,) are the frames of the faces, counted from the video's first face. `present` (frames,) tells where
    there is a face; a frame without one has zeros.
    """

    def __init__(self, places: np.ndarray, device: torch.device) -> None:
        self.places, self.device = torch.from_numpy(places).to(device), device
        self._row = np.full(int(places.max()) + 1, -1)
        self._row[places] = np.arange(len(places))
        self.present = torch.from_numpy(self._row >= 0).to(device)
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115  # `close`
        self._width = 0

    def append(self, part: np.ndarray) -> None:
        """The next rows."""
        self._width = part.shape[1]
        self._file.write(np.ascontiguousarray(part, np.float16).tobytes())

    def close(self) -> None:
        """Give memory or file back."""
        self._file.close()

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, frames: Tensor) -> Tensor:
        """float32 features (B, W, D) of windows of frames (B, W)."""
        rows = self._row[frames.cpu().numpy()]
        known = rows[rows >= 0]
        found = np.zeros((*rows.shape, self._width), np.float32)
        if len(known):
            first, size = known.min(), self._width * np.dtype(np.float16).itemsize
            self._file.seek(int(first) * size)
            data = self._file.read(int(known.max() + 1 - first) * size)
            found[rows >= 0] = np.frombuffer(data, np.float16).reshape(-1, self._width)[known - first]
        return torch.from_numpy(found).to(self.device)
