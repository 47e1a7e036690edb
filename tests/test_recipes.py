"""How systems are fed: labels, appearance targets, windows of features, backbones, and each system's batches."""

import copy
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pyarrow as pa
import pytest
import simplejpeg
import timm
import torch
import yaml
from insightface.utils.face_align import arcface_dst
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file, save_file
from tiny import tiny_params
from torch import Tensor, nn

from models.backbone import vit_backbone
from models.dtm import Dtm
from models.face_resnet import IRStem
from models.feedback import Classifier
from models.system import Batch
from models.temporal import TemporalEncoder
from models.vit import build_vit
from pipeline.base.closure import ROOT
from pipeline.base.params import Augment, CachedBackbone, Params, Strong
from pipeline.base.params import Backbone as BackboneParams
from pipeline.base.shards import write_parquet
from pipeline.crops import Crops
from pipeline.errors import MienError
from pipeline.faces.align import align
from pipeline.faces.extract import FACES_SCHEMA
from pipeline.features import Extractor, features_of, load_backbone, student_extractor, write_features
from pipeline.layout import ENCODER, FACES, FEATURES, LABELS, PSEUDO, SYSTEMS, TEMPLATES
from pipeline.manifest import LABEL_TYPES
from pipeline.predict import Faces, TemporalMember
from pipeline.pseudo import pseudo_table
from pipeline.tracks import CLASSES, TASKS_OF, TRACK_NAMES
from pipeline.train.appearance import appearance_targets, crop_points, identity_targets
from pipeline.train.au_labels import OPENFACE, RealAus, openface_labels, teacher_labels
from pipeline.train.backbones import build_backbone, load_weights
from pipeline.train.checkpoint import save_tensors
from pipeline.train.data import TrackData
from pipeline.train.declared import declared_inputs
from pipeline.train.encoder import save_encoder
from pipeline.train.fit import fit, seed_weights
from pipeline.train.recipes import labelled_probabilities, recipe
from pipeline.train.sequences import SequenceData, temporal_recipe, videos_of
from pipeline.train.systems import build_system
from pipeline.train.unlabelled import UnlabelledFaces, views
from stages.finetune import finetune

AU_SPLITS = {"train": {"a": 8, "b": 9}, "validation": {"v": 6}, "test": {"t": 4}}
LSD_SPLITS = {"train": {"lsd/ANGRY": 8, "lsd/SAD": 9}, "validation": {"real/SAD": 6}, "test": {"lsd_test": 4}}
LOST = ("a", 3), ("v", 2), ("t", 1)  # frames without a face
INVALID = "a", 5  # a training frame without any valid label
LABELLED = 15  # training frames with a face and a label
TEMPLATE = arcface_dst.astype(np.float64)  # where landmarks lie in an aligned crop of 112 pixels
FINETUNE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["finetune"]["foreach"]
NO_CHANGE = Augment(**dict.fromkeys(Augment.model_fields, 0.0))


# --- a workspace of a few faces --------------------------------------------------------------------------------------


def grey_jpeg(level: int, pixels: int = 112) -> bytes:
    return simplejpeg.encode_jpeg(np.full((pixels, pixels, 3), level, np.uint8), quality=95)


def write_faces(root: Path, dataset: str, videos: dict[str, int], **columns: list) -> None:
    """Faces of one data set: crop i is grey of level 5 * i, lost frames apart."""
    keys = [(video, frame) for video, frames in videos.items() for frame in range(1, frames + 1)]
    found = [key not in LOST for key in keys]
    table = {
        "video": [video for video, _ in keys],
        "frame": [frame for _, frame in keys],
        "image": [f"{frame - 1}.jpg" for _, frame in keys],
        "found": found,
        "score": [1.0 if seen else None for seen in found],
        "box": [np.zeros(4) if seen else np.full(4, np.nan) for seen in found],
        "landmarks": [
            TEMPLATE.reshape(-1) + number % 7 if seen else np.full(10, np.nan) for number, seen in enumerate(found)
        ],
        "jpeg": [grey_jpeg(5 * number) if seen else None for number, seen in enumerate(found)],
    }
    write_parquet(root / FACES / dataset / "all.parquet", pa.table(table | columns, schema=FACES_SCHEMA))


def labels_of(task: str, classes: int, keys: list[tuple[str, int]]) -> pa.Array:
    generator = np.random.default_rng(len(keys))
    values: dict[str, Any] = {
        "expression": [number % classes for number in range(len(keys))] if classes else [],
        "aus": generator.integers(0, 2, (len(keys), 12)).tolist(),
        "va": generator.uniform(-1, 1, (len(keys), 2)).tolist(),
    }
    invalid = {"expression": -1, "aus": [-1] * 12, "va": [-5.0] * 2}
    rows = [invalid[task] if key == INVALID else value for key, value in zip(keys, values[task], strict=True)]
    return pa.array(rows, LABEL_TYPES[task])


def write_axes(root: Path, track: str, splits: dict[str, dict[str, int]]) -> None:
    """Labels of training and validation frames, and the test frames' template."""
    for path, names in ((LABELS, ("train", "validation")), (TEMPLATES, ("test",))):
        keys = [(s, v, f) for s in names for v, frames in splits[s].items() for f in range(1, frames + 1)]
        table = {
            "split": [split for split, *_ in keys],
            "video": [video for _, video, _ in keys],
            "base_video": [video for _, video, _ in keys],
            "frame": pa.array([frame for *_, frame in keys], pa.int32()),
            "ordinal": pa.array(range(len(keys)), pa.int32()),
            "image": [f"{frame - 1}.jpg" for *_, frame in keys],
        }
        if path is LABELS:
            classes = len(CLASSES.get(track, ()))
            table |= {task: labels_of(task, classes, [key[1:] for key in keys]) for task in TASKS_OF[track]}
        write_parquet(root / path / f"{track}.parquet", pa.table(table))


def feature_table(faces: pa.Table, features: np.ndarray) -> pa.Table:
    flat = pa.array(features.astype(np.float16).reshape(-1))
    lists = pa.FixedSizeListArray.from_arrays(flat, features.shape[1])
    return pa.table({"video": faces["video"], "frame": faces["frame"], "feature": lists})


