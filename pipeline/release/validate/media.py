"""Do images and raw videos decode, and do the containers' frame counts fit the labels?"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from pipeline.abaw.names import base_video, is_video_name
from pipeline.abaw.readers import scan_annotation
from pipeline.abaw.tracks import TRACKS
from pipeline.core.errors import MienError
from pipeline.core.files import is_image
from pipeline.release.discover import Release
from pipeline.release.files import join
from pipeline.release.validate.crop_index import CropIndex
from pipeline.release.validate.findings import Finding

MAX_PIXELS = 100_000_000
USUAL_DIFFERENCE = 3  # official rows minus the container's count lie in -6..+2, mostly 0 or +1
THREADS = 4


def decode_size(data: bytes, name: str) -> tuple[int, int]:
    """Height and width of an image that decodes completely; ValueError saying why when it does not."""
    if not data:
        raise ValueError("the file is empty")
    if not name.lower().endswith((".jpg", ".jpeg")) or not simplejpeg.is_jpeg(data):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise ValueError("not an image")
        if name.lower().endswith((".jpg", ".jpeg")):
            raise ValueError("called .jpg, but its bytes are not JPEG")
        return image.shape[:2]
    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    if height * width > MAX_PIXELS:
        raise ValueError(f"{width}x{height} pixels")
    simplejpeg.decode_jpeg(data, "GRAY", fastdct=True, strict=True)
    return height, width


def all_crops(release: Release) -> tuple[dict[str, list[Path]], ...]:
    """Crop folders by video, aligned and not."""
    return release.crops, release.unaligned_crops


def image_folders(release: Release) -> list[str]:
    """All folders that hold images of the release, sorted and distinct."""
    folders = {path.as_posix() for crops in all_crops(release) for paths in crops.values() for path in paths}
    for roots in release.mtl_images.values():
        folders |= {join(r.as_posix(), v) for r in roots for v in release.store.list(r.as_posix())[0]}
    for classes in release.lsd_classes.values():
        folders |= {path.as_posix() for paths in classes.values() for path in paths}
    folders |= {path.parent.as_posix() for path in release.unlabelled if is_image(path.name)}
    if release.lsd_test:
        folders.add(release.lsd_test.as_posix())
    return sorted(folder if folder != "." else "" for folder in folders)


def survey_images(release: Release, limit: int) -> tuple[list[Finding], tuple[int, int]]:
    """Decode all images, or every n-th where there are more than `limit`; findings, and (tried, all)."""
    names = {folder: release.image_names(folder) for folder in image_folders(release)}
    total = sum(len(found) for found in names.values())
    stride = max(1, -(-total // limit)) if limit else 0
    paths = [join(folder, name) for folder, found in names.items() for name in found][::stride] if stride else []
    with ThreadPoolExecutor(THREADS) as pool:
        results = pool.map(lambda path: _image_finding(release, path), paths, chunksize=64)
        findings = [finding for finding in results if finding]
    return findings, (len(paths), total)


def _image_finding(release: Release, path: str) -> Finding | None:
    mend = "unpack it again from the official archive"
    try:
        decode_size(release.read_bytes(path), path)
    except MienError as error:
        return Finding("rows", path, None, str(error), mend, 1)
    except (ValueError, cv2.error) as error:
        return Finding("rows", path, None, f"does not decode: {error}", mend, 1)
    return None


def survey_videos(release: Release) -> list[Finding]:
    """Open every raw video and read its first frame; compare its own frame count with the label rows."""
    findings: list[Finding] = []
    rows = _label_rows(release)
    videos = {**release.videos, **{f"ce:{name}": path for name, path in release.compounds.items()}}
    extras = {path.as_posix(): path for path in release.unlabelled if not is_image(path.name)}
    for name, path in {**videos, **extras}.items():
        count = container_frames(release.root / path)
        if count is None:
            message, mend = "the first frame does not decode", "download the video again"
            findings.append(Finding("rows", path.as_posix(), None, message, mend))
            continue
        findings += _count_findings(path.as_posix(), count, rows.get(name, {}))
    return findings


def container_frames(path: Path) -> int | None:
    """The container's own frame count; None when the first frame does not decode."""
    capture = cv2.VideoCapture(str(path))
    try:
        good = capture.isOpened() and capture.read()[0]
        return int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if good else None
    finally:
        capture.release()


def _label_rows(release: Release) -> dict[str, dict[str, int]]:
    """Rows of the annotation files of each base video, by path."""
    rows: dict[str, dict[str, int]] = {}
    for file in release.annotations:
        if base_video(file.video) in release.videos:
            values, _ = scan_annotation(release.read_bytes(file.path), TRACKS[file.track])
            rows.setdefault(base_video(file.video), {})[file.path.as_posix()] = len(values)
    return rows


def _count_findings(path: str, count: int, rows: dict[str, int]) -> Iterator[Finding]:
    for labels, number in rows.items():
        if number == count:
            continue
        message = f"{number} rows, but {path} counts {count} frames itself"
        usual = abs(number - count) <= USUAL_DIFFERENCE
        mend = (
            "none: the rows are the axis"
            if usual
            else "check that the file belongs to this video; the rows are the axis"
        )
        yield Finding("note" if usual else "labels", labels, number + 1, message, mend, abs(number - count))


def survey_names(release: Release, crops: CropIndex) -> list[Finding]:
    """Crop folders and crops whose names are not of the official grammar."""
    findings = []
    for video, folders in (pair for crops in all_crops(release) for pair in crops.items()):
        if not is_video_name(video):
            message, mend = f"{video!r} is no official video name", "name the folder after its video"
            findings.append(Finding("rows", folders[0].as_posix(), None, message, mend))
    for folder, names in sorted(crops.misnamed.items()):
        message = f"{len(names)} crops are not called like 00001.jpg, the first is {names[0]!r}"
        mend = "frames count from 1, five digits, .jpg"
        findings.append(Finding("rows", folder, None, message, mend, len(names)))
    return findings
