"""Face extraction of one media item: the shard function that worker processes run.

Every frame of the official list gets a row, with a face or without. The result is keyed by the source's bytes, the
params, the code and the detector's weights, so a shard is made once.
"""

import functools
import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg

from pipeline.abaw.names import frame_number
from pipeline.core.errors import MienError
from pipeline.core.parquet import CROP_ROWS, write_parquet
from pipeline.core.pictures import UnreadableMedia, decode_image
from pipeline.core.suffixes import is_image
from pipeline.core.workstore import is_sealed, seal, stored, work_key
from pipeline.faces.detections import Detections, Detector
from pipeline.faces.detector import DetectAlign, load_detector
from pipeline.faces.follow import Follower, SideFollower
from pipeline.faces.geometry import align
from pipeline.faces.keyframes import KeyframeDetector
from pipeline.faces.media import Frame, read_frames, stated_frames
from pipeline.release.files import LooseStore, Store, join
from pipeline.release.pack import INDEX, PackStore, is_pack
from pipeline.tables.manifest import MediaItem

FACES_SCHEMA = pa.schema(
    [
        ("video", pa.string()),
        ("frame", pa.int32()),
        ("image", pa.string()),
        ("found", pa.bool_()),
        ("score", pa.float32()),
        ("box", pa.list_(pa.float32(), 4)),
        ("landmarks", pa.list_(pa.float32(), 10)),
        ("jpeg", pa.binary()),
    ]
)
FAILURES_SCHEMA = pa.schema(
    [
        ("dataset", pa.string()),
        ("video", pa.string()),
        ("frame", pa.int32()),
        ("source", pa.string()),
        ("reason", pa.string()),
        ("whole", pa.bool_()),
    ]
)
NO_MATTER = {"max_failed_fraction", "source"}  # what a shard is made of stands in its item
SHORT_BY_FRAMES = 3  # official lists and containers disagree by up to three frames in healthy videos


@dataclass(frozen=True)
class Face:
    """One found face: crop as JPEG; box and landmarks in source pixels.

    Crops taken as they are have a box of zeros, and landmarks in the crop's pixels, zeros where none were looked for.
    """

    jpeg: bytes
    score: float
    box: np.ndarray
    landmarks: np.ndarray


@dataclass(frozen=True)
class Failure:
    """A file, or a part of it, that gave no frames or more than its list has, and why.

    `whole` tells that nothing of the item could be read.
    """

    dataset: str
    video: str
    frame: int
    source: str
    reason: str
    whole: bool


@dataclass(frozen=True)
class Extracted:
    """Result of one item: the shard in the work store, its rows, found faces and failures."""

    item: MediaItem
    path: Path
    rows: int
    found: int
    failures: tuple[Failure, ...]
    reused: bool


@functools.lru_cache(maxsize=1)
def _detector(params: DetectAlign) -> Detector:
    """One detector a process: loading it costs more than a frame."""
    cv2.setNumThreads(1)
    return load_detector(params)


def cut_face(frame: np.ndarray, faces: Detections, index: int, params: DetectAlign) -> Face:
    """Align and encode one detected face."""
    crop = align(frame, faces.landmarks[index], params.crop_pixels)
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(crop), quality=params.jpeg_quality, colorspace="BGR")
    return Face(jpeg, float(faces.scores[index]), faces.boxes[index], faces.landmarks[index])


def _video_faces(
    path: Path, sides: list[str], params: DetectAlign, detector: Detector
) -> Iterator[tuple[Frame, dict[str, Face | None]]]:
    """Each frame with the face of each side ("" for a video of one person); none where it could not be decoded."""
    follower: Follower | SideFollower | None = None
    keyframes = KeyframeDetector(detector, params.every)
    for frame in read_frames(path):
        image = frame.image
        if image is None:
            yield frame, dict.fromkeys(sides)
            continue
        if follower is None:
            gap = params.max_gap_frames
            follower = Follower(gap) if sides == [""] else SideFollower(image.shape[1], gap)
        faces = keyframes.detect(frame.number, image, follower.followed)
        chosen = {"": follower.choose(faces)} if isinstance(follower, Follower) else follower.choose(faces)
        found = {side: None if (i := chosen[side]) is None else cut_face(image, faces, i, params) for side in sides}
        yield frame, found


