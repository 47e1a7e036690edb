"""The demo generator: same params → same bytes, the official layouts, and movements that mean what the labels say."""

import collections
import hashlib
import re
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from demo.expressions import CIRCUMPLEX, CLASSES, PROTOTYPES, UNITS, Expression, au_presence, sample_expression
from demo.film import align
from demo.mesh import packed_head
from demo.params import Params, read_params
from demo.plan import LSD_FOLDERS, recordings
from demo.render import Actor, Moment, Studio
from demo.scene import Scene, sample_scene
from demo.synthesize import synthesize, worker_count
from pipeline.errors import MienError

ROOT = Path(__file__).resolve().parents[1]
NAME = re.compile(r"^([0-9]+-[0-9]+-[0-9]+x[0-9]+(-[0-9]+)?|[0-9]+|video[0-9]+(_[0-9]+)?)(_left|_right)?$")
TINY = {
    "seed": 3,
    "videos": {
        "train": 3,
        "validation": 1,
        "test": 2,
        "frames": 24,
        "height_pixels": 96,
        "width_pixels": 96,
        "frames_per_second": 25,
    },
    "mtl": {"train": 1, "validation": 1, "test": 1, "frames": 5, "step_frames": 5},
    "lsd": {"train_per_class": 2, "validation_per_class": 1, "test": 3, "stills_per_identity": 6},
    "unlabelled": {"images": 6, "without_face": 1, "stills_per_identity": 3, "pixels": 96},
}
Release = tuple[Path, Path]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def make(folder: Path, cache: Path, workers: int) -> Release:
    data, truth = folder / "data", folder / "truth"
    synthesize(Params.model_validate(TINY), data, truth, cache, workers)
    return data, truth


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Release:
    return make(tmp_path_factory.mktemp("one"), cache, 1)


@pytest.fixture(scope="module")
def studio(cache: Path) -> Studio:
    return Studio.open(packed_head(cache))


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


def test_same_bytes_whatever_the_worker_count(release: Release, cache: Path, tmp_path: Path) -> None:
    again = make(tmp_path, cache, 2)
    for first, second in zip(release, again, strict=True):
        assert digests(first) == digests(second)


def test_another_seed_gives_other_people(studio: Studio) -> None:
    one, two = (studio.actor(np.random.default_rng(seed)) for seed in (1, 2))
    assert np.abs(one.person.points - two.person.points).max() > 0.05


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


def test_splits_share_nobody() -> None:
    plan = recordings(Params.model_validate(TINY))
    people = [person.name for recording in plan for person in recording.people]
    assert len(people) == len(set(people)) == 7


@pytest.fixture(scope="module")
def portrait(studio: Studio) -> tuple[Actor, Scene]:
    rng = np.random.default_rng(11)
    return studio.actor(rng), sample_scene(rng, "synthetic", (160, 160), (0.7, 0.72))


def shoot(studio: Studio, portrait: tuple[Actor, Scene], aus: dict[int, float]) -> tuple[np.ndarray, np.ndarray]:
    actor, scene = portrait
    return align(*studio.render(actor, scene, Moment(aus), np.random.default_rng(0)))


def test_au12_widens_the_mouth(studio: Studio, portrait: tuple[Actor, Scene]) -> None:
    actor, scene = portrait
    widths = []
    for intensity in (0.0, 0.5, 1.0):
        landmarks = studio.render(actor, scene, Moment({12: intensity}), np.random.default_rng(0))[1]
        widths.append(float(np.linalg.norm(landmarks[4] - landmarks[3])))
    assert widths[0] * 1.04 < widths[1] < widths[2]


def brow_row(image: np.ndarray) -> float:
    """Mean row of the darkest pixels in the forehead-to-lid region above the image-left eye (aligned crop)."""
    patch = image[26:48, 26:50].mean(2)
    dark = patch < np.quantile(patch, 0.25)
    return float(np.nonzero(dark)[0].mean())


def test_au4_lowers_the_brows_in_the_image(studio: Studio, portrait: tuple[Actor, Scene]) -> None:
    assert brow_row(shoot(studio, portrait, {4: 1.0})[0]) > brow_row(shoot(studio, portrait, {})[0]) + 1
    assert brow_row(shoot(studio, portrait, {1: 1.0, 2: 1.0})[0]) < brow_row(shoot(studio, portrait, {})[0]) - 1


@pytest.mark.parametrize("au", sorted(UNITS))
def test_every_au_is_visible(studio: Studio, portrait: tuple[Actor, Scene], au: int) -> None:
    still, moved = (shoot(studio, portrait, aus)[0].astype(float) for aus in ({}, {au: 1.0}))
    assert np.abs(moved - still)[20:105, 15:97].mean() > 1.0  # grey levels; without noise in this style


def test_valence_and_arousal_follow_class_and_intensity() -> None:
    happy, sad, surprise = (Expression(CLASSES.index(c), {}, 1.0) for c in ("Happiness", "Sadness", "Surprise"))
    assert happy.valence_arousal[0] > 0 > sad.valence_arousal[0] and sad.valence_arousal[1] < 0
    assert surprise.valence_arousal[1] > happy.valence_arousal[1]
    half = Expression(happy.kind, {}, 0.5)
    assert half.valence_arousal == pytest.approx(tuple(v / 2 for v in happy.valence_arousal))
    assert all(np.hypot(*position) <= 1.05 for position in CIRCUMPLEX.values())


def test_labels_follow_the_rendered_intensity() -> None:
    faint, clear = (Expression(4, {12: 1.0, 6: 0.5}, intensity) for intensity in (0.2, 0.8))
    assert (faint.label, clear.label) == (0, 4)
    assert au_presence(faint.rendered_aus()) == [0] * 12
    assert au_presence(clear.rendered_aus()) == [0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0]


def test_anger_and_disgust_share_no_leading_au() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        anger, disgust = sample_expression(rng, 1), sample_expression(rng, 2)
        assert 9 not in anger.aus and 10 not in anger.aus and {23, 24} & set(anger.aus)
        assert 9 in disgust.aus and not {23, 24} & set(disgust.aus)
    assert set(PROTOTYPES) == set(CLASSES)


def test_default_params_are_valid_and_dvc_names_every_module() -> None:
    assert read_params(ROOT / "demo" / "params.yaml").videos.train > 0
    stage = yaml.safe_load((ROOT / "demo" / "dvc.yaml").read_text())["stages"]["synthesize"]
    modules = {f"demo/{path.name}" for path in (ROOT / "demo").glob("*.py")}
    assert modules | {"pipeline/errors.py", "pipeline/publish.py"} <= set(stage["deps"])


@pytest.mark.parametrize(
    ("change", "said"),
    [({"sede": 1}, "unknown key sede"), ({"mtl": {**TINY["mtl"], "step": 2}}, "mtl.step"), ({"seed": -1}, "seed")],  # type: ignore[dict-item]
)
def test_wrong_params_are_one_clear_error(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({**TINY, **change}))
    with pytest.raises(MienError) as caught:
        read_params(path)
    assert str(path) in str(caught.value) and said in str(caught.value) and "\n" not in str(caught.value)


def test_worker_count_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_WORKERS", "3")
    assert worker_count() == 3
    monkeypatch.setenv("MIEN_WORKERS", "many")
    with pytest.raises(MienError, match="MIEN_WORKERS=many"):
        worker_count()
