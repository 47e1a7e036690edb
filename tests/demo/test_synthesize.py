"""The demo generator: same params → same bytes, and the official layouts."""

import collections
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pyarrow.parquet as pq
import pytest

from demo.generator.params import Params
from demo.generator.plan import LSD_FOLDERS
from demo.generator.synthesize import synthesize, worker_count
from pipeline.core.code import ROOT, code_lines, stage_modules
from pipeline.core.errors import MienError
from tests.demo.small import TINY
from tests.workers import lives, wait_for, workers_of

NAME = re.compile(r"^([0-9]+-[0-9]+-[0-9]+x[0-9]+(-[0-9]+)?|[0-9]+|video[0-9]+(_[0-9]+)?)(_left|_right)?$")
Release = tuple[Path, Path]


def make(folder: Path, cache: Path, workers: int) -> Release:
    data, truth = folder / "data", folder / "truth"
    synthesize(Params.model_validate(TINY), data, truth, cache, workers)
    return data, truth


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Release:
    return make(tmp_path_factory.mktemp("one"), cache, 1)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows_of(path: Path) -> list[str]:
    text = path.read_bytes().decode()
    assert text.endswith("\n") and "\r" not in text
    return text.splitlines()


def frames_of(path: Path) -> int:
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    return count


@pytest.mark.slow
def test_same_bytes_whatever_the_worker_count(release: Release, cache: Path, tmp_path: Path) -> None:
    again = make(tmp_path, cache, 2)
    for first, second in zip(release, again, strict=True):
        assert digests(first) == digests(second)


@pytest.mark.slow
def test_workers_do_not_outlive_a_renderer_that_is_killed(cache: Path, tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from tests.demo.test_synthesize import make; "
    code += "make(Path(sys.argv[1]), Path(sys.argv[2]), 2)"
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(cache)], cwd=ROOT)
    try:
        wait_for(lambda: any(path.is_file() for path in tmp_path.rglob("*")))  # they have started and film
        workers = workers_of(parent.pid)
    finally:
        parent.kill()
        parent.wait()
    assert len(workers) == 2
    wait_for(lambda: not any(map(lives, workers)))


@pytest.mark.slow
def test_annotations_follow_the_frames(release: Release) -> None:
    data, _ = release
    headers = {
        "EXPR_Recognition_Challenge": "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other",
        "AU_Detection_Challenge": "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26",
        "VA_Estimation_Challenge": "valence,arousal",
    }
    frames = {path.stem: frames_of(path) for path in (data / "videos").rglob("*.*")}
    assert set(frames.values()) == {24} and {path.suffix for path in (data / "videos").rglob("*.*")} == {".mp4", ".avi"}
    for folder, header in headers.items():
        files = {path.stem: path for path in (data / "annotations" / folder).rglob("*.txt")}
        extra = 0
        for name, path in files.items():
            rows = rows_of(path)
            assert rows[0] == header and NAME.match(name)
            extra += len(rows) - 1 - frames[name.removesuffix("_left").removesuffix("_right")]
            commas = 0 if folder.startswith("EXPR") else header.count(",")
            assert {row.count(",") for row in rows[1:]} == {commas}
        assert extra == 1
        assert {"122", "122-60-96x96-3"} <= set(files)
        assert files["135-24-192x96_left"].parent.name == "Train_Set"
        assert files["135-24-192x96_right"].parent.name == "Validation_Set"


@pytest.mark.slow
def test_invalid_labels_come_where_no_face_is(release: Release) -> None:
    data, truth = release
    table = pq.read_table(truth / "truth.parquet").to_pandas()
    videos = table[table.part == "videos"]
    hidden = videos[~videos.face]
    assert set(hidden.split) == {"train", "validation", "test"}
    for (name, split), group in hidden.groupby(["name", "split"]):
        if split != "test":
            folder = "Train_Set" if split == "train" else "Validation_Set"
            expr = rows_of(data / "annotations/EXPR_Recognition_Challenge" / folder / f"{name}.txt")
            va = rows_of(data / "annotations/VA_Estimation_Challenge" / folder / f"{name}.txt")
            last = group.frame.max()
            assert expr[last] == "-1" and va[last] == "-5,-5"