def write_teacher(root: Path, dataset: str, sure: Callable[[int], bool], name: str = "") -> Path:
    """AU pseudo-labels: unit u of face i is (i + u) % 2 where the teacher is sure."""
    faces = Crops(dataset, root / FACES).table
    answers = [[(i + u) % 2 if sure(i) else -1 for u in range(12)] for i in range(len(faces))]
    table = pseudo_table(faces, "aus", np.array(answers), np.ones((len(faces), 12)))
    path = PSEUDO / "au" / f"{name or dataset}.parquet"
    write_parquet(root / path, table)
    return path


@pytest.fixture(scope="module")
def tiny() -> Params:
    return tiny_params(ROOT)


@pytest.fixture(scope="module")
def mini_root(tmp_path_factory: pytest.TempPathFactory, tiny: Params) -> Path:
    """Faces, labels, encoder, features, pseudo-labels and DAN weights of a miniature release."""
    root = tmp_path_factory.mktemp("mini")
    for dataset, splits in {"aff-wild2": AU_SPLITS, "s-aff-wild2": AU_SPLITS, "lsd": LSD_SPLITS}.items():
        write_faces(root, dataset, {video: n for videos in splits.values() for video, n in videos.items()})
    write_faces(root, "extra", {"pool": 10})
    for track in TRACK_NAMES:
        write_axes(root, track, LSD_SPLITS if track == "lsd" else AU_SPLITS)
    for dataset in ("lsd", "aff-wild2"):
        faces = Crops(dataset, root / FACES).table
        features = np.random.default_rng(0).normal(size=(len(faces), 12))
        write_parquet(root / FEATURES / "mae" / dataset / "all.parquet", feature_table(faces, features))
    write_teacher(root, "extra", lambda number: number != 4)
    write_teacher(root, "lsd", lambda number: number % 5 != 2)
    torch.manual_seed(0)
    save_encoder(root / ENCODER, build_vit(**tiny.vit.model_dump()), tiny.vit, ["lsd"])
    dan = build_system("dan", "lsd", tiny, pretrained=False)
    save_tensors(root / SYSTEMS / "lsd/dan/weights.safetensors", dan.state_dict())
    return root


@pytest.fixture
def mini(mini_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(mini_root)
    return mini_root


def changed(tiny: Params, system: str, **fields: Any) -> Params:
    """Params with fields of one system replaced."""
    settings = getattr(tiny.systems, system).model_copy(update=fields)
    return tiny.model_copy(update={"systems": tiny.systems.model_copy(update={system: settings})})


def levels(images: Tensor) -> list[int]:
    """Which crop each image is."""
    return [round(float(image.float().mean()) / 5) for image in images]


# --- AU labels -------------------------------------------------------------------------------------------------------


def openface_row(image: str, confidence: str, active: str = "0.0") -> str:
    return ", ".join([image, "0", confidence, "1", *[active, "0.5", "0.51"], *["3.2"] * 14])


def openface(path: Path, *rows: str, lacking: str = "") -> Path:
    """OpenFace's CSV, spaces after its commas: AU01 as given, AU02 just not active, AU04 just active, the rest active;
    AU45 is no label.
    """
    units = [*OPENFACE, "AU45_r"]
    header = ", ".join(name for name in ("image", "face_id", "confidence", "success", *units) if name != lacking)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture
def lsd(mini: Path) -> TrackData:
    return TrackData("lsd", 32, 0.5)


def test_openface_labels_need_confidence_and_intensity(lsd, tmp_path):
    rows = [
        openface_row("SAD/8.jpg", "0.97", active="4.9"),
        openface_row("ANGRY/0.jpg", "0.8"),
        openface_row("ANGRY/1.jpg", "0.79"),
        openface_row("elsewhere/2.jpg", "0.99"),
    ]
    labels = openface_labels(lsd, openface(tmp_path / "o.csv", *rows), 0.8)
    assert labels.shape == (17, 16)
    assert labels[0].tolist() == [0, 0] + [1] * 14 and labels[16].tolist() == [1, 0] + [1] * 14
    assert (labels[1:16] == -1).all()


@pytest.mark.parametrize("column", ["image", "confidence", "AU26_r"])
def test_a_missing_openface_column_is_named(lsd, tmp_path, column):
    path = openface(tmp_path / "o.csv", openface_row("SAD/0.jpg", "0.9"), lacking=column)
    with pytest.raises(MienError, match=rf"o\.csv: .*: {column} is missing"):
        openface_labels(lsd, path, 0.8)


@pytest.mark.parametrize(
    "row", [openface_row("SAD/1.jpg", "high"), openface_row("SAD/1.jpg", "0.9", active="on"), "SAD/1.jpg, 0, 0.9"]
)
def test_a_line_that_is_no_number_is_named(lsd, tmp_path, row):
    path = openface(tmp_path / "o.csv", openface_row("SAD/0.jpg", "0.9"), row)
    with pytest.raises(MienError, match=r"o\.csv:3: not a row of numbers") as caught:
        openface_labels(lsd, path, 0.8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (None, r"systems\.au_cvt\.au_labels: .*o\.csv: No such file"),
        ((), "names none of the training faces"),
        (
            (openface_row("FEAR/0.jpg", "0.9"),),
            r"names none of the training faces; an example of a name is ANGRY/0\.jpg",
        ),
    ],
)
def test_openface_output_of_other_faces_is_told(lsd, tmp_path, rows, reason):
    if rows is not None:
        openface(tmp_path / "o.csv", *rows)
    with pytest.raises(MienError, match=reason):
        openface_labels(lsd, tmp_path / "o.csv", 0.8)


def test_teacher_labels_are_found_by_face(lsd, tmp_path):
    expected = np.array([[(i + u) % 2 if i % 5 != 2 else -1 for u in range(12)] for i in range(17)])
    assert np.array_equal(teacher_labels(lsd, PSEUDO / "au/lsd.parquet"), expected)
    every = np.flatnonzero(np.arange(27) % 3 > 0)[::-1]  # some faces are not there, the others stand backwards
    table = pseudo_table(
        lsd.crops.table.take(every), "aus", np.repeat(every[:, None], 12, 1), np.ones((len(every), 12))
    )
    write_parquet(tmp_path / "some.parquet", table)
    assert teacher_labels(lsd, tmp_path / "some.parquet")[:, 0].tolist() == [i if i % 3 else -1 for i in range(17)]