def _extract_video(
    items: list[MediaItem], root: Path, params: DetectAlign
) -> dict[MediaItem, tuple[dict[int, Face | None], list[Failure]]]:
    """One pass over a raw video for all the people it shows."""
    source = items[0].paths[0] if items[0].paths else ""
    by_side: dict[str, dict[int, Face | None]] = {item.side: {} for item in items}
    reason = "" if source else "no raw video and no crops of this name"
    lost: list[int] = []
    stated = 0
    try:
        if source:
            for frame, faces in _video_faces(root / source, list(by_side), params, _detector(params)):
                lost += [frame.number] if frame.image is None else []
                for side, face in faces.items():
                    by_side[side][frame.number] = face
            stated = stated_frames(root / source)
    except UnreadableMedia as error:
        reason = str(error)
    if not reason and not any(by_side.values()):
        reason = "no frame could be decoded"
    result = {}
    for item in items:
        rows = by_side[item.side]
        losses = [(0, reason)] if reason else list(_losses(len(rows), lost, stated, item.frames))
        failures = [Failure(item.dataset, item.video, first, source, why, bool(reason)) for first, why in losses]
        for number in range(1, item.frames + 1):
            rows.setdefault(number, None)
        result[item] = rows, failures
    return result


def _losses(decoded: int, lost: list[int], stated: int, listed: int) -> Iterator[tuple[int, str]]:
    """What is missing of a video, or too much, each with its first frame: frames in it, its end, what its list has."""
    if lost:
        yield lost[0], f"{len(lost)} of {decoded} frames could not be decoded"
    if decoded < max(stated, listed) - SHORT_BY_FRAMES:
        owner = "the container states" if stated >= listed else "the official list has"
        yield decoded + 1, f"{decoded} frames decoded, {owner} {max(stated, listed)}"
    if listed and decoded > listed + SHORT_BY_FRAMES:
        yield listed + 1, f"{decoded} frames decoded, {decoded - listed} more than the official list has; all are kept"


def _stamp(path: Path) -> int:
    """When a file or folder was last changed; 0 where there is none."""
    return path.stat().st_mtime_ns if path.exists() else 0


def _release(root: Path) -> Store:
    """The release at `root`, opened once for all items that a process works on."""
    return _opened(root, root.resolve(), _stamp(root / INDEX))


@functools.lru_cache(maxsize=1)
def _opened(root: Path, place: Path, stamp: int) -> Store:
    return PackStore(root) if is_pack(root) else LooseStore(root)


def _image_names(root: Path, folder: str) -> pa.StringArray:
    """Names of a folder's images in order, listed once for all its items: a pool has millions."""
    return _listed(root, folder, (root / folder).resolve(), _stamp(root / folder), _stamp(root / INDEX))


@functools.lru_cache(maxsize=1)
def _listed(root: Path, folder: str, place: Path, changed: int, packed: int) -> pa.StringArray:
    files = _release(root).list(folder)[1]
    return pa.array([file.name for file in files if is_image(file.name)], pa.string())


def _listed_images(item: MediaItem, root: Path, store: Store) -> list[tuple[int, str]]:
    """(frame, path) of the images of a folder item."""
    if item.kind == "crops":
        found: dict[int, str] = {}
        for folder in item.paths:
            for file in store.list(folder)[1]:
                if (number := frame_number(file.name)) is not None:
                    found.setdefault(number, f"{folder}/{file.name}")
        return sorted(found.items())
    (folder,) = item.paths
    chosen = _image_names(root, folder).slice(item.first, item.count).to_pylist()
    return [(item.first + rank, join(folder, name)) for rank, name in enumerate(chosen, 1)]