@pytest.mark.slow
@pytest.mark.parametrize(("task", "example"), [("Expr", "0"), ("AU", "1,0,1,1,1,0,0,1,0,0,0,1"), ("VA", "0.5,-0.5")])
def test_templates_lists_and_truth_agree(release: Release, task: str, example: str) -> None:
    data, truth = release
    folder = data / "test_release"
    long = {"Expr": "Expression_Recognition", "AU": "Action_Unit_Detection", "VA": "Valence_Arousal_Estimation"}[task]
    names = rows_of(folder / "names_of_videos_in_each_test_set" / f"{long}_Challenge_test_set_release.txt")
    sample = rows_of(folder / "prediction_files_format" / f"ABAW_{task}_test_set_sample.txt")
    shown = rows_of(folder / "test_set_examples" / f"ABAW_{task}_test_set_example.txt")
    filled = rows_of(truth / f"{task.lower()}.txt")
    assert sample[1:] == [f"{name}/{frame:05d}.jpg," for name in names for frame in range(1, 25)]
    assert names != sorted(names)
    assert shown[1:] == [row + example for row in sample[1:]] and shown[0] == sample[0] == filled[0]
    assert [row.split(",")[0] for row in filled] == [row.split(",")[0] for row in sample]
    assert all(row.count(",") == filled[0].count(",") for row in filled[1:] if task != "Expr")


@pytest.mark.slow
def test_mtl_lists(release: Release) -> None:
    data, truth = release
    root = data / "mtl_s-aff-wild2"
    for file, images in (("training_set_annotations.txt", root), ("validation_set_annotations.txt", root)):
        rows = rows_of(root / file)
        assert rows[0] == "image,valence,arousal,expression,aus" and all(row.count(",") == 15 for row in rows[1:])
        assert max(collections.Counter(rows[1:]).values()) == 2
        for row in rows[1:]:
            assert (images / "cropped_aligned" / row.split(",")[0]).is_file()
    nothing = ",".join(["-5.0,-5.0", *["-1"] * 13])
    assert any(row.endswith(nothing) for row in rows_of(root / "training_set_annotations.txt"))
    test = rows_of(root / "MTL_Challenge_test_set_release.txt")
    assert len(test) - 1 == len(set(test[1:])) + 1
    assert [row.split(",")[0] for row in rows_of(truth / "mtl.txt")[1:]] == test[1:]
    crop = cv2.imread(str(root / "mtl_test_data" / "cropped_aligned" / test[1]))
    assert crop is not None and crop.shape == (112, 112, 3)


@pytest.mark.slow
def test_lsd_folders_and_pool(release: Release) -> None:
    data, truth = release
    for split in ("training_set_synthetic_images", "validation_set_real_images"):
        assert {path.name for path in (data / "lsd_abaw4" / split).iterdir()} == set(LSD_FOLDERS)
    test = rows_of(data / "lsd_abaw4" / "LSD_Challenge_test_set_release.txt")
    assert test == ["image,expression", "0.jpg", "1.jpg", "2.jpg"]
    assert all(re.fullmatch(r"\d\.jpg,[0-5]", row) for row in rows_of(truth / "lsd.txt")[1:])
    pool = sorted((data / "unlabelled").glob("*.jpg"))
    whole = [path for path in pool if path.read_bytes().endswith(b"\xff\xd9")]
    assert len(pool) == 6 and pool[:-1] == whole


def test_the_stage_knows_every_module_of_the_generator() -> None:
    reached = {line.split()[0] for line in code_lines(*stage_modules()["synthesize"])}
    assert {f"demo/generator/{path.name}" for path in (ROOT / "demo/generator").glob("[!_]*.py")} <= reached


def test_worker_count_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_WORKERS", "3")
    assert worker_count() == 3
    monkeypatch.setenv("MIEN_WORKERS", "many")
    with pytest.raises(MienError, match="MIEN_WORKERS is 'many'"):
        worker_count()
