"""Which frames of each video have a crop."""

import numpy as np

from pipeline.abaw.names import frame_number
from pipeline.release.discover import Release


class CropIndex:
    """Frame numbers of the crops of each video, listed once."""

    def __init__(self, release: Release) -> None:
        self._release = release
        self._frames: dict[str, np.ndarray] = {}
        self.misnamed: dict[str, list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._release.crops or self._release.unaligned_crops)

    def frames(self, video: str) -> np.ndarray:
        """Sorted distinct frame numbers, int32; empty when the video has no crop."""
        if video not in self._frames:
            self._frames[video] = self._list(video)
        return self._frames[video]

    def _list(self, video: str) -> np.ndarray:
        frames: set[int] = set()
        for folder in self._release.crop_folders(video):
            for name in self._release.image_names(folder):
                frame = frame_number(name)
                if frame is None:
                    self.misnamed.setdefault(folder.as_posix(), []).append(name)
                else:
                    frames.add(frame)
        return np.array(sorted(frames), np.int32)

    def missing(self, video: str, rows: int) -> np.ndarray:
        """Frames in 1..rows without a crop."""
        return np.setdiff1d(np.arange(1, rows + 1, dtype=np.int32), self.frames(video), assume_unique=True)