def _picture_face(data: bytes, params: DetectAlign) -> Face | None:
    """The largest face of a whole picture."""
    picture = decode_image(data)
    faces = _detector(params).detect(picture)
    largest = Follower(0).choose(faces)
    return None if largest is None else cut_face(picture, faces, largest, params)


def _crop_face(data: bytes, params: DetectAlign, landmarks: bool) -> Face:
    """A crop of the organisers, byte for byte; its landmarks where they are asked for."""
    crop = decode_image(data)
    points = crop_landmarks(crop, _detector(params)) if landmarks else np.zeros((5, 2), np.float32)
    return Face(data, 1.0, np.zeros(4, np.float32), points)


def crop_landmarks(crop: np.ndarray, detector: Detector) -> np.ndarray:
    """Landmarks (5, 2) in pixels of a ready crop (H, W, 3), NaN where no face is found.

    The crop is widened by a quarter: detectors expect some room around a face.
    """
    margin = crop.shape[0] // 4
    faces = detector.detect(cv2.copyMakeBorder(crop, margin, margin, margin, margin, cv2.BORDER_REPLICATE))
    if not len(faces):
        return np.full((5, 2), np.nan, np.float32)
    return faces.landmarks[int(faces.scores.argmax())] - margin


def _extract_images(
    item: MediaItem, images: list[tuple[int, str]], store: Store, params: DetectAlign
) -> tuple[dict[int, Face | None], dict[int, str], list[Failure]]:
    rows: dict[int, Face | None] = {}
    failures = []
    for frame, path in images:
        try:
            data = store.read(path)
            if item.kind == "pictures":
                rows[frame] = _picture_face(data, params)
            else:
                rows[frame] = _crop_face(data, params, item.dataset in params.crop_landmarks)
        except (UnreadableMedia, MienError) as error:
            rows[frame] = None
            failures.append(Failure(item.dataset, item.video, frame, path, str(error), False))
    names = {frame: path.rpartition("/")[2] for frame, path in images}
    if item.kind == "crops":
        for frame in range(1, item.frames + 1):
            rows.setdefault(frame, None)
    if not images:
        failures.append(Failure(item.dataset, item.video, 0, ",".join(item.paths), "no crops of this name", True))
    return rows, names, failures


def _faces_table(item: MediaItem, rows: dict[int, Face | None], names: dict[int, str]) -> pa.Table:
    frames = sorted(rows)
    faces = [rows[frame] for frame in frames]
    columns = {
        "video": [item.video] * len(frames),
        "frame": frames,
        "image": [names.get(frame, f"{frame:05d}.jpg") for frame in frames],
        "found": [face is not None for face in faces],
        "score": [face and face.score for face in faces],
        # NaN, not null: Parquet cannot give back fixed-size lists with nulls
        "box": [face.box if face else np.full(4, np.nan) for face in faces],
        "landmarks": [face.landmarks.reshape(-1) if face else np.full(10, np.nan) for face in faces],
        "jpeg": [face and face.jpeg for face in faces],
    }
    return pa.table(columns, schema=FACES_SCHEMA)


def _source_digest(item: MediaItem, root: Path, store: Store, images: list[tuple[int, str]]) -> str:
    """sha256 over the source's bytes (and names, for folders)."""
    digest = hashlib.sha256()
    if item.kind == "video":
        if item.paths and (root / item.paths[0]).is_file():
            with (root / item.paths[0]).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        return "missing"
    for frame, path in images:
        digest.update(f"{frame}\0{path}\0".encode() + hashlib.sha256(store.read(path)).digest())
    return digest.hexdigest()


def extract(
    items: list[MediaItem], root: Path, params: DetectAlign, stage: str, code: str, weights: str
) -> list[Extracted]:
    """Make, or find in the work store, the shards of one source.

    `items` share a source: one item, or the `_left` and `_right` people of one raw video. Failures are recorded in the
    shards' metadata, so that a shard found again still tells them.
    """
    store = _release(root)
    images = {item: _listed_images(item, root, store) if item.kind != "video" else [] for item in items}
    source = {item: _source_digest(item, root, store, images[item]) for item in items}
    paths = {
        item: stored(
            stage,
            work_key(
                item=item,
                source=source[item],
                params=params.model_dump(exclude=NO_MATTER),
                code=code,
                weights=weights,
            ),
            ".parquet",
        )
        for item in items
    }
    reused = all([is_sealed(path) for path in paths.values()])  # a list: every bad one is dropped
    if not reused:
        _make(items, root, store, images, params, paths, source)
    return [_described(item, paths[item], reused) for item in items]


