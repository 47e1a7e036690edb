"""An inbox beside a small release, and what is put into them."""

from pathlib import Path

import cv2
import numpy as np

from pipeline.abaw.tracks import TRACKS
from pipeline.retrain.held import Held
from pipeline.retrain.inbox import look
from pipeline.retrain.intake import decide
from pipeline.retrain.outcome import Intake
from pipeline.retrain.past import Past
from pipeline.retrain.unpack import opened, settle

FRAMES = 6
OLD = "annotations/VA_Estimation_Challenge/Train_Set/1.txt"


def video(path: Path, shade: int, frames: int = FRAMES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for number in range(frames):
        writer.write(np.full((48, 64, 3), shade + number, np.uint8))
    writer.release()
    return path


def labels(path: Path, track: str = "va", rows: int = FRAMES, row: str = "0.5,0.25") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([TRACKS[track].video_header or "", *[row] * rows]) + "\n")
    return path


class Case:
    """An inbox, and a release with recordings 1 (training) and 2 (validation)."""

    def __init__(self, root: Path) -> None:
        self.root, self.inbox = root, root / "inbox"
        self.inbox.mkdir()
        release = root / "release"
        for name, shade, split in (("1", 10, "Train_Set"), ("2", 60, "Validation_Set")):
            video(release / f"videos/{name}.avi", shade)
            labels(release / f"annotations/VA_Estimation_Challenge/{split}/{name}.txt")
        self.release = release

    def decide(self, past: Past | None = None) -> Intake:
        held = look(self.release, 0).whole
        places = {arrival.md5: arrival.path for arrival in held}
        found, intake, past = look(self.inbox, 0).whole, Intake(), past or Past()
        files = {arrival.name: arrival.md5 for arrival in held}
        decide(opened(found, past.unpacked, intake), Held.of(files), places.__getitem__, past, intake)
        settle(found, intake)
        return intake


def told(found: dict) -> dict[str, str]:
    return {arrival.name: text for arrival, text in found.items()}


def picture(path: Path, shade: int) -> Path:
    """A grey picture of a shade, of the kind that its suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((32, 32, 3), shade, np.uint8))
    return path


def rows(path: Path, *images: str, valence: float = 0.5) -> Path:
    """An MTL list that names images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = [f"{image},{valence},0.25,4,{','.join(['0'] * 12)}" for image in images]
    path.write_text("\n".join([TRACKS["mtl"].header, *told]) + "\n")
    return path
