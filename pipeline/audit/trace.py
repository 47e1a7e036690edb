"""One row of a submission back to the frame that it came from, and its decision made anew.

What the ensemble did is done again from the members' scores that the lock names: joined, filled, weighted, smoothed,
decided, written; the whole file must come out byte for byte.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.abaw.readers import read_template
from pipeline.abaw.tracks import TRACKS
from pipeline.abaw.writer import submission_bytes
from pipeline.audit.audit import Found
from pipeline.audit.case import Case
from pipeline.audit.layout import as_locked
from pipeline.core.errors import MienError
from pipeline.core.files import file_digest
from pipeline.core.params import validated
from pipeline.core.parquet import read_parquet
from pipeline.core.paths import ENSEMBLE, FACES, MANIFEST, MEDIA, SYSTEMS, TEMPLATES
from pipeline.ensemble.fit import Ensemble, Timeline, combined_tasks
from pipeline.ensemble.members import read_members
from pipeline.tables.fitted import Fitted, read_fitted, thresholds_of
from pipeline.tables.scores import Tasks, decide

SHARD_SOURCE = {b"mien.source": "source", b"mien.source_sha256": "sha256"}


@dataclass
class Traced:
    """What is known of one row; `face` has box, landmarks, score and JPEG, and is empty where none was found."""

    image: str
    line: int
    text: str
    key: dict[str, Any]
    source: dict[str, Any]
    face: dict[str, Any]
    members: dict[str, dict[str, Any]]
    fitted: dict[str, Fitted]
    neighbours: dict[str, list[int]]
    filled: bool
    combined: dict[str, list[float]]
    recomputed: str
    same_file: bool
    twins: list[int] = field(default_factory=list)  # lines of exact duplicates of the row's image


def trace(found: Found, wanted: str) -> Traced:
    """The row `VIDEO/FRAME` (`122/37`, `122/00037.jpg`; an image's name in LSD) of a submission that was found."""
    case, track = found.case, found.case.track
    paths = [(SYSTEMS / track).as_posix(), (ENSEMBLE / track).as_posix(), MANIFEST.as_posix()]
    with as_locked(case, paths):
        axis = read_parquet(TEMPLATES / f"{track}.parquet")
        rows = _rows_of(axis, wanted)
        media = _medium(axis, rows[0], TRACKS[track].dataset)
        parts = _recompute(case, track, rows[0])
    text = found.form.data.decode().splitlines()
    row = rows[0]
    key = {name: axis[name][row].as_py() for name in ("video", "frame", "ordinal")}
    shard = _shard(case, TRACKS[track].dataset, key)
    return Traced(
        image=axis["image"][row].as_py(),
        line=row + 2,
        text=text[row + 1],
        key=key,
        source=_source(case, media, shard),
        face=_face(shard, key),
        same_file=parts.pop("data") == found.form.data,
        twins=[other + 2 for other in rows[1:]],
        **parts,
    )


def _rows_of(axis: pa.Table, wanted: str) -> list[int]:
    """Rows of an image by its name or by VIDEO/FRAME; `MienError` with what the list has of that video."""
    rows = np.flatnonzero(pc.equal(axis["image"], wanted).to_numpy())
    video, _, frame = wanted.rpartition("/")
    number = Path(frame).stem
    if not len(rows) and number.isdigit():
        mask = pc.and_(pc.equal(axis["video"], video), pc.equal(axis["frame"], int(number)))
        rows = np.flatnonzero(mask.to_numpy())
    if not len(rows):
        frames = axis.filter(pc.equal(axis["video"], video))["frame"].to_pylist()
        told = f"of {video} it has frames {min(frames)} to {max(frames)}" if frames else "nor is its video"
        raise MienError(f"{wanted}: not in the official list, {told}; give VIDEO/FRAME of a line of the file", 2)
    return [int(row) for row in rows]


def _medium(axis: pa.Table, row: int, dataset: str) -> dict[str, Any]:
    """The medium that the row's face was looked for in."""
    video = axis["video"][row].as_py()
    listed = [m for m in read_parquet(MEDIA).to_pylist() if m["dataset"] == dataset and m["video"] == video]
    return listed[0] if listed else {"kind": "none", "paths": []}


def _recompute(case: Case, track: str, row: int) -> dict[str, Any]:
    """The ensemble done again: what each member said of the row, how it was combined, and the whole file's bytes."""
    settings = validated(Ensemble, case.lock.stages[f"ensemble@{track}"].params["params.yaml"]["ensemble"], "ensemble")
    trainings = settings.trainings_of(track)
    folders = {path.name for path in (SYSTEMS / track).iterdir()}
    axis, members, present = read_members(track, trainings, "test", folders)
    _, fitted = read_fitted(ENSEMBLE / track / "fitted.json")
    scores = combined_tasks(fitted, Timeline.of(axis, track), members)
    scores = {task: values.astype(np.float32) for task, values in scores.items()}  # as the ensemble's table holds them
    return {
        "members": {
            name: {task: _told(member[task][row], fitted[task].weights[place]) for task in member}
            for place, (name, member) in enumerate(zip(trainings, members, strict=True))
        },
        "fitted": fitted,
        "neighbours": {task: _neighbours(axis, row, how.half_window_frames) for task, how in fitted.items()},
        "filled": not present[row],
        "combined": {task: values[row].astype(float).round(6).tolist() for task, values in scores.items()},
        **_written(track, decide(scores, thresholds_of(fitted)), row),
    }


def _told(scores: np.ndarray, weight: float) -> dict[str, Any]:
    return {"scores": scores.astype(float).round(6).tolist(), "weight": weight}


def _written(track: str, decided: Tasks, row: int) -> dict[str, Any]:
    """The file that the decisions make, and the row's line of it."""
    tasks = TRACKS[track].tasks
    template = read_template(TEMPLATES / f"{track}.txt")
    data = submission_bytes(template, decided if len(tasks) > 1 else decided[tasks[0]])
    return {"data": data, "recomputed": data.decode().splitlines()[row + 1]}


def _neighbours(axis: pa.Table, row: int, half_window: int) -> list[int]:
    """Frames of the row's video whose scores its own was averaged with, itself among them."""
    frames = axis.filter(pc.equal(axis["video"], axis["video"][row]))["frame"].to_numpy()
    return sorted({int(f) for f in frames[np.abs(frames - axis["frame"][row].as_py()) <= half_window]})


def _shard(case: Case, dataset: str, key: dict[str, Any]) -> Path | None:
    """The shard of faces that has the row's video; None where the bytes of none that has it are here."""
    item = case.out(FACES.as_posix())
    held = (case.objects.members(item) if item else None) or {}
    members = {path: md5 for path, md5 in held.items() if path.startswith(f"{FACES}/{dataset}/")}
    for path in sorted(members, key=lambda path: Path(path).stem != Path(key["video"]).name):
        found = case.objects.find(path, members[path])
        if found and key["video"] in pc.unique(read_parquet(found, ["video"])["video"]).to_pylist():
            return found
    return None


def _face(shard: Path | None, key: dict[str, Any]) -> dict[str, Any]:
    """Box, landmarks, score and crop of the row's frame."""
    if shard is None:
        return {}
    table = read_parquet(shard)
    mask = pc.and_(pc.equal(table["video"], key["video"]), pc.equal(table["frame"], key["frame"]))
    rows = table.filter(mask).to_pylist()
    return rows[0] if rows and rows[0]["found"] else {}


def _source(case: Case, media: dict[str, Any], shard: Path | None) -> dict[str, Any]:
    """The file that the face was cut from: its path in the release, digests, and whether these are its bytes."""
    root = case.lock.stages["ingest"].params["params.yaml"]["data"]["root"]
    told = {} if shard is None else pq.read_schema(shard).metadata or {}
    known = {name: told[key].decode() for key, name in SHARD_SOURCE.items() if key in told}
    item = case.out(root)
    listing = (case.objects.listing(item) if item else None) or {}
    files = {p: md5 for p, md5 in listing.items() if any(p == x or p.startswith(f"{x}/") for x in media["paths"])}
    facts: dict[str, Any] = {"root": root, "kind": media["kind"], "paths": list(media["paths"]), "files": len(files)}
    if len(files) == 1:
        ((path, md5),) = files.items()
        place = case.objects.find(f"{root}/{path}", md5)
        facts |= {"md5": md5, "sha256": file_digest(place) if place else None}
        facts["as_the_shard_says"] = known.get("sha256") == facts["sha256"] if place else None
    return facts
