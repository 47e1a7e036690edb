"""A miniature release: faces, labels, features and weights, of which any system can be made."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import simplejpeg
import torch
from insightface.utils.face_align import arcface_dst
from torch import Tensor, nn

from bench.jobs import EVERYTHING, build_system
from models.system import Batch
from models.vit import build_vit
from pipeline.abaw.tracks import TRACKS, TRAINED_TRACKS
from pipeline.backbones.encoder import save_encoder
from pipeline.core.graph import Needs
from pipeline.core.parquet import write_parquet
from pipeline.core.paths import ENCODER, FACES, FEATURES, LABELS, PSEUDO, SYSTEMS, TEMPLATES
from pipeline.core.tensors import save_tensors
from pipeline.faces.crops import Crops
from pipeline.faces.extract import FACES_SCHEMA
from pipeline.settings import Params
from pipeline.systems.teacher import pseudo_table
from pipeline.tables.manifest import LABEL_TYPES
from pipeline.train.data import TrackData

AU_SPLITS = {"train": {"a": 8, "b": 9}, "validation": {"v": 6}, "test": {"t": 4}}
LSD_SPLITS = {"train": {"lsd/ANGRY": 8, "lsd/SAD": 9}, "validation": {"real/SAD": 6}, "test": {"lsd_test": 4}}
LOST = ("a", 3), ("v", 2), ("t", 1)  # frames without a face
INVALID = "a", 5  # a training frame without any valid label
TEMPLATE = arcface_dst.astype(np.float64)  # where landmarks lie in an aligned crop of 112 pixels
ALL = Needs("graph.trainings.x", EVERYTHING)


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
            classes = len(TRACKS[track].classes)
            table |= {task: labels_of(task, classes, [key[1:] for key in keys]) for task in TRACKS[track].tasks}
        write_parquet(root / path / f"{track}.parquet", pa.table(table))


def feature_table(faces: pa.Table, features: np.ndarray) -> pa.Table:
    flat = pa.array(features.astype(np.float16).reshape(-1))
    lists = pa.FixedSizeListArray.from_arrays(flat, features.shape[1])
    return pa.table({"video": faces["video"], "frame": faces["frame"], "feature": lists})


def write_teacher(root: Path, dataset: str, sure: Callable[[int], bool], folder: str = "") -> Path:
    """AU pseudo-labels: unit u of face i is (i + u) % 2 where the teacher is sure."""
    faces = Crops(dataset, root / FACES).table
    answers = [[(i + u) % 2 if sure(i) else -1 for u in range(12)] for i in range(len(faces))]
    table = pseudo_table(faces, "aus", np.array(answers), np.ones((len(faces), 12)))
    path = PSEUDO / "au" / folder / f"{dataset}.parquet"
    write_parquet(root / path, table)
    return path


def make_mini(root: Path, tiny: Params) -> Path:
    """Faces, labels, encoder, features, pseudo-labels and DAN weights of a miniature release."""
    for dataset, splits in {"aff-wild2": AU_SPLITS, "s-aff-wild2": AU_SPLITS, "lsd": LSD_SPLITS}.items():
        write_faces(root, dataset, {video: n for videos in splits.values() for video, n in videos.items()})
    write_faces(root, "extra", {"pool": 10})
    for track in TRAINED_TRACKS:
        write_axes(root, track, LSD_SPLITS if track == "lsd" else AU_SPLITS)
    trained = [(f"vit-{track}", TRACKS[track].dataset) for track in TRAINED_TRACKS if track != "lsd"]
    for backbone, dataset in [("mae", "lsd"), ("mae", "aff-wild2"), *trained]:
        faces = Crops(dataset, root / FACES).table
        features = np.random.default_rng(0).normal(size=(len(faces), 12))
        write_parquet(root / FEATURES / backbone / dataset / "all.parquet", feature_table(faces, features))
    write_teacher(root, "extra", lambda number: number != 4)
    write_teacher(root, "lsd", lambda number: number % 5 != 2)
    torch.manual_seed(0)
    save_encoder(root / ENCODER, build_vit(**tiny.vit.model_dump()), tiny.vit, ["lsd"])
    dan = build_system("dan", "lsd", tiny, pretrained=False)
    save_tensors(root / SYSTEMS / "lsd/dan/weights.safetensors", dan.state_dict())
    return root


def changed(tiny: Params, system: str, **fields: Any) -> Params:
    """Params with fields of one system replaced."""
    settings = tiny.systems[system].model_copy(update=fields)
    return tiny.model_copy(update={"systems": tiny.systems | {system: settings}})


def levels(images: Tensor) -> list[int]:
    """Which crop each image is."""
    return [round(float(image.float().mean()) / 5) for image in images]


def declare(path: Path) -> Path:
    """Declare a file of the workspace in weights.yaml."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = f"{{source: s, sha256: '{digest}', licence: MIT, trained_on: [x], label_types: [y]}}"
    Path("weights.yaml").write_text(f"{path.name}: {entry}\n")
    return path


def weights_of(module: nn.Module, **more: Tensor) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()} | more


def batch_of(made: Any, seed: int = 0, step: int = 0) -> Batch:
    return made.batches(np.random.default_rng(seed), step)


def crop_rows(data: TrackData, images: Tensor) -> list[int]:
    """The row of `data.crops` of each image, by its level: crop i of a data set is of level i before faces are lost."""
    shown = [round(float(data.crops.images(np.array([row]), 8).mean()) / 5) for row in range(len(data.crops))]
    assert len(set(shown)) == len(shown)
    return [shown.index(level) for level in levels(images)]