# --- appearance ------------------------------------------------------------------------------------------------------


def crops_with(folder: Path, landmarks: np.ndarray, boxes: np.ndarray, pixels: int) -> Crops:
    count = len(landmarks)
    flat = {"box": list(boxes), "landmarks": list(landmarks.reshape(count, 10))}
    write_faces(folder, "x", {"pool": count}, **flat, jpeg=[grey_jpeg(9, pixels)] * count)
    return Crops("x", folder / FACES)


@pytest.mark.parametrize("pixels", [48, 112])
def test_points_of_ready_crops(tmp_path, pixels):
    landmarks = np.stack([TEMPLATE, np.zeros((5, 2)), np.full((5, 2), np.nan), np.full((5, 2), (pixels - 1) / 2)])
    points = crop_points(crops_with(tmp_path, landmarks, np.zeros((4, 4)), pixels), np.array([3, 0, 1, 2]))
    assert points[0] == pytest.approx(np.zeros((5, 2)), abs=1e-6)  # the middle of the crop
    assert points[1] == pytest.approx((TEMPLATE + 0.5) / (pixels / 2) - 1, abs=1e-5)
    assert np.isnan(points[2:]).all()  # not looked for, and looked for in vain


@pytest.mark.parametrize("pixels", [112, 128])
def test_points_of_video_crops_are_where_the_alignment_puts_them(tmp_path, pixels):
    turn = 1.7 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    # one face off the template, so that the similarity fits it as well as it can, and one without a face
    landmarks = TEMPLATE @ turn + [90, 60] + np.array([[0, 9], [0, -6], [8, 0], [-5, 3], [4, 4]])
    given = np.stack([landmarks, np.full((5, 2), np.nan)])
    boxes = np.array([[80.0, 60, 200, 200], [1, 1, 2, 2]])
    points = crop_points(crops_with(tmp_path, given, boxes, pixels), np.array([0, 1]))
    assert np.isnan(points[1]).all()
    for place, point in zip(landmarks, points[0], strict=True):
        frame = np.zeros((300, 300, 3), np.uint8)
        cv2.circle(frame, tuple(int(c) for c in (place * 16).round()), 4 * 16, (255, 255, 255), -1, cv2.LINE_AA, 4)
        bright = align(frame, landmarks, pixels)[..., 0].astype(float)
        seen = [(bright.sum(axis) * (np.arange(pixels) + 0.5)).sum() / bright.sum() for axis in (0, 1)]
        assert point == pytest.approx(np.array(seen) / (pixels / 2) - 1, abs=0.01)


def test_identity_is_whitened_components_or_the_whole_embedding():
    features = np.random.default_rng(0).normal(size=(60, 9)).astype(np.float32) @ np.diag([9, 5, 3, 1, 1, 1, 1, 1, 0.1])
    found = identity_targets(features, 4)
    assert found.shape == (60, 4) and np.cov(found.T) == pytest.approx(np.eye(4), abs=1e-3)
    assert abs(np.corrcoef(found[:, 0], features[:, 0])[0, 1]) > 0.9  # the leading ones
    assert np.array_equal(identity_targets(features, 4), found)  # no draw from a global generator
    padded = identity_targets(features, 11)
    assert np.array_equal(padded[:, :9], features) and not padded[:, 9:].any()
    with pytest.raises(MienError, match="identity_components is 8, there are 5 faces"):
        identity_targets(features[:5], 8)


def multitask(tiny: Params, backbone: str | None = None, **weights: float) -> Any:
    wanted = tiny.systems.multitask.appearance_weights.model_copy(
        update=dict.fromkeys(("landmarks", "pose", "identity", "age", "sex"), 0.0) | weights
    )
    return tiny.systems.multitask.model_copy(update={"appearance_weights": wanted, "attribute_backbone": backbone})


def test_appearance_targets_are_those_that_weigh(mini, tiny, lsd):
    found = appearance_targets(lsd.crops, lsd.places, multitask(tiny, landmarks=1.0, pose=2.0, identity=0.5))
    assert {name: values.shape for name, values in found.items()} == {
        "landmarks": (17, 10),
        "pose": (17, 2),
        "identity": (17, 8),
    }
    assert all(values.dtype == np.float32 and np.isfinite(values).all() for values in found.values())
    assert set(appearance_targets(lsd.crops, lsd.places, multitask(tiny, pose=1.0))) == {"pose"}
    assert appearance_targets(lsd.crops, lsd.places, multitask(tiny)) == {}


def test_sex_and_age_come_from_the_attribute_features(mini, tiny, lsd):
    attributes = np.stack([[0.2, 0.9, i / 100] if i % 3 else [0.8, 0.1, i / 100] for i in range(len(lsd.crops))])
    write_parquet(Path("artifacts/features/genderage/lsd/all.parquet"), feature_table(lsd.crops.table, attributes))
    found = appearance_targets(lsd.crops, lsd.places, multitask(tiny, "genderage", age=1.0, sex=1.0))
    assert found["sex"][:, 0].tolist() == [float(i % 3 > 0) for i in range(17)]  # 1 is male
    assert found["age"][:, 0] == pytest.approx([i / 100 for i in range(17)], abs=1e-3)
    with pytest.raises(MienError, match="age and sex need attribute_backbone"):
        appearance_targets(lsd.crops, lsd.places, multitask(tiny, sex=1.0))


def test_faces_without_features_are_told(mini, tiny, lsd):
    table = lsd.crops.table.slice(1)
    write_parquet(Path("artifacts/features/short/lsd/all.parquet"), feature_table(table, np.zeros((len(table), 9))))
    settings = multitask(tiny, identity=1.0).model_copy(update={"identity_backbone": "short"})
    with pytest.raises(MienError, match=r"artifacts/features/short/lsd: features of some faces are missing"):
        appearance_targets(lsd.crops, lsd.places, settings)


# --- windows of features ---------------------------------------------------------------------------------------------


