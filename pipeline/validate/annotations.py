"""Facts and findings of the per-video annotation files of EXPR, AU and VA."""

from collections import defaultdict
from itertools import groupby
from pathlib import Path

import numpy as np

from pipeline.abaw.names import base_video, frame_name, is_video_name
from pipeline.abaw.readers import scan_annotation
from pipeline.abaw.tracks import EXPRESSIONS, INVALID_CLASS, INVALID_VA, TRACKS
from pipeline.release.discover import AnnotationFile, Release
from pipeline.validate.crop_index import CropIndex
from pipeline.validate.findings import Finding, SplitSummary


def survey_annotations(release: Release, crops: CropIndex) -> tuple[list[SplitSummary], list[Finding]]:
    """One table row a track and split, and what is wrong in or between the files."""
    table: dict[tuple[str, str], SplitSummary] = {}
    findings: list[Finding] = []
    lengths: dict[str, dict[AnnotationFile, int]] = defaultdict(dict)
    for file in release.annotations:
        row = table.setdefault((file.track, file.split), SplitSummary(file.track, file.split, valid=0))
        values, found = _read(release, file)
        findings += found
        _count(row, file.track, values)
        lengths[file.video][file] = len(values)
        findings += _crop_findings(row, file, len(values), crops)
    findings += _split_findings(release.annotations)
    findings += _length_findings(lengths)
    return list(table.values()), findings


def _read(release: Release, file: AnnotationFile) -> tuple[np.ndarray, list[Finding]]:
    """Values of a file and the findings within it."""
    path = file.path.as_posix()
    values, problems = scan_annotation(release.read_bytes(file.path), TRACKS[file.track])
    findings = [Finding("labels", path, p.line, p.message, p.mend, len(values)) for p in problems]
    if not is_video_name(file.video):
        mend = "name the file after its video, as the official release does"
        findings.append(Finding("rows", path, None, f"{file.video!r} is no official video name", mend, len(values)))
    if not len(values) and not problems:
        findings.append(Finding("rows", path, 1, "no frames", "take the file from the official release again"))
    elif len(values) and not valid_rows(file.track, values).any():
        findings.append(Finding("note", path, None, "no frame has a valid label", "none: the video trains nothing"))
    return values, findings + _half_masked(file, values)


def valid_rows(track: str, values: np.ndarray) -> np.ndarray:
    """Which rows carry a label: no value is invalid or broken."""
    mark = INVALID_VA if track == "va" else INVALID_CLASS
    return ((values != mark) & ~np.isnan(values)).all(axis=1)


def _half_masked(file: AnnotationFile, values: np.ndarray) -> list[Finding]:
    """Rows where only some values are marked invalid; the whole row is masked."""
    if file.track == "expr" or not len(values):
        return []
    invalid = values == (INVALID_VA if file.track == "va" else INVALID_CLASS)
    half = np.flatnonzero(invalid.any(axis=1) & ~invalid.all(axis=1))
    if not len(half):
        return []
    message = f"{len(half)} rows are invalid in part, the first here; each is masked whole"
    return [Finding("note", file.path.as_posix(), int(half[0]) + 2, message, "none: this is the practice", len(half))]


def _count(row: SplitSummary, track: str, values: np.ndarray) -> None:
    valid = valid_rows(track, values)
    row.videos += 1
    row.rows += len(values)
    row.valid = (row.valid or 0) + int(valid.sum())
    if track == "expr":
        counts = np.bincount(values[valid, 0].astype(int), minlength=len(EXPRESSIONS))
    elif track == "au":
        counts = values[valid].sum(axis=0).astype(int)
    else:
        return
    row.classes = (counts if not row.classes else counts + np.array(row.classes)).tolist()


def _crop_findings(row: SplitSummary, file: AnnotationFile, frames: int, crops: CropIndex) -> list[Finding]:
    """Rows without a crop, and crops without a row."""
    if not crops:
        return []
    path = file.path.as_posix()
    missing, present = crops.missing(file.video, frames), crops.frames(file.video)
    row.without_crop = (row.without_crop or 0) + len(missing)
    findings = []
    if len(missing):
        first = int(missing[0])
        message = f"{len(missing)} of {frames} rows have no crop, the first is {file.video}/{frame_name(first)}"
        mend = "none if no face is there; else unpack cropped_aligned_new_50_vids too"
        findings.append(Finding("faces", path, first + 1, message, mend, len(missing)))
    beyond = present[present > frames]
    if len(beyond):
        message = f"{len(beyond)} crops lie behind the last row, the first is {file.video}/{frame_name(int(beyond[0]))}"
        mend = "check that labels and crops are of the same edition: rows may be missing"
        findings.append(Finding("labels", path, frames + 1, message, mend, len(beyond)))
    return findings


def _split_findings(files: list[AnnotationFile]) -> list[Finding]:
    """The same video twice in a track, or two people of one raw video on both sides of the split."""
    findings = []
    for _, group in groupby(sorted(files, key=_base), _base):
        same = list(group)
        for file, other in zip(same[1:], same, strict=False):
            if file.video == other.video:
                effect = "leak" if file.split != other.split else "labels"
                message = f"{file.video} is annotated for {file.track.upper()} in {other.path} too"
                mend = "keep one of the two: the one of your edition and split"
                findings.append(Finding(effect, file.path.as_posix(), None, message, mend))  # type: ignore[arg-type]
        findings += _halves(same)
    return findings


def _base(file: AnnotationFile) -> tuple[str, str]:
    return file.track, base_video(file.video)


def _halves(same: list[AnnotationFile]) -> list[Finding]:
    train = [file for file in same if file.split == "train"]
    other = [file for file in same if file.split == "validation"]
    if not train or not other or train[0].video == other[0].video:
        return []
    message = f"raw video {base_video(train[0].video)} is in the training split too, as {train[0].video}"
    mend = "none for the official split (two people); group own folds by the base video"
    return [Finding("leak", other[0].path.as_posix(), None, message, mend)]


def _length_findings(lengths: dict[str, dict[AnnotationFile, int]]) -> list[Finding]:
    """Tracks that disagree about how many frames a video has."""
    findings = []
    for video, files in sorted(lengths.items()):
        if len(set(files.values())) < 2:
            continue
        shortest = min(files, key=lambda file: (files[file], file))
        longest = max(files, key=lambda file: (files[file], file))
        message = f"{files[shortest]} rows, but {files[longest]} in {longest.path}: {video} has one number of frames"
        mend = "take both files from one edition; row i is frame i in each"
        rows = files[longest] - files[shortest]
        line = files[shortest] + 1
        findings.append(Finding("labels", Path(shortest.path).as_posix(), line, message, mend, rows))
    return findings
