"""Small files that have broken pipelines, one by one: what `mien predict` and `mien data validate` make of each."""

import shutil
from pathlib import Path

import pytest

from pipeline.core.pictures import UnreadableMedia
from pipeline.core.suffixes import is_video
from pipeline.faces.detector import DetectAlign
from pipeline.faces.media import read_frames
from pipeline.predict.command import predict_all
from pipeline.predict.media import Finder
from pipeline.predict.places import Places
from pipeline.predict.predictor import loss_of
from pipeline.settings import load_params
from pipeline.validate.images import decode_size

REFUSED = {"gigapixel.png": "40000x40000 pixels", "jpeg_30000.jpg": "30000x30000 pixels"}
PICTURES = ("fill90_228.png", "tight_188.png", "motion_photo.jpg", "padded_zeros.jpg")
WHOLE = {"fps240_7.mp4": (31, 0.125), "mirror_h.mp4": (24, 0.767), "sar43.mp4": (24, 0.767), "two.mp4": (60, 1.967)}
WHOLE |= {"vfr.mp4": (24, 2.6), "vfr.webm": (24, 2.6)}  # frames, and the last one's time in seconds
DAMAGED = {
    "hole.mp4": (72, 5, "5 of 72 frames could not be decoded"),
    "truncated_faststart.mp4": (
        34,
        1,
        "1 of 34 frames could not be decoded; it ends after 34 of the 72 frames that it states",
    ),
}


@pytest.fixture(scope="module")
def inputs(shared: Path) -> Path:
    return shared / "inputs"


@pytest.fixture(scope="module", params=["mtcnn", "scrfd_2.5g_bnkps.onnx", "scrfd_500m_bnkps.onnx"])
def finder(request: pytest.FixtureRequest, shared: Path, root: Path) -> Finder:
    name = request.param if request.param == "mtcnn" else f"insightface:{shared / 'models' / request.param}"
    params: DetectAlign = load_params(root / "params.yaml").detect_align
    return Finder(params.model_copy(update={"detector": name}))


def test_every_file_is_held(inputs: Path) -> None:
    known = {*REFUSED, *PICTURES, *WHOLE, *DAMAGED}
    assert {path.name for path in inputs.iterdir() if path.suffix != ".md"} == known


@pytest.mark.parametrize("name", REFUSED)
def test_a_picture_of_too_many_pixels_is_refused_by_its_header(inputs: Path, finder: Finder, name: str) -> None:
    for refused in (lambda: list(finder.faces(inputs / name)), lambda: decode_size((inputs / name).read_bytes(), name)):
        with pytest.raises(UnreadableMedia, match=f"{REFUSED[name]}, more than 100 million"):
            refused()


@pytest.mark.parametrize("name", PICTURES)
def test_a_face_is_found_in_a_picture(inputs: Path, finder: Finder, name: str) -> None:
    (row,) = finder.faces(inputs / name)
    assert row.face and min(decode_size((inputs / name).read_bytes(), name)) > 100


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_a_video_has_its_frames_at_their_times(inputs: Path, finder: Finder, name: str) -> None:
    frames, last = WHOLE[name]
    rows = list(finder.faces(inputs / name))
    assert [row.frame for row in rows] == list(range(1, frames + 1)) and all(row.face for row in rows)
    assert rows[-1].seconds == pytest.approx(last, abs=1e-3) and loss_of(inputs / name, rows) == ""
    for row in rows:  # upright: eyes above the mouth
        assert row.face and row.face.landmarks[:2, 1].max() < row.face.landmarks[3:, 1].min()


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGED)
def test_what_a_damaged_video_has_lost_is_told(inputs: Path, finder: Finder, name: str) -> None:
    frames, lost, told = DAMAGED[name]
    rows = list(finder.faces(inputs / name))
    assert [row.frame for row in rows] == list(range(1, frames + 1)) and sum(row.lost for row in rows) == lost
    assert loss_of(inputs / name, rows) == told and rows[0].face


def test_pixels_are_square(inputs: Path) -> None:
    frame = next(read_frames(inputs / "sar43.mp4"))
    square = next(read_frames(inputs / "mirror_h.mp4"))
    assert frame.image is not None and square.image is not None
    assert frame.image.shape[1] / frame.image.shape[0] == pytest.approx(
        square.image.shape[1] / square.image.shape[0], rel=0.02
    )


def test_a_folder_of_them_keeps_what_is_good_and_names_what_is_not(inputs, project, capfd):
    shutil.copytree(inputs, "in", ignore=lambda _, names: [name for name in names if is_video(name)])
    assert predict_all(Path("in"), Places(Path("out.csv"))) == 1
    told = capfd.readouterr().err.splitlines()
    assert [line.split("] ")[-1].split(",")[0] for line in told if "pixels" in line] == [
        f"in/{name}: {why}" for name, why in REFUSED.items()
    ]
    assert "passed over" in told[0] and "README.md" in told[0]
    assert len(Path("out.csv").read_text().splitlines()) == 1 + len(PICTURES)