def test_videos_of_gives_each_video_in_the_order_of_its_frames():
    axis = pa.table({"video": ["b", "a", "b", "a", "c"], "frame": [2, 7, 1, 3, 1]})
    assert [rows.tolist() for rows in videos_of(axis)] == [[3, 1], [2, 0], [4]]
    assert videos_of(axis.slice(0, 0)) == []


def windows(tiny: Params, window: int, balance: float = 0.0) -> SequenceData:
    """The feature of a frame is the number of its video, from 1, and its own."""
    temporal = tiny.systems.feedback.temporal
    train = temporal.train.model_copy(update={"balance": balance})
    settings = temporal.model_copy(update={"window_frames": window, "stride_frames": 2, "train": train})
    faces = Crops("aff-wild2").table
    numbers = [" abvt".index(video) for video in faces["video"].to_pylist()]
    features = np.stack([numbers, faces["frame"].to_numpy()], axis=1)
    order = np.random.default_rng(0).permutation(len(faces))
    return SequenceData(settings, feature_table(faces.take(order), features[order]))


def true_label(video: int, frame: int) -> int:
    return -1 if (video, frame) == (1, 5) else (frame - 1 + 8 * (video == 2)) % 8


@pytest.mark.parametrize("window", [4, 8, 12])
def test_windows_hold_frames_in_a_row_of_one_video(mini, tiny, window):
    data = windows(tiny, window)
    seen = set()
    for seed in range(6):
        batch = data.batch(np.random.default_rng(seed), 8)
        assert batch["features"].shape == (8, window, 2) and batch["features"].dtype == torch.float32
        for features, present, labels in zip(*(batch[n] for n in ("features", "present", "expression")), strict=True):
            (video,) = set(features[present][:, 0].int().tolist())  # never two
            assert not features[~present].any()
            places = torch.arange(window)
            (start,) = set((features[present][:, 1].int() - places[present]).tolist())  # frames in a row
            frames = (places + start).tolist()
            last = {1: 8, 2: 9}[video]
            assert start >= 1 and (start == 1 if window >= last else frames[-1] <= last)
            expected = [f <= last and (video, f) != (1, 3) for f in frames]  # neither beyond the video nor faceless
            assert present.tolist() == expected
            inside = [f <= last for f in frames]
            assert labels.tolist() == [true_label(video, f) if ok else -1 for f, ok in zip(frames, inside, strict=True)]
            seen |= {(video, f) for f, ok in zip(frames, expected, strict=True) if ok}
    assert len(seen) == 16  # all frames with a face come up, the one without a label beside others


def test_windows_are_drawn_around_rare_classes(mini, tiny):
    """Class 4 has one of the fifteen frames that count; the frame without a label is but a neighbour."""

    def share(label: int, balance: float) -> float:
        data = windows(tiny, 2, balance)
        chosen = torch.cat([data.batch(np.random.default_rng(seed), 50)["expression"] for seed in range(8)])
        return float((chosen == label).any(dim=1).float().mean())

    assert share(4, 1.0) > 1.3 * share(4, 0.0) > 0
    assert 0 < share(-1, 1.0) < 0.1  # about a sixteenth; were it a class of its own, a sixth


def test_video_predictions_leave_gaps_and_keep_videos_apart(mini, tiny):
    data = windows(tiny, 4)
    torch.manual_seed(0)
    system = TemporalEncoder(
        2, classes=8, window_frames=4, width=8, layers=1, heads=2, feedforward=16, dropout=0.1
    ).eval()
    scores = data.predict(system, data.validation)["expression"]
    assert scores.shape == (6, 8) and np.isnan(scores).all(axis=1).tolist() == [False, True] + [False] * 4
    features = torch.tensor([[3.0, f] if f != 2 else [0.0, 0.0] for f in range(1, 7)])
    alone = system.predict_video(features, features[:, 0] > 0, 2).numpy()
    np.testing.assert_allclose(scores[[0, 2, 3, 4, 5]], alone[[0, 2, 3, 4, 5]], atol=1e-6)
    second = torch.tensor([[2.0, f] for f in range(1, 10)])
    both = data.predict(system, data.train)["expression"]
    expected = system.predict_video(second, torch.ones(9, dtype=torch.bool), 2)
    np.testing.assert_allclose(both[8:], expected.numpy(), atol=1e-6)


def test_the_temporal_encoder_trains(mini, tiny, tmp_path):
    faces = Crops("aff-wild2").table
    data = SequenceData(
        tiny.systems.feedback.temporal,
        feature_table(faces, np.random.default_rng(0).normal(size=(len(faces), 12))),
    )
    seed_weights(tiny.finetune)
    made = temporal_recipe(data, tiny)
    system, training = fit("temporal encoder", made, tiny.finetune, tmp_path, lambda metrics, step: None)
    losses = [row["loss"] for row in training.history if "loss" in row]
    assert np.isfinite(losses).all() and losses[-1] != losses[0]
    assert [row["step"] for row in training.history if "score" in row] == [3, 6]
    assert system.embed[1].in_features == data.width == 12


# --- the pool --------------------------------------------------------------------------------------------------------


