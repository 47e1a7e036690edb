"""Do raw videos decode, and do their frames fit the labels?"""

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.abaw.names import base_video
from pipeline.abaw.readers import scan_annotation
from pipeline.abaw.tracks import TRACKS
from pipeline.core.pictures import UnreadableMedia
from pipeline.core.suffixes import is_image
from pipeline.faces.media import read_frames, stated_frames
from pipeline.release.discover import Release
from pipeline.validate.findings import Finding

USUAL_DIFFERENCE = 3  # official rows minus the container's count lie in -6..+2, mostly 0 or +1
THREADS = 4  # FFmpeg decodes without the GIL


def survey_videos(release: Release) -> list[Finding]:
    """Read every raw video to the first frame that decodes, and compare its frames with the label rows."""
    rows = _label_rows(release)
    videos = {**release.videos, **{f"ce:{name}": path for name, path in release.compounds.items()}}
    videos |= {path.as_posix(): path for path in release.unlabelled if not is_image(path.name)}
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(lambda name: _video_findings(release.root, videos[name], rows.get(name, {})), videos)
        return [finding for findings in found for finding in findings]


def why_undecodable(path: Path) -> str:
    """Why no frame of a video decodes; "" where one does."""
    try:
        next(frame for frame in read_frames(path) if frame.image is not None)
    except UnreadableMedia as error:
        return str(error)
    return ""


def _video_findings(root: Path, path: Path, rows: Mapping[str, int]) -> list[Finding]:
    """What is wrong with a video; `rows` are the rows of each of its label files."""
    if why := why_undecodable(root / path):
        return [Finding("rows", path.as_posix(), None, f"does not decode: {why}", "download the video again")]
    return list(_count_findings(path.as_posix(), _frames(root / path, rows.values()), rows))


def _frames(path: Path, expected: Collection[int]) -> int:
    """The container's own count of frames, or that of the frames read where the labels count otherwise.

    WebM and Matroska state none, and edit lists make MP4 state too many: what the pipeline reads is the truth, at the
    price of decoding the video.
    """
    stated = stated_frames(path)
    if all(abs(number - stated) <= USUAL_DIFFERENCE for number in expected):
        return stated
    return sum(1 for _ in read_frames(path))


def _label_rows(release: Release) -> dict[str, dict[str, int]]:
    """Rows of the annotation files of each base video, by path."""
    rows: dict[str, dict[str, int]] = {}
    for file in release.annotations:
        if base_video(file.video) in release.videos:
            values, _ = scan_annotation(release.read_bytes(file.path), TRACKS[file.track])
            rows.setdefault(base_video(file.video), {})[file.path.as_posix()] = len(values)
    return rows


def _count_findings(path: str, count: int, rows: Mapping[str, int]) -> Iterator[Finding]:
    for labels, number in rows.items():
        if number == count:
            continue
        message = f"{number} rows, but {path} has {count} frames"
        usual = abs(number - count) <= USUAL_DIFFERENCE
        mend = (
            "none: the rows are the axis"
            if usual
            else "check that the file belongs to this video; the rows are the axis"
        )
        yield Finding("note" if usual else "labels", labels, number + 1, message, mend, abs(number - count))