def extract_some(item: MediaItem, root: Path, params: DetectAlign, limit: int) -> list[Face | None]:
    """The faces of an item's first frames, found as they will be and kept nowhere: to time it by."""
    if item.kind == "video":
        frames = _video_faces(root / item.paths[0], [item.side], params, _detector(params))
        return [faces[item.side] for _, faces in itertools.islice(frames, limit)]
    store = _release(root)
    images = _listed_images(item, root, store)[:limit]
    rows, _, _ = _extract_images(item, images, store, params)
    return [rows[frame] for frame, _ in images]


def _make(
    items: list[MediaItem],
    root: Path,
    store: Store,
    images: dict[MediaItem, list[tuple[int, str]]],
    params: DetectAlign,
    paths: dict[MediaItem, Path],
    source: dict[MediaItem, str],
) -> None:
    if items[0].kind == "video":
        made: dict[MediaItem, tuple[dict[int, Face | None], dict[int, str], list[Failure]]]
        made = {i: (rows, {}, failed) for i, (rows, failed) in _extract_video(items, root, params).items()}
    else:
        made = {i: _extract_images(i, images[i], store, params) for i in items}
    for item, (rows, names, failures) in made.items():
        metadata = {
            "mien.source": ",".join(item.paths),
            "mien.source_sha256": source[item],
            "mien.params": params.model_dump_json(exclude=NO_MATTER),
            "mien.failures": json.dumps([asdict(failure) for failure in failures]),
        }
        write_parquet(paths[item], _faces_table(item, rows, names), CROP_ROWS, metadata)
        seal(paths[item])


def _described(item: MediaItem, path: Path, reused: bool) -> Extracted:
    file = pq.ParquetFile(path)
    failures = json.loads((file.metadata.metadata or {})[b"mien.failures"])
    found = pq.read_table(path, columns=["found"])["found"].to_numpy().sum()
    return Extracted(item, path, file.metadata.num_rows, int(found), tuple(Failure(**f) for f in failures), reused)


# --- the items of a release ------------------------------------------------------------------------------------------


def by_source(items: list[MediaItem]) -> list[list[MediaItem]]:
    """Group the people of one raw video, so that it is decoded once; everything else stands alone."""

    def key(item: MediaItem) -> tuple:
        shared = item.kind == "video" and item.side
        # -1: a recording may be annotated under its plain name as well as under a side's
        return (item.dataset, item.base_video, -1) if shared else (item.dataset, item.video, item.first)

    return [sorted(group) for _, group in itertools.groupby(sorted(items, key=key), key)]


def shard_name(item: MediaItem) -> str:
    """Path of an item's shard below the faces folder; ranges of a folder are numbered by their first picture."""
    part = "" if item.count in (0, item.frames) else f".{item.first:07d}"
    return f"{item.dataset}/{item.video}{part}.parquet"


def check_bound(shards: list[Extracted], failures: list[Failure], bound: float) -> None:
    """Fail when more of the media than `bound` gave nothing; single unreadable pictures count as their share."""
    lost = sum(1.0 if f.whole else 1 / max(1, _rows(shards, f)) for f in failures)
    fraction = lost / max(1, len(shards))
    if fraction > bound:
        first = failures[0]
        raise MienError(
            f"{fraction:.1%} of the media could not be read (bound {bound:.1%}), first {first.source or first.video}: "
            f"{first.reason}; mend the files or raise detect_align.max_failed_fraction in params.yaml"
        )


def _rows(shards: list[Extracted], failure: Failure) -> int:
    return sum(s.rows for s in shards if (s.item.dataset, s.item.video) == (failure.dataset, failure.video))