def test_views_of_unlabelled_faces():
    images = torch.randint(0, 256, (6, 3, 40, 40), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    torch.manual_seed(0)
    change = NO_CHANGE.model_copy(update={"shift_fraction": 0.1, "noise": 0.1})
    found = views(images, change, Strong(operations=2, cutout_side_fraction=0.5), 32)
    assert set(found) == {"weak", "other_weak", "strong"}
    assert all(view.shape == (6, 3, 32, 32) and view.dtype == torch.uint8 for view in found.values())
    assert not torch.equal(found["weak"], found["other_weak"])
    still = views(images, NO_CHANGE, Strong(operations=0, cutout_side_fraction=0.0), 40)
    for name, view in still.items():
        same = [torch.equal(a, b) or torch.equal(a, b.flip(-1)) for a, b in zip(view, images, strict=True)]
        assert all(same), name
    strong = views(images, NO_CHANGE, Strong(operations=3, cutout_side_fraction=0.5), 40)["strong"]
    assert all(not torch.equal(a, b) and not torch.equal(a, b.flip(-1)) for a, b in zip(strong, images, strict=True))


def test_the_pool_gives_all_its_faces(mini):
    sample = UnlabelledFaces(32).sample(np.random.default_rng(0), 200)
    assert sample.shape == (200, 3, 32, 32) and sample.dtype == torch.uint8
    assert set(levels(sample)) == set(range(10))


def test_an_empty_pool_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_faces(tmp_path, "extra", {"a": 3}, found=[False] * 3)
    with pytest.raises(MienError, match="there is no unlabelled face"):
        UnlabelledFaces(32)


# --- what the graph must know ----------------------------------------------------------------------------------------


TEACHER = Path("artifacts/pseudo/au/lsd.parquet")


@pytest.mark.parametrize(
    ("system", "needs", "missing"),
    [
        ("multitask", "artifacts/features/mae/lsd", None),
        ("multitask", "artifacts/manifest/templates/lsd.txt", "artifacts/features/mae/lsd"),
        ("emma", "artifacts/systems/lsd/dan", None),
        ("emma", "artifacts/features/mae/lsd", "artifacts/systems/lsd/dan/weights.safetensors"),
    ],
)
def test_needs_cover_what_params_name(workspace, tiny, system, needs, missing):
    Path("dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    if missing is None:
        assert declared_inputs(tiny, system, "lsd", Path(needs)) == []
    else:
        with pytest.raises(MienError, match=rf"add {missing} to deps"):
            declared_inputs(tiny, system, "lsd", Path(needs))


@pytest.mark.parametrize(
    ("au_labels", "files"),
    [
        ("teacher", []),
        (
            "real",
            [
                "artifacts/faces/aff-wild2",
                "artifacts/manifest/labels/au.parquet",
                "artifacts/manifest/templates/au.parquet",
            ],
        ),
        ("data/raw/openface.csv", ["data/raw/openface.csv"]),
    ],
)
def test_inputs_that_params_name_are_deps(workspace, tiny, au_labels, files):
    params = changed(tiny, "au_cvt", au_labels=au_labels)
    tree = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    deps = tree["stages"]["finetune"]["do"]["deps"]
    for file in files:
        Path("dvc.yaml").write_text(yaml.safe_dump(tree))
        with pytest.raises(MienError, match=rf"dvc\.yaml: finetune: add {file} to deps"):
            declared_inputs(params, "au_cvt", "lsd", TEACHER)
        deps.append(file)
    Path("dvc.yaml").write_text(yaml.safe_dump(tree))
    assert {Path(file) for file in files} <= set(declared_inputs(params, "au_cvt", "lsd", TEACHER))
    assert declared_inputs(params, "vit", "lsd", TEACHER) == []


# --- backbones -------------------------------------------------------------------------------------------------------


def declare(path: Path) -> Path:
    """Declare a file of the workspace in weights.yaml."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = f"{{source: s, sha256: '{digest}', licence: MIT, trained_on: [x], label_types: [y]}}"
    Path("weights.yaml").write_text(f"{path.name}: {entry}\n")
    return path


def weights_of(module: nn.Module, **more: Tensor) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()} | more


def saved(tensors: dict[str, Tensor], name: str = "net.safetensors") -> Path:
    save_file(tensors, name)
    return Path(name)


def test_weights_with_a_classifier_too_many_load(workspace):
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    load_weights(target, declare(saved(weights_of(source, **{"fc.weight": torch.ones(5, 2)}))), "toy")
    assert torch.equal(source.weight, target.weight) and torch.equal(source.bias, target.bias)


def test_own_weights_need_no_declaration(workspace):
    Path("artifacts").mkdir()
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    load_weights(target, saved(weights_of(source), "artifacts/net.safetensors"), "toy")
    assert torch.equal(source.weight, target.weight)


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda: saved(weights_of(nn.Linear(3, 2))), r"weights\.yaml: net\.safetensors is not declared"),
        (lambda: declare(saved(weights_of(nn.Linear(4, 2)))), r"net\.safetensors: .* toy: size mismatch for weight"),
        (
            lambda: declare(saved({"weight": torch.ones(2, 3)})),
            r"net\.safetensors: .* toy: bias and 0 more are missing",
        ),
        (lambda: declare(saved({"x.y": torch.ones(1)})), r"net\.safetensors: .* toy: weight and 1 more are missing"),
        (
            lambda: Path("net.safetensors"),
            r"params\.yaml: net\.safetensors is not a safetensors file; put .* toy there",
        ),
        (
            lambda: declare(saved(weights_of(nn.Linear(3, 2)), "net.pth")),
            r"params\.yaml: net\.pth is not a safetensors",
        ),
    ],
)
def test_weights_that_do_not_fit_are_told(workspace, prepare, reason):
    path = prepare()
    with pytest.raises(MienError, match=reason) as caught:
        load_weights(nn.Linear(3, 2), path, "toy")
    assert "\n" not in str(caught.value)


def test_a_timm_backbone_with_local_weights_is_timm_own(workspace, tiny):
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=7).eval()
    settings = BackboneParams(name="resnet10t", weights=str(declare(saved(network.state_dict()))), image_pixels=48)
    backbone = build_backbone(settings, tiny.vit, pretrained=True).eval()
    images = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    mean, std = (torch.tensor(network.default_cfg[name]).view(3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        expected = network.forward_head(network.forward_features((images / 255 - mean) / std), pre_logits=True)
        torch.testing.assert_close(backbone(images), expected, atol=1e-4, rtol=1e-4)
    assert (backbone.pixels, backbone.width) == (48, expected.shape[1])
    Path(settings.weights).unlink()
    fresh = build_backbone(settings, tiny.vit, pretrained=False).network  # needs no file
    assert not torch.equal(fresh.conv1[0].weight, network.conv1[0].weight)


def test_backbones_that_are_not_to_be_had_are_told(workspace, tiny):
    with pytest.raises(MienError, match=r"params\.yaml: timm knows no model resnet0; "):
        build_backbone(BackboneParams(name="resnet0"), tiny.vit, pretrained=False)
    cached = CachedBackbone(name="resnet10t", datasets=["lsd"])
    with pytest.raises(MienError, match="resnet10t needs `weights`"):
        load_backbone(cached, tiny)
    cached = CachedBackbone(name="onnx", weights="net.onnx", datasets=["lsd"])
    with pytest.raises(MienError, match=r"net\.onnx is missing"):
        load_backbone(cached, tiny)


def test_our_own_encoder_is_the_pretrained_one(mini, tiny):
    backbone = build_backbone(BackboneParams(name="encoder", readout_grid=2), tiny.vit, pretrained=True)
    kept = load_file(ENCODER / "encoder.safetensors")
    assert all(torch.equal(tensor, kept[name]) for name, tensor in backbone.network.encoder.state_dict().items())
    assert backbone.width == 4 * tiny.vit.width


def write_onnx(path: Path, normalises_itself: bool) -> Path:
    """The mean of each channel of an image of 8 pixels; with (x - 10) * 2 before, if it normalises itself."""
    nodes, constants, start = [], [], "image"
    if normalises_itself:
        constants = [numpy_helper.from_array(np.float32(v), n) for n, v in (("ten", 10), ("two", 2))]
        nodes = [
            helper.make_node("Sub", ["image", "ten"], ["less"], name="Sub_0"),
            helper.make_node("Mul", ["less", "two"], ["start"], name="Mul_1"),
        ]
        start = "start"
    nodes += [
        helper.make_node("GlobalAveragePool", [start], ["mean"], name="Pool_2"),
        helper.make_node("Flatten", ["mean"], ["feature"], name="Flatten_3"),
    ]
    sides = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("image", ["N", 3, 8, 8]), ("feature", ["N", 3]))
    ]
    graph = helper.make_graph(nodes, "mean", sides[:1], sides[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ("normalises_itself", "expected"),
    [(False, (np.array([200, 100, 50]) - 127.5) / 128), (True, (np.array([200, 100, 50]) - 10.0) * 2)],
)
def test_onnx_networks_see_rgb_as_they_were_trained(workspace, tiny, normalises_itself, expected):
    path = declare(write_onnx(Path("net.onnx"), normalises_itself))
    extractor = load_backbone(CachedBackbone(name="onnx", weights="net.onnx", datasets=["lsd"]), tiny)
    assert extractor.pixels == 8
    picture = np.full((16, 16, 3), (50, 100, 200), np.uint8)
    jpegs = [simplejpeg.encode_jpeg(picture, quality=100, colorspace="BGR"), grey_jpeg(255, 16), grey_jpeg(0, 16)]
    found = features_of(extractor, jpegs, batch=2)
    assert found.shape == (3, 3) and found.dtype == np.float16
    assert found[0] == pytest.approx(expected, abs=0.03 if not normalises_itself else 4)
    ends = [127.5 / 128, -127.5 / 128] if not normalises_itself else [490, -20]  # three outputs: sex and age
    assert found[1:, 0] == pytest.approx(ends, abs=1e-3)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(MienError, match="fetch the declared file again"):
        load_backbone(CachedBackbone(name="onnx", weights="net.onnx", datasets=["lsd"]), tiny)


class Huge(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean(dim=(2, 3)) * 1e4


def test_features_beyond_float16_are_refused(mini, tmp_path):
    faces = FACES / "lsd/all.parquet"
    with pytest.raises(MienError, match=r"lsd/all\.parquet: features are not finite"):
        write_features(faces, tmp_path / "f.parquet", Extractor(Huge(), 16), 8, {})
    assert not (tmp_path / "f.parquet").exists()


# --- recipes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "track", "needs"),
    [*((e["system"], e["track"], e["needs"]) for e in FINETUNE.values()), ("feedback", "expr", None)],
    ids=[*FINETUNE, "feedback-expr"],
)
def test_every_system_of_the_graph_trains(mini, tiny, tmp_path, system, track, needs):
    seed_weights(tiny.finetune)
    made = recipe(system, track, tiny, needs and Path(needs))
    start = weights_of(made.module)
    rarely = tiny.finetune.model_copy(update={"checkpoint_seconds": 1e9})
    module, training = fit(system, made, rarely, tmp_path, lambda metrics, step: None)
    losses = [row for row in training.history if "loss" in row]
    assert [row["step"] for row in losses] == [0, 5]
    assert all(np.isfinite(value) for row in losses for value in row.values())
    assert [row["step"] for row in training.history if "score" in row] == [3, 6]
    assert any(not torch.equal(tensor, start[name]) for name, tensor in module.named_parameters())
    axis = made.data.validation
    scores = made.scores(module, axis)
    assert set(scores) == set(TASKS_OF[track])
    assert (~axis.present).sum() == (0 if track == "lsd" else 1)
    for values in scores.values():
        assert np.array_equal(np.isnan(values).all(axis=1), ~axis.present) and len(values) == 6


class Killed(Exception):
    pass


@pytest.mark.parametrize(("system", "track"), [("feedback", "expr"), ("dtm", "expr"), ("emma", "mtl")])
def test_a_killed_system_ends_in_the_same_bits(mini, tiny, tmp_path, system, track):
    """Steps and thresholds are buffers, the head with a rate of its own has its own moments: all are resumed."""

    def run(folder: Path, death: int | None = None) -> tuple[dict[str, Tensor], list]:
        seed_weights(tiny.finetune)
        made = recipe(system, track, tiny)
        draw = made.batches

        def batches(generator: np.random.Generator, step: int) -> Batch:
            if step == death:
                raise Killed
            return draw(generator, step)

        made.batches = batches
        module, training = fit(system, made, tiny.finetune, folder, lambda metrics, step: None)
        return module.state_dict(), training.history

    expected, history = run(tmp_path / "a")
    with pytest.raises(Killed):
        run(tmp_path / "b", death=4)
    found, resumed = run(tmp_path / "b")
    assert resumed == history
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


def test_pretrained_parts_are_in_place(mini, tiny):
    """What was loaded: the encoder in every backbone, the DAN of LSD in EMMA."""
    encoder, dan = load_file(ENCODER / "encoder.safetensors"), load_file(SYSTEMS / "lsd/dan/weights.safetensors")
    name = "patch_embed.proj.weight"
    emma = build_system("emma", "mtl", tiny)
    parts = [emma.encoder, *(view.encoder for view in build_system("cotex", "lsd", tiny).views)]
    parts += [build_system("multitask", "lsd", tiny).networks[0].backbone.network.encoder]
    parts += [build_system("vit", "au", tiny).backbone.network.encoder]
    assert all(torch.equal(part.state_dict()[name], encoder[name]) for part in parts)
    assert all(torch.equal(tensor, dan[f"net.{key}"]) for key, tensor in emma.cnn.state_dict().items())
    fresh = build_system("emma", "mtl", tiny, pretrained=False)
    assert not torch.equal(fresh.encoder.state_dict()[name], encoder[name])


def batch_of(made: Any, seed: int = 0, step: int = 0) -> Batch:
    return made.batches(np.random.default_rng(seed), step)


def test_a_share_of_the_batch_has_the_teachers_labels(mini, tiny):
    made = recipe("vit", "au", tiny, PSEUDO / "au/extra.parquet")
    for seed in range(12):
        batch = batch_of(made, seed)
        assert batch["pseudo"].tolist() == [False] * 6 + [True] * 2  # a fifth of eight
        for number, aus in zip(levels(batch["images"][6:]), batch["aus"][6:], strict=True):
            assert number != 4 and aus.tolist() == [(number + unit) % 2 for unit in range(12)]


@pytest.mark.parametrize("teacher", ["none", "unsure", "no share"])
def test_without_a_teachers_labels_all_of_the_batch_is_labelled(mini, tiny, teacher):
    params = changed(tiny, "vit", pseudo_fraction=0.0) if teacher == "no share" else tiny
    needs = {
        "none": lambda: TEMPLATES / "au.txt",
        "unsure": lambda: write_teacher(mini, "extra", lambda number: False, "unsure"),
        "no share": lambda: PSEUDO / "au/extra.parquet",
    }[teacher]()
    assert batch_of(recipe("vit", "au", params, needs))["pseudo"].tolist() == [False] * 8


@pytest.mark.parametrize(("system", "track", "power"), [("vit", "au", 0.5), ("vit", "mtl", 0.5), ("emma", "mtl", 1.0)])
def test_active_units_weigh_as_the_labels_ask(mini, tiny, system, track, power):
    made = recipe(system, track, tiny)
    aus = made.data.labels["aus"]
    odds = (aus == 0).sum(axis=0) / (aus == 1).sum(axis=0)
    assert len(aus) == LABELLED and len(set(odds)) > 1
    assert made.module.au_pos_weight.tolist() == pytest.approx((odds**power).tolist())


def test_emma_takes_the_weights_that_params_give(mini, tiny):
    given = [float(unit) for unit in range(1, 13)]
    made = recipe("emma", "mtl", changed(tiny, "emma", au_pos_weight=given))
    assert made.module.au_pos_weight.tolist() == given


def test_real_aus_are_a_part_of_the_batch_of_their_own(mini, tiny):
    made = recipe("au_cvt", "lsd", changed(tiny, "au_cvt", au_labels="real"))
    batch = made.prepare(batch_of(made))
    assert batch["images"].shape == (8, 3, 32, 32)
    assert (batch["expression"][:6] >= 0).all() and (batch["aus"][:6] == -1).all()
    assert (batch["expression"][6:] == -1).all() and (batch["aus"][6:] >= 0).all()
    losses = made.module.losses(batch)
    sum(losses.values()).backward()
    assert set(losses) == {"expression", "aus"} and all(loss.item() > 0 for loss in losses.values())


def test_real_aus_are_those_of_their_faces(mini):
    real = RealAus(32)
    batch = real.batch(np.random.default_rng(0), 30)
    places = [real.data.places.tolist().index(p) for p in crop_rows(real.data, batch["images"])]
    assert np.array_equal(batch["aus"].numpy(), real.data.labels["aus"][places])
    assert batch["expression"].dtype == torch.int64 and (batch["expression"] == -1).all()
    first = {"images": torch.zeros(3, 3, 32, 32, dtype=torch.uint8), "expression": torch.tensor([1, 2, 0])}
    marked = real.unlabelled_aus(first)
    assert marked["aus"].shape == (3, 12) and (marked["aus"] == -1).all() and "aus" not in first
    assert torch.equal(marked["expression"], first["expression"])


def test_au_cvt_learns_openface_units(mini, tiny, tmp_path):
    path = openface(tmp_path / "o.csv", *[openface_row(f"SAD/{n}.jpg", "0.9") for n in range(9)])
    made = recipe("au_cvt", "lsd", changed(tiny, "au_cvt", au_labels=str(path)))
    batch = batch_of(made)
    assert batch["aus"].shape == (8, 16) and batch["aus"].dtype == torch.int64
    known = torch.tensor([number >= 8 for number in levels(batch["images"])])
    assert known.any() and not known.all()
    assert (batch["aus"][~known] == -1).all() and (batch["aus"][known] >= 0).all()
    assert set(made.module.losses(batch)) == {"expression", "aus"}


def test_au_cvt_without_pseudo_labels_is_told(mini, tiny):
    with pytest.raises(MienError, match=r"au_cvt needs the pseudo-labels of its faces, artifacts/pseudo/au/"):
        recipe("au_cvt", "lsd", tiny, TEMPLATES / "lsd.txt")


def test_multitask_targets_move_with_their_faces(mini, tiny):
    made = recipe("multitask", "lsd", tiny)
    batch = batch_of(made)
    assert {name: tuple(batch[name].shape) for name in ("landmarks", "pose", "identity")} == {
        "landmarks": (8, 10),
        "pose": (8, 2),
        "identity": (8, 8),
    }
    rows = [made.data.places.tolist().index(p) for p in crop_rows(made.data, batch["images"])]
    for name in ("landmarks", "pose", "identity"):
        assert np.array_equal(batch[name].numpy(), made.data.extra[name][rows])


def crop_rows(data: TrackData, images: Tensor) -> list[int]:
    """The row of `data.crops` of each image, by its level: crop i of a data set is of level i before faces are lost."""
    shown = [round(float(data.crops.images(np.array([row]), 8).mean()) / 5) for row in range(len(data.crops))]
    assert len(set(shown)) == len(shown)
    return [shown.index(level) for level in levels(images)]


def test_feedback_gets_balanced_faces_and_views_of_the_pool(mini, tiny):
    made = recipe("feedback", "expr", tiny)
    assert made.train is tiny.systems.feedback.spatial.train and made.train.balance == 1.0
    batch = batch_of(made)
    assert batch["unlabelled"].shape == (8, 3, 32, 32) and (batch["expression"] >= 0).all()
    prepared = made.prepare(batch)
    assert "unlabelled" not in prepared
    assert all(prepared[n].shape == (8, 3, 32, 32) for n in ("images", "weak", "other_weak", "strong"))


def test_dtm_sees_the_pool_after_its_supervised_steps(mini, tiny):
    made = recipe("dtm", "expr", tiny)
    assert [("unlabelled" in batch_of(made, step=step)) for step in range(4)] == [False, False, True, True]
    assert "strong" not in made.prepare(batch_of(made, step=1))
    late = made.prepare(batch_of(made, step=2))
    assert "unlabelled" not in late and late["strong"].shape == (8, 3, 32, 32)
    never = recipe("dtm", "expr", changed(tiny, "dtm", unlabelled_weight=0.0))
    assert "unlabelled" not in batch_of(never, step=5)


class Levels:
    """Stands for a system: its score is the crop's level, and it keeps what it is shown."""

    def __init__(self) -> None:
        self.shown: list[int] = []

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        found = levels(batch["images"])
        self.shown += found
        return {"expression": torch.tensor(found)[:, None].float()}


@pytest.mark.parametrize("batch", [4, 15, 100])
def test_labelled_probabilities_see_every_labelled_face_once(mini, batch):
    system, data = Levels(), TrackData("expr", 32, 0.5)
    found = labelled_probabilities(system, data, batch)  # type: ignore[arg-type]
    expected = [n for n in range(17) if n not in (2, 4)]  # neither the frame without a face nor the one without a label
    assert system.shown == expected and found[:, 0].tolist() == expected
    assert data.labels["expression"].tolist() == [n % 8 for n in expected]


def test_thresholds_follow_the_averaged_model_once_an_epoch(mini, tiny):
    made = recipe("dtm", "expr", tiny)
    module, averaged = made.module, copy.deepcopy(made.module)
    assert isinstance(module, Dtm) and isinstance(averaged, Dtm) and made.epoch_steps == 2

    def predict(batch: Batch) -> dict[str, Tensor]:
        """0.95 for the true class of even classes, and for the next one else."""
        truth = torch.tensor([number % 8 for number in levels(batch["images"])])
        scores = torch.full((len(truth), 8), 0.05 / 7)
        return {"expression": scores.scatter(1, (truth + truth % 2)[:, None] % 8, 0.95)}

    averaged.predict = predict  # type: ignore[method-assign]
    row = made.after_epoch(module, averaged)
    expected = {n: 0.9 * 0.8 + 0.1 * 0.95 if c % 2 == 0 else 0.8 for c, n in enumerate(CLASSES["expr"])}
    assert row == {f"threshold_{name}": pytest.approx(value) for name, value in expected.items()}
    assert torch.equal(module.threshold.tau, averaged.threshold.tau)


# --- prediction on one's own videos ----------------------------------------------------------------------------------


@pytest.fixture
def member(tiny: Params) -> TemporalMember:
    torch.manual_seed(0)
    student = Classifier(vit_backbone(tiny.vit.model_dump(), 1), 8).eval()
    sizes = {"width": 8, "layers": 1, "heads": 2, "feedforward": 16, "dropout": 0.0}
    encoder = TemporalEncoder(tiny.vit.width, classes=8, window_frames=4, **sizes).eval()
    return TemporalMember(student_extractor(student), encoder, stride=2)


def test_frames_without_a_face_are_gaps_in_the_video(member):
    jpegs, frames = [grey_jpeg(60 * n) for n in range(4)], np.array([3, 4, 7, 9])
    features = torch.from_numpy(features_of(member.features, jpegs, 4)).float()
    video, present = torch.zeros(7, features.shape[1]), torch.zeros(7, dtype=torch.bool)
    video[[0, 1, 4, 6]], present[[0, 1, 4, 6]] = features, True
    expected = member.encoder.predict_video(video, present, 2)[[0, 1, 4, 6]]
    np.testing.assert_allclose(member(Faces(jpegs, frames, 2)), expected.numpy(), atol=1e-6)
    assert not np.allclose(member(Faces(jpegs, np.arange(4), 2)), expected.numpy(), atol=1e-4)  # time counts


def test_faces_of_one_picture_do_not_see_each_other(member):
    jpegs = [grey_jpeg(60 * n) for n in range(3)]
    together = member(Faces(jpegs, np.ones(3, int), 2))
    alone = np.concatenate([member(Faces([jpeg], np.ones(1, int), 2)) for jpeg in jpegs])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_networks_of_an_ensemble_see_the_same_crops(mini, tiny):
    first, second = tiny.systems.multitask.networks
    networks = [first, second.model_copy(update={"image_pixels": 64})]
    with pytest.raises(MienError, match="see the same crops, not 32 of encoder, 64 of face_resnet pixels"):
        recipe("multitask", "lsd", changed(tiny, "multitask", networks=networks))


def test_published_names_fill_a_face_resnet(workspace, tiny):
    stem = IRStem([8, 8, 16], [1, 1, 1])
    save_tensors(Path("ir.safetensors"), stem.state_dict())
    settings = BackboneParams(name="face_resnet", channels=[8, 8, 16], units=[1, 1, 1], image_pixels=32)
    settings = settings.model_copy(update={"weights": str(declare(Path("ir.safetensors")))})
    network = build_backbone(settings, tiny.vit, pretrained=True).network
    assert all(torch.equal(tensor, network.stem.state_dict()[name]) for name, tensor in stem.state_dict().items())
    Path("ir.safetensors").write_bytes(b"garbage, however long it is")
    declare(Path("ir.safetensors"))
    with pytest.raises(MienError, match="not a safetensors file"):
        build_backbone(settings, tiny.vit, pretrained=True)


def test_feedback_is_not_fine_tuned(tiny):
    with pytest.raises(MienError, match="made by pretrain_feedback"):
        finetune("feedback", "expr", Path("x"), tiny)
