"""Do images decode, and are crops and their folders called as the official ones are?"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.abaw.names import is_video_name
from pipeline.core.errors import MienError
from pipeline.core.pictures import JPEG_START, UnreadableMedia, decode_image
from pipeline.core.suffixes import is_image
from pipeline.release.discover import Release
from pipeline.release.files import join
from pipeline.validate.crop_index import CropIndex
from pipeline.validate.findings import Finding

THREADS = 4


def decode_size(data: bytes, name: str) -> tuple[int, int]:
    """Height and width of an image that decodes completely; `UnreadableMedia` saying why when it does not."""
    height, width = decode_image(data, "GRAY").shape
    if name.lower().endswith((".jpg", ".jpeg")) and not data.startswith(JPEG_START):
        raise UnreadableMedia("called .jpg, but its bytes are not JPEG")
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
    except UnreadableMedia as error:
        return Finding("rows", path, None, f"does not decode: {error}", mend, 1)
    return None


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
