"""Facts and findings of the test sets: templates, lists of test videos, test images."""

from pathlib import Path

import numpy as np

from pipeline.abaw import text
from pipeline.abaw.names import base_video, frame_name, is_video_name
from pipeline.abaw.readers import Template, parse_template
from pipeline.core.errors import MienError
from pipeline.release.discover import Release
from pipeline.validate.crop_index import CropIndex
from pipeline.validate.findings import Finding, SplitSummary
from pipeline.validate.lists import absent_images, duplicate_rows

MAKE_ROOM = "take the template from the official release again"


def survey_tests(release: Release, crops: CropIndex) -> tuple[list[SplitSummary], list[Finding]]:
    """One table row a template, and what is wrong in it or between it and the rest of the release."""
    table, findings = [], []
    for track, paths in release.templates.items():
        templates = []
        for path in paths:
            try:
                templates.append((path, parse_template(release.read_bytes(path), path)))
            except MienError as error:
                findings.append(Finding("rows", path.as_posix(), 1, str(error), MAKE_ROOM))
        if templates:
            row, found = _survey(release, crops, *templates[0])
            table.append(row)
            findings += found + _other_templates(templates)
            findings += _list_findings(release, track, templates[0][1])
    findings += [
        Finding("rows", path.as_posix(), None, f"left out: {why}", _skip_mend(why)) for path, why in release.skipped
    ]
    return table, findings


def _skip_mend(why: str) -> str:
    if "header" in why:
        return "take the file from the official release again, or move it away if it belongs to another challenge"
    return "rename it after the official grammar, or move it away"


def _survey(release: Release, crops: CropIndex, path: Path, template: Template) -> tuple[SplitSummary, list[Finding]]:
    track = template.track.name
    images = template.images.to_pylist()
    videos = np.asarray(template.videos().to_pylist(), dtype=object)
    distinct = {str(video) for video in videos if video}
    row = SplitSummary(track, "test", len(distinct), len(template))
    findings = _repeats(track, path.as_posix(), images)
    if track in ("expr", "au", "va", "ce"):
        findings += _frame_sequence(path.as_posix(), template)
    if track in ("expr", "au", "va"):
        findings += _leaks(release, track, path.as_posix(), distinct)
        if crops:
            found, row.without_crop = _without_crop(path.as_posix(), videos, template.frames(), crops)
            findings += found
    else:
        absent = _absent(release, track, images)
        row.without_crop = None if absent is None else len(absent)
        if absent:
            message, line = f"{len(absent)} rows have no image, the first is {images[absent[0]]}", absent[0] + 2
            findings.append(Finding("faces", path.as_posix(), line, message, "unpack the test images", len(absent)))
    return row, findings


def _absent(release: Release, track: str, images: list[str]) -> list[int] | None:
    """Rows whose test image is not there; None where the release has no test images at all."""
    if track == "mtl":
        return absent_images(release, release.mtl_images.get("test", []), images)
    if track != "lsd" or release.lsd_test is None:
        return None
    present = set(release.image_names(release.lsd_test))
    return [row for row, image in enumerate(images) if image not in present]


def _repeats(track: str, path: str, images: list[str]) -> list[Finding]:
    repeated = duplicate_rows(images)
    if not repeated:
        return []
    message = f"{len(repeated)} duplicate rows, the first is {images[repeated[0]]}"
    if track == "mtl":
        mend = "none: the official list has them, and a submission repeats them"
        return [Finding("note", path, repeated[0] + 2, message, mend, len(repeated))]
    return [Finding("submission", path, repeated[0] + 2, message, MAKE_ROOM, len(repeated))]


