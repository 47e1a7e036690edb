"""Appearance targets of faces: what `detect_align` and `cache_features` know of them, beside their expression."""

import cv2
import numpy as np

from pipeline.base.params import MultitaskSystem
from pipeline.base.shards import read_shards
from pipeline.crops import Crops
from pipeline.errors import MienError
from pipeline.faces.align import alignment
from pipeline.faces.pose import yaw_and_pitch
from pipeline.faces.video import decode_image
from pipeline.layout import FEATURES
from pipeline.rows import find_rows
from pipeline.scoring import Tasks, column_array


def crop_points(crops: Crops, rows: np.ndarray) -> np.ndarray:
    """Landmarks (N, 5, 2) of crops, in [-1, 1] over the crop; NaN where they are not known.

    Landmarks of a video are in its own pixels: the alignment that cut the crop takes them there.
    """
    landmarks = column_array(crops.table["landmarks"])[rows].reshape(-1, 5, 2).astype(np.float64)
    ready = ~column_array(crops.table["box"])[rows].any(axis=1)
    points = np.full_like(landmarks, np.nan)
    for number, row in enumerate(rows):
        if not np.isfinite(landmarks[number]).all() or not landmarks[number].any():
            continue
        height, width = decode_image(crops.jpeg[int(row)].as_py()).shape[:2]
        placed = landmarks[number]
        if not ready[number]:
            placed = cv2.transform(placed[None], alignment(placed, width))[0]
        points[number] = (placed + 0.5) / [width / 2, height / 2] - 1
    return points


def features_of(backbone: str, crops: Crops, rows: np.ndarray) -> np.ndarray:
    """Cached features (N, D) of crops."""
    table = read_shards(FEATURES / backbone / crops.dataset)
    places = find_rows(table, crops.table.select(["video", "frame"]).take(rows))
    if (places < 0).any():
        raise MienError(f"{FEATURES / backbone / crops.dataset}: features of some faces are missing; run `dvc repro`")
    return column_array(table["feature"])[places].astype(np.float32)


def identity_targets(features: np.ndarray, components: int) -> np.ndarray:
    """The embedding's leading principal components, whitened (N, components); all of it where it has no more."""
    if features.shape[1] <= components:
        return np.pad(features, ((0, 0), (0, components - features.shape[1])))
    if len(features) < components:
        raise MienError(
            f"params.yaml: systems.multitask.identity_components is {components}, there are {len(features)} faces"
        )
    from sklearn.decomposition import PCA  # a second of import that no other system needs

    return PCA(components, whiten=True, svd_solver="randomized", random_state=0).fit_transform(features)


def appearance_targets(crops: Crops, rows: np.ndarray, settings: MultitaskSystem) -> Tasks:
    """Each wanted target (N, size), NaN where it is not known."""
    weights = settings.appearance_weights
    targets: Tasks = {}
    if weights.landmarks or weights.pose:
        points = crop_points(crops, rows)
        targets["landmarks"] = points.reshape(len(rows), 10)
        targets["pose"] = yaw_and_pitch(points)
    if weights.identity:
        embedding = features_of(settings.identity_backbone, crops, rows)
        targets["identity"] = identity_targets(embedding, settings.identity_components)
    if weights.age or weights.sex:
        if settings.attribute_backbone is None:
            raise MienError(
                "params.yaml: systems.multitask: age and sex need attribute_backbone, features of insightface's "
                "genderage model; set their weights to 0 where there is none"
            )
        female, male, age = features_of(settings.attribute_backbone, crops, rows).T
        targets |= {"sex": (male > female)[:, None], "age": age[:, None]}
    return {name: np.asarray(values, np.float32) for name, values in targets.items() if getattr(weights, name)}
