"""Multi-task networks: appearance targets and the faces that they are of."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bench.jobs import recipe
from pipeline.core.errors import MienError
from pipeline.core.parquet import write_parquet
from pipeline.core.paths import FACES
from pipeline.faces.crops import Crops
from pipeline.faces.geometry import align
from pipeline.settings import Params
from pipeline.systems.multitask import appearance_targets, crop_points, identity_targets
from pipeline.train.data import TrackData
from tests.mini import ALL, TEMPLATE, batch_of, changed, crop_rows, feature_table, grey_jpeg, write_faces

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
    settings: Any = tiny.systems["multitask"]
    wanted = settings.appearance_weights.model_copy(
        update=dict.fromkeys(("landmarks", "pose", "identity", "age", "sex"), 0.0) | weights
    )
    return settings.model_copy(update={"appearance_weights": wanted, "attribute_backbone": backbone})


def test_appearance_targets_are_those_that_weigh(mini, tiny, lsd):
    found = appearance_targets(lsd.crops, lsd.places, multitask(tiny, landmarks=1.0, pose=2.0, identity=0.5), ALL)
    assert {name: values.shape for name, values in found.items()} == {
        "landmarks": (17, 10),
        "pose": (17, 2),
        "identity": (17, 8),
    }
    assert all(values.dtype == np.float32 and np.isfinite(values).all() for values in found.values())
    assert set(appearance_targets(lsd.crops, lsd.places, multitask(tiny, pose=1.0), ALL)) == {"pose"}
    assert appearance_targets(lsd.crops, lsd.places, multitask(tiny), ALL) == {}


def test_sex_and_age_come_from_the_attribute_features(mini, tiny, lsd):
    attributes = np.stack([[0.2, 0.9, i / 100] if i % 3 else [0.8, 0.1, i / 100] for i in range(len(lsd.crops))])
    write_parquet(Path("artifacts/features/genderage/lsd/all.parquet"), feature_table(lsd.crops.table, attributes))
    found = appearance_targets(lsd.crops, lsd.places, multitask(tiny, "genderage", age=1.0, sex=1.0), ALL)
    assert found["sex"][:, 0].tolist() == [float(i % 3 > 0) for i in range(17)]  # 1 is male
    assert found["age"][:, 0] == pytest.approx([i / 100 for i in range(17)], abs=1e-3)
    with pytest.raises(MienError, match="age and sex need attribute_backbone"):
        appearance_targets(lsd.crops, lsd.places, multitask(tiny, sex=1.0), ALL)


def test_faces_without_features_are_told(mini, tiny, lsd):
    table = lsd.crops.table.slice(1)
    write_parquet(Path("artifacts/features/short/lsd/all.parquet"), feature_table(table, np.zeros((len(table), 9))))
    settings = multitask(tiny, identity=1.0).model_copy(update={"identity_backbone": "short"})
    with pytest.raises(MienError, match=r"artifacts/features/short/lsd: features of some faces are missing"):
        appearance_targets(lsd.crops, lsd.places, settings, ALL)


# --- recipes ---------------------------------------------------------------------------------------------------------


def test_multitask_targets_move_with_their_faces(mini, tiny):
    made = recipe("multitask", "lsd", tiny)
    batch = batch_of(made)
    assert {name: tuple(batch[name].shape) for name in ("landmarks", "pose", "identity")} == {
        "landmarks": (8, 10),
        "pose": (8, 2),
        "identity": (8, 8),
    }
    assert isinstance(made.data, TrackData)
    rows = [made.data.places.tolist().index(p) for p in crop_rows(made.data, batch["images"])]
    for name in ("landmarks", "pose", "identity"):
        assert np.array_equal(batch[name].numpy(), made.data.extra[name][rows])


def test_networks_of_an_ensemble_see_the_same_crops(mini, tiny):
    first, second = tiny.systems["multitask"].networks
    networks = [first, second.model_copy(update={"image_pixels": 64})]
    with pytest.raises(MienError, match="see the same crops, not 32 of encoder, 64 of face_resnet pixels"):
        recipe("multitask", "lsd", changed(tiny, "multitask", networks=networks))


def test_a_target_that_nothing_knows_is_left_out_and_said(mini, tiny):
    made = recipe("multitask", "lsd", changed(tiny, "multitask", identity_backbone=None))
    parts = made.module.losses(made.prepare(batch_of(made)))
    assert float(parts["identity"].detach()) == 0 and float(parts["pose"].detach()) > 0
    assert made.without == ("the appearance target identity: it is known of no face",)