def _frame_sequence(path: str, template: Template) -> list[Finding]:
    """A video's rows are one block of frames 1..N."""
    videos, frames = template.videos(), template.frames()
    codes = videos.dictionary_encode().indices.to_numpy()
    if not len(codes):
        return [Finding("submission", path, 2, "no rows", MAKE_ROOM)]
    starts = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))
    lengths = np.diff(np.append(starts, len(codes)))
    expected = np.arange(len(codes)) - np.repeat(starts, lengths) + 1
    findings = []
    wrong = np.flatnonzero(frames != expected)
    if len(wrong):
        row = int(wrong[0])
        want = f"{videos[row].as_py()}/{frame_name(int(expected[row]))}"
        message = f"{len(wrong)} rows break the sequence 1..N, here {template.images[row].as_py()} instead of {want}"
        findings.append(Finding("submission", path, row + 2, message, MAKE_ROOM, len(wrong)))
    for row in [int(start) for start in starts if not is_video_name(videos[int(start)].as_py())]:
        message = f"{videos[row].as_py()!r} is no official video name"
        findings.append(Finding("submission", path, row + 2, message, MAKE_ROOM))
    return findings


def _without_crop(path: str, videos: np.ndarray, frames: np.ndarray, crops: CropIndex) -> tuple[list[Finding], int]:
    findings, total = [], 0
    starts = np.flatnonzero(np.concatenate(([True], videos[1:] != videos[:-1]))) if len(videos) else np.array([], int)
    for start, stop in zip(starts, np.append(starts[1:], len(videos)), strict=True):
        video = str(videos[start])
        missing = np.flatnonzero(~np.isin(frames[start:stop], crops.frames(video)))
        if not len(missing):
            continue
        total += len(missing)
        first = int(frames[start + missing[0]])
        message = f"{len(missing)} of {stop - start} rows of {video} have no crop, the first is {frame_name(first)}"
        mend = "none if no face is there: such rows are filled from their neighbours"
        findings.append(Finding("faces", path, int(start + missing[0]) + 2, message, mend, len(missing)))
    return findings, total


def _leaks(release: Release, track: str, path: str, videos: set[str]) -> list[Finding]:
    """Test videos that are annotated in this track, or whose other half is."""
    known = {file.video: file for file in release.annotations if file.track == track}
    bases = {base_video(video): file for video, file in known.items()}
    findings = []
    for video in sorted(videos):
        if video in known:
            message, mend = f"test video {video} is annotated in {known[video].path}", "do not train on it"
            findings.append(Finding("leak", path, None, message, mend))
        elif base_video(video) in bases:
            message = f"test video {video} shares its raw video with {bases[base_video(video)].path}"
            findings.append(Finding("leak", path, None, message, "none for the official split (two people)"))
    return findings


def _other_templates(templates: list[tuple[Path, Template]]) -> list[Finding]:
    """Every file of a track must list the same rows; the first is the one that is filled."""
    (chosen, first), others = templates[0], templates[1:]
    findings = []
    for path, other in others:
        if not other.images.equals(first.images):
            message = f"lists other rows ({len(other)}) than {chosen} ({len(first)}), which is the one used"
            mend = "give the template of your edition with --template, or move the other away"
            findings.append(Finding("submission", path.as_posix(), None, message, mend, abs(len(other) - len(first))))
    return findings


def _list_findings(release: Release, track: str, template: Template) -> list[Finding]:
    """The list of test videos against the template's videos."""
    path = release.test_videos.get(track)
    if path is None:
        return []
    names = text.normalise(release.read_bytes(path)).decode("utf-8", "replace").split("\n")
    wanted = set(template.videos().to_pylist())
    findings = []
    for line, name in enumerate(names, start=1):
        if name.strip() not in wanted:
            message = f"{name[:60]!r} is not among the template's videos"
            findings.append(
                Finding("submission", path.as_posix(), line, message, "use list and template of one edition")
            )
    for video in sorted(wanted - {name.strip() for name in names}):
        message = f"the template's video {video} is not in the list"
        findings.append(Finding("submission", path.as_posix(), None, message, "use list and template of one edition"))
    return findings
