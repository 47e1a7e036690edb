"""Nothing of the test set, and nobody of it, among what was trained on."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.abaw.names import base_video, side
from pipeline.abaw.tracks import TRACKS
from pipeline.audit.case import Case
from pipeline.audit.check.packed import is_packed, packed_files
from pipeline.audit.claims import Claim, broken, some, unchecked, verified
from pipeline.audit.lineage import is_below
from pipeline.core.parquet import read_parquet
from pipeline.core.paths import EXTRA, FACES, LABELS, MANIFEST, MEDIA, SPLITS, TEMPLATES

AFFWILD2 = ("aff-wild2", "s-aff-wild2")  # the same recordings under the same names


def check_people(case: Case) -> Iterator[Claim]:
    """Claims by names of recordings, by rows, and by the bytes of the media."""
    about = f"track {case.track}"
    tables = {path: _table(case, path) for path in (_labels(case.track), _template(case.track), MEDIA, SPLITS)}
    missing = [path.as_posix() for path, table in tables.items() if table is None]
    if case.track not in TRACKS or missing:
        yield unchecked(about, "people", f"{some(missing) or case.track} is not here")
        return
    labels, template, media, splits = (table for table in tables.values() if table is not None)
    yield from _recordings(about, labels, template)
    yield from _rows(case, about, template)
    yield _bytes(case, about, template, media, splits)


def _labels(track: str) -> Path:
    return LABELS / f"{track}.parquet"


def _template(track: str) -> Path:
    return TEMPLATES / f"{track}.parquet"


def _table(case: Case, path: Path) -> pa.Table | None:
    """A table of the manifest as the lock knows it."""
    item = case.out(MANIFEST.as_posix())
    found = case.objects.within(item, path.relative_to(MANIFEST).as_posix()) if item else None
    return read_parquet(found) if found else None


def _videos(table: pa.Table) -> set[str]:
    return set(pc.unique(table["video"]).to_pylist())


def _recordings(about: str, labels: pa.Table, template: pa.Table) -> Iterator[Claim]:
    """Nobody on two sides. The two people of one recording may stand on two: the organisers deal them so."""
    sides = {name: _videos(labels.filter(pc.equal(labels["split"], name))) for name in ("train", "validation")}
    sides["test"] = _videos(template)
    for first, second in itertools.combinations(sides, 2):
        same, pairs = _same_people(sides[first], sides[second])
        if same:
            text = f"{some(same)}: a recording of {first} and of {second}; the same person on both sides"
            yield broken(about, "people", text)
        else:
            counts = f"{len(sides[first])} videos of {first}, {len(sides[second])} of {second}"
            beside = f"; of {some(pairs)} the one person and the other, as released" if pairs else ""
            yield verified(about, "people", f"nobody on both sides: {counts}{beside}")


def _same_people(first: set[str], second: set[str]) -> tuple[list[str], list[str]]:
    """Recordings of which both have the same person, or may have; and those of which they have two people."""
    same: list[str] = []
    pairs: list[str] = []
    for name in sorted({base_video(v) for v in first} & {base_video(v) for v in second}):
        ours, theirs = ({side(video) for video in videos if base_video(video) == name} for videos in (first, second))
        (same if ours & theirs or None in ours | theirs else pairs).append(name)
    return same, pairs


def _rows(case: Case, about: str, template: pa.Table) -> Iterator[Claim]:
    """No recording of the test list among the labelled ones of any track that the chain read."""
    kin = AFFWILD2 if TRACKS[case.track].dataset in AFFWILD2 else (TRACKS[case.track].dataset,)
    paths = dict.fromkeys(dep.path for stage in case.stages for dep in stage.deps if Path(dep.path).parent == LABELS)
    for path in paths:
        track = Path(path).stem
        table = _table(case, Path(path))
        if track not in TRACKS or TRACKS[track].dataset not in kin:
            continue
        if table is None:
            yield unchecked(about, "people", f"{path} is not here")
            continue
        wrong = _same_people(_videos(table), _videos(template))[0]
        frames = [_frame(table, name) for name in wrong]
        if wrong:
            text = f"{some(frames)}: of the test list, and among the labelled rows of {path}, which training read"
            yield broken(about, "people", text)
        else:
            yield verified(about, "people", f"{path}: none of its {len(table)} labelled rows is of a test recording")


def _frame(table: pa.Table, recording: str) -> str:
    return str(table.filter(pc.equal(table["base_video"], recording))["image"][0].as_py())


def _bytes(case: Case, about: str, template: pa.Table, media: pa.Table, splits: pa.Table) -> Claim:
    """No file of the test set among the files that were trained on, whatever their names."""
    root, files = _release(case)
    if not files:
        text = f"what {root or 'the release'} holds is not known here: compared by name only"
        return unchecked(about, "people", text)
    tests, trained = _videos(template), _trained(case, splits)
    own = [row for row in media.to_pylist() if row["dataset"] == TRACKS[case.track].dataset and row["video"] in tests]
    other = [row for row in media.to_pylist() if _is_trained(trained, row)]
    test = _files_of(own, files)
    own_paths = set(test.values())
    train = {digest: path for digest, path in _files_of(other, files).items() if path not in own_paths}
    if not test:
        return unchecked(about, "people", f"no file of the test set is among those of {root}: compared by name only")
    both = [f"{train[md5]} has the bytes of {test[md5]}" for md5 in sorted(test.keys() & train.keys())]
    if both:
        return broken(about, "people", f"{some(both)}: a test item among the training inputs")
    return verified(about, "people", f"none of {len(test)} test files has the bytes of one of {len(train)} trained on")


def _release(case: Case) -> tuple[str, dict[str, str]]:
    """The folder of the release, and a digest of each of its files by the path in it; none where they are not known."""
    root = next((p["data"]["root"] for s in case.stages for p in s.params.values() if "root" in p.get("data", {})), "")
    item = case.out(root)
    listing = case.objects.listing(item) if item and item.is_folder else None
    if listing and is_packed(listing):
        return root, packed_files(case, root, listing) or {}
    return root, listing or {}


def _trained(case: Case, splits: pa.Table) -> dict[str, set[str] | None]:
    """Videos that the chain trained on, by data set; None stands for all of them.

    Of each set that a stage behind the faces read: those of training and, of the track's own, of validation.
    """
    read = {dep.path for stage in case.stages for dep in stage.deps if is_below(dep.path, FACES.as_posix())}
    rows = splits.to_pylist()
    found: dict[str, set[str] | None] = {}
    for path in read - {FACES.as_posix()}:
        dataset = Path(path).relative_to(FACES).parts[0]
        listed = [row for row in rows if row["dataset"] == dataset]
        tests = {base_video(row["video"]) for row in listed if row["split"] == "test"}
        videos = {row["video"] for row in listed if row["split"] == "train"}
        found[dataset] = None if dataset == EXTRA else {v for v in videos if base_video(v) not in tests}
    return found


def _is_trained(trained: dict[str, set[str] | None], row: dict[str, Any]) -> bool:
    """Whether a medium is of a set and of a video that were trained on."""
    videos = trained.get(row["dataset"], set())
    return videos is None or row["video"] in videos


def _files_of(media: list[dict[str, Any]], files: dict[str, str]) -> dict[str, str]:
    """Paths of the files that media rows name, themselves or by their folder, by their digest."""
    places = {path for row in media for path in row["paths"]}
    found = {}
    for name, digest in files.items():
        parts = name.split("/")
        if any("/".join(parts[:depth]) in places for depth in range(1, len(parts) + 1)):
            found[digest] = name
    return found
