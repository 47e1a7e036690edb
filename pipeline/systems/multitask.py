"""The multi-task ensemble for the expressions of a track. The networks: `models/multitask.py`.

Beside its expression each face has appearance targets: what `detect_align` (landmarks, pose) and `cache_features`
(identity, age, sex) know of it.
"""

import cv2
import numpy as np
from pydantic import Field

from models.multitask import Multitask
from pipeline.backbones.build import BackboneSettings
from pipeline.core.errors import MienError
from pipeline.core.graph import Needs
from pipeline.core.params import Section
from pipeline.core.parquet import column_array
from pipeline.core.paths import FEATURES
from pipeline.core.pictures import decode_image
from pipeline.faces.crops import Crops
from pipeline.faces.geometry import alignment, yaw_and_pitch
from pipeline.tables.features import Features
from pipeline.tables.join import find_rows
from pipeline.tables.scores import Tasks
from pipeline.train.fit import Job, Recipe, Train
from pipeline.train.frames import frame_recipe
from pipeline.train.start import start_backbone


class AppearanceWeights(Section):
    """Weight of each appearance target in the loss; 0 leaves it out."""

    landmarks: float = Field(ge=0)
    pose: float = Field(ge=0)
    identity: float = Field(ge=0)
    age: float = Field(ge=0)
    sex: float = Field(ge=0)


class Settings(Section):
    """`systems.multitask`.

    `identity_backbone` and `attribute_backbone` name features of cache_features: a recognition network's embedding, of
    which `identity_components` principal components are learnt, and insightface's sex and age; null: there are none.
    """

    networks: list[BackboneSettings] = Field(min_length=1)
    width: int = Field(ge=1)
    appearance_weights: AppearanceWeights
    identity_backbone: str | None
    identity_components: int = Field(ge=1)
    attribute_backbone: str | None
    train: Train


def build(settings: Settings, job: Job) -> Multitask:
    """The networks, which must agree on the size of the crops."""
    job.require_expressions_alone("multitask")
    backbones = [start_backbone(network, job) for network in settings.networks]
    if len({backbone.pixels for backbone in backbones}) > 1:
        sizes = ", ".join(f"{b.pixels} of {n.label}" for b, n in zip(backbones, settings.networks, strict=True))
        raise MienError(f"params.yaml: systems.multitask.networks see the same crops, not {sizes} pixels")
    return Multitask(
        backbones,
        width=settings.width,
        classes=len(job.track.classes),
        appearance_weights=settings.appearance_weights.model_dump(),
        identity_width=settings.identity_components,
    )


def recipe(settings: Settings, job: Job) -> Recipe:
    """Labelled faces with their appearance targets; a target of which nothing is known is left out, and said."""
    made, data = frame_recipe(build(settings, job), settings.train, job)
    data.extra = appearance_targets(data.crops, data.places, settings, job.needs)
    unknown = [name for name, values in data.extra.items() if not np.isfinite(values).all(axis=1).any()]
    made.without = tuple(f"the appearance target {name}: it is known of no face" for name in unknown)
    return made


# --- appearance targets ----------------------------------------------------------------------------------------------


def crop_points(crops: Crops, rows: np.ndarray) -> np.ndarray:
    """Landmarks (N, 5, 2) of crops, in [-1, 1] over the crop; NaN where they are not known.

    Landmarks of a video are in its own pixels: the alignment that cut the crop takes them there.
    """
    known = crops.columns(["landmarks", "box"])
    landmarks = column_array(known["landmarks"])[rows].reshape(-1, 5, 2).astype(np.float64)
    ready = ~column_array(known["box"])[rows].any(axis=1)
    points = np.full_like(landmarks, np.nan)
    for number, row in enumerate(rows):
        if not np.isfinite(landmarks[number]).all() or not landmarks[number].any():
            continue
        height, width = decode_image(crops.jpeg(int(row))).shape[:2]
        placed = landmarks[number]
        if not ready[number]:
            placed = cv2.transform(placed[None], alignment(placed, width))[0]
        points[number] = (placed + 0.5) / [width / 2, height / 2] - 1
    return points


def cached_features(backbone: str, crops: Crops, rows: np.ndarray, needs: Needs) -> np.ndarray:
    """Cached features (N, D) of crops."""
    folder = needs.check(FEATURES / backbone / crops.dataset, "systems.multitask names its features")
    features = Features(folder)
    places = find_rows(features.table, crops.table.select(["video", "frame"]).take(rows))
    if (places < 0).any():
        raise MienError(f"{folder}: features of some faces are missing; run `dvc repro`")
    return features.rows(places).astype(np.float32)


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


def appearance_targets(crops: Crops, rows: np.ndarray, settings: Settings, needs: Needs) -> Tasks:
    """Each wanted target (N, size), NaN where it is not known."""
    weights = settings.appearance_weights
    targets: Tasks = {}
    if weights.landmarks or weights.pose:
        points = crop_points(crops, rows)
        targets["landmarks"] = points.reshape(len(rows), 10)
        targets["pose"] = yaw_and_pitch(points)
    if weights.identity:
        targets["identity"] = np.full((len(rows), settings.identity_components), np.nan)
        if settings.identity_backbone is not None:
            embedding = cached_features(settings.identity_backbone, crops, rows, needs)
            targets["identity"] = identity_targets(embedding, settings.identity_components)
    if weights.age or weights.sex:
        if settings.attribute_backbone is None:
            raise MienError(
                "params.yaml: systems.multitask: age and sex need attribute_backbone, features of insightface's "
                "genderage model; set their weights to 0 where there is none"
            )
        female, male, age = cached_features(settings.attribute_backbone, crops, rows, needs).T
        targets |= {"sex": (male > female)[:, None], "age": age[:, None]}
    return {name: np.asarray(values, np.float32) for name, values in targets.items() if getattr(weights, name)}
