"""The check of edition 3's submissions: one text file a video, a header and a row a frame."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from pipeline.abaw import text
from pipeline.abaw.check import row_form
from pipeline.abaw.check.defect import MAX_DEFECTS, Defect, line_defects
from pipeline.abaw.names import is_video_name
from pipeline.abaw.readers import parse_template, recognise
from pipeline.abaw.tracks import TRACKS, VIDEO_HEADERS, Track
from pipeline.core.errors import MienError


def check_folder(folder: Path, template_path: Path | None, track: str | None) -> list[Defect]:
    """All defects of a folder of per-video files; `template_path` as in `check.check_file`."""
    axis = _frames_of(template_path)
    entries = sorted(folder.iterdir())
    defects = [
        Defect(0, "not a text file of a video", "only VIDEO.txt files", "remove it", entry.name)
        for entry in entries
        if entry.suffix != ".txt" or not entry.is_file()
    ]
    files = {entry.stem: entry for entry in entries if entry.suffix == ".txt" and entry.is_file()}
    if not files:
        defects.append(Defect(0, "no VIDEO.txt file", "one file a video", "write the predictions", folder.name))
    found = _common_track(files, track)
    for video, path in files.items():
        defects += [replace(d, path=path.name) for d in _video_defects(video, text.read_bytes(path), axis, found)]
    for video in sorted(set(axis or ()) - set(files)):
        defects.append(Defect(0, "the file is missing", f"predictions for {video}", "write it", f"{video}.txt"))
    return defects


def check_one(path: Path, data: bytes, template_path: Path | None, track: str | None) -> list[Defect]:
    """All defects of one per-video file."""
    found = _with_video_form(TRACKS[track]) if track else VIDEO_HEADERS[text.first_line(text.normalise(data))]
    return _video_defects(path.stem, data, _frames_of(template_path), found)


def _common_track(files: dict[str, Path], track: str | None) -> Track:
    """The given track, or that of the first recognised header."""
    if track is not None:
        return _with_video_form(TRACKS[track])
    for path in files.values():
        header = text.first_line(text.normalise(text.read_bytes(path)))
        if header in VIDEO_HEADERS:
            return VIDEO_HEADERS[header]
    raise MienError("no file begins with a per-video header. Mend: say which track with --track", exit_code=2)


def _with_video_form(track: Track) -> Track:
    if track.video_header is None:
        raise MienError(f"{track.name.upper()} has no per-video form. Mend: check the single file", exit_code=2)
    return track


def _frames_of(template_path: Path | None) -> dict[str, int | None] | None:
    """Rows of each test video; None for a video whose number a plain list of names does not tell."""
    if template_path is None:
        return None
    data = text.read_bytes(template_path)
    lines = text.normalise(data).decode("utf-8", "replace").split("\n")
    if recognise(lines[0]) is None and all(is_video_name(line.strip()) for line in lines):
        return {line.strip(): None for line in lines}
    counts = pc.value_counts(parse_template(data, template_path).videos())
    return {entry["values"]: entry["counts"] for entry in counts.to_pylist()}


def _video_defects(video: str, data: bytes, axis: dict[str, int | None] | None, track: Track) -> list[Defect]:
    assert track.video_header
    if axis is not None and video not in axis:
        return [Defect(0, f"{video} is no video of the template", "a file of each test video only", "remove it")]
    if not is_video_name(video):
        return [Defect(0, f"{video!r} is no official video name", "VIDEO.txt", "name the file after its video")]
    defects, lines = line_defects(data, b"\n", track.video_header.encode() + b"\n")
    if lines is None:
        return defects
    good = pc.match_substring_regex(lines, row_form.values_pattern(track)).to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(~good)[:MAX_DEFECTS].tolist():
        defects.append(Defect(row + 2, *row_form.value_defect(lines[row].as_py(), track)))
    wanted = axis[video] if axis is not None else None
    if wanted is not None and wanted != len(lines):
        line = min(wanted, len(lines)) + 2
        defects.append(Defect(line, f"{len(lines)} rows", f"{wanted} rows", "write one row for each frame 1..N"))
    elif not len(lines):
        defects.append(Defect(2, "no rows", "a row for each frame", "write the predictions"))
    return defects
