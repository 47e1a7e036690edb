"""The readers that are fuzzed: for each, whole files to damage, and what reads one."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from safetensors.torch import save_file

from pipeline.abaw.check.check import check_file
from pipeline.abaw.readers import parse_template, scan_annotation, scan_mtl
from pipeline.abaw.tracks import TRACKS
from pipeline.audit.locks import parse_lock
from pipeline.core.code import ROOT
from pipeline.core.errors import MienError
from pipeline.core.parquet import CROP_ROWS, read_parquet, write_parquet
from pipeline.core.pictures import UnreadableMedia, decode_image
from pipeline.core.weights import declared
from pipeline.faces.extract import FACES_SCHEMA
from pipeline.faces.media import read_frames, stated_frames
from pipeline.predict.table import Columns
from pipeline.predict.writer import RowWriter
from pipeline.release.archives import ArchiveStore
from pipeline.run.delivery import RECORD, read_record
from pipeline.settings import load_params
from pipeline.validate.images import decode_size
from pipeline.weights.read import read_stored

ROWS = 24  # of a made-up list
TOLD = (MienError, UnreadableMedia)  # what a reader may raise: one line that names the file or the reason


@dataclass(frozen=True)
class Reader:
    """`whole` makes sound files by name; `read` reads one, and may raise `told` alone."""

    whole: Callable[[], dict[str, bytes]]
    read: Callable[[Path], object]
    told: tuple[type[Exception], ...] = TOLD


def _drain(items: Iterable[object]) -> None:
    for _ in items:
        pass


# --- media -----------------------------------------------------------------------------------------------------------


def _picture() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    return Image.fromarray(cv2.resize(noise, (64, 48), interpolation=cv2.INTER_CUBIC))


KINDS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "tif": "TIFF", "avif": "AVIF", "bmp": "BMP"}
CODECS = {"mp4": ("libx264", "yuv420p"), "webm": ("libvpx-vp9", "yuv420p"), "gif": ("gif", "rgb8")}


def _pictures() -> dict[str, bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {}
    for suffix, kind in KINDS.items():
        out = io.BytesIO()
        _picture().save(out, kind, **({} if kind == "BMP" else {"exif": exif}))
        files[f"picture.{suffix}"] = out.getvalue()
    return files


def _read_picture(path: Path) -> None:
    decode_image(path.read_bytes())
    decode_size(path.read_bytes(), path.name)


def _videos() -> dict[str, bytes]:
    files = {}
    for suffix, (codec, form) in CODECS.items():
        out = io.BytesIO()
        with av.open(out, "w", format=suffix) as container:
            stream = container.add_stream(codec, rate=Fraction(25))
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = 64, 48, form
            for number in range(6):
                image = np.asarray(_picture().rotate(10 * number))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=form)))
            container.mux(stream.encode(None))
        files[f"video.{suffix}"] = out.getvalue()
    return files


def _read_video(path: Path) -> None:
    stated_frames(path)
    _drain(read_frames(path))


# --- archives --------------------------------------------------------------------------------------------------------


def _zips() -> dict[str, bytes]:
    files = {}
    for name, method in (("stored.zip", zipfile.ZIP_STORED), ("deflated.zip", zipfile.ZIP_DEFLATED)):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            for number in range(4):
                archive.writestr(f"crops/122/{number:05d}.jpg", bytes([number]) * 300)
            archive.writestr("EXPR/122.txt", "Neutral,Anger\n1\n2\n")
        files[name] = out.getvalue()
    return files


def _tars() -> dict[str, bytes]:
    files = {}
    for name, mode in (("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tar.xz", "w:xz")):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
            for number in range(4):
                member = tarfile.TarInfo(f"crops/122/{number:05d}.jpg")
                member.size = 300
                archive.addfile(member, io.BytesIO(bytes([number]) * 300))
        files[name] = out.getvalue()
    return files


def _read_archive(path: Path) -> None:
    store = ArchiveStore(path, Path("unpacked"))
    folders = [""]
    while folders:
        folder = folders.pop()
        children, files = store.list(folder)
        folders += [f"{folder}/{child}".strip("/") for child in children]
        for file in files:
            store.read(f"{folder}/{file.name}".strip("/"))


# --- official lists --------------------------------------------------------------------------------------------------


def _values(track: str, row: int) -> str:
    if track == "mtl":
        return ",".join(["0.5", "-0.25", "3", *("01"[(row + unit) % 2] for unit in range(12))])
    numbers = {"au": ",".join("01"[(row + unit) % 2] for unit in range(12)), "va": f"{row / ROWS:.3f},-0.5"}
    return numbers.get(track, str(row % 6))


def _annotations() -> dict[str, bytes]:
    files = {"mtl.txt": _list("mtl", values=True).encode()}
    for name, track in TRACKS.items():
        if track.video_header:
            lines = [track.video_header, *(_values(name, row) for row in range(ROWS))]
            files[f"{name}.txt"] = "\n".join([*lines, ""]).encode()
    return files


def _read_annotation(path: Path) -> None:
    data = path.read_bytes()
    if path.stem == "mtl":
        scan_mtl(data)
    else:
        scan_annotation(data, TRACKS[path.stem])


def _list(track: str, values: bool) -> str:
    names = [f"{row}.jpg" if track == "lsd" else f"122/{row + 1:05d}.jpg" for row in range(ROWS)]
    rows = [f"{name},{_values(track, row)}" if values else f"{name}," for row, name in enumerate(names)]
    return "\n".join([TRACKS[track].header, *rows]) + "\n"


def _templates() -> dict[str, bytes]:
    return {f"{name}.txt": _list(name, values=False).encode() for name in TRACKS}


def _submissions() -> dict[str, bytes]:
    return {f"{name}.txt": _list(name, values=True).encode() for name in TRACKS}


def _read_submission(path: Path) -> None:
    template = Path("template.txt")
    template.write_text(_list(path.stem, values=False))
    check_file(path)
    check_file(path, template)


# --- what the project keeps ------------------------------------------------------------------------------------------


def _project_file(name: str) -> Callable[[], dict[str, bytes]]:
    return lambda: {name: (ROOT / name).read_bytes()}


def _locks() -> dict[str, bytes]:
    lines = (ROOT / "dvc.lock").read_text().splitlines(keepends=True)
    end = next(number for number, line in enumerate(lines) if number > 200 and line.startswith("  ") and line[2] != " ")
    return {"dvc.lock": "".join(lines[:end]).encode()}  # some stages: the whole has thousands of lines


def _weights() -> dict[str, bytes]:
    path = Path("whole.safetensors")
    save_file({"head.weight": torch.ones(8, 16), "head.bias": torch.zeros(8), "half": torch.ones(3, 3).half()}, path)
    return {"weights.safetensors": path.read_bytes()}


def _records() -> dict[str, bytes]:
    record = {name: kind() for name, kind in RECORD.items()}
    record |= {"stage": "ingest", "started_ms": 1_700_000_000_000, "params": {"a.b": "1"}, "status": "FINISHED"}
    record |= {"metrics": [["loss", 0.5, 1, 2]], "tags": {"mien.spool_id": "x"}, "inputs": {"data/raw": "0" * 32}}
    return {"record.json": json.dumps(record).encode()}


def _shards() -> dict[str, bytes]:
    rows = {"video": ["122"] * ROWS, "frame": range(1, ROWS + 1), "image": [f"{n:05d}.jpg" for n in range(ROWS)]}
    rows |= {"found": [True] * ROWS, "score": [1.0] * ROWS, "box": [[0.0] * 4] * ROWS, "landmarks": [[1.0] * 10] * ROWS}
    write_parquet(Path("whole.parquet"), pa.table(rows | {"jpeg": [b"\xff\xd8"] * ROWS}, FACES_SCHEMA), CROP_ROWS)
    return {"shard.parquet": Path("whole.parquet").read_bytes()}


COLUMNS = Columns(("Calm", "Fear"), (), va=True)


def _tables() -> dict[str, bytes]:
    files = {}
    for suffix in (".csv", ".jsonl"):
        path = Path(f"whole{suffix}")
        path.unlink(missing_ok=True)
        writer = RowWriter(path, COLUMNS.schema())
        for name in ("a.jpg", "b, c.mp4"):
            writer.write(
                [{"source": name, "frame": frame, "face": 0, "found": True, "x1": 1.5} for frame in range(1, 9)]
            )
        files[f"table{suffix}"] = path.read_bytes()
    return files


READERS = {
    "picture": Reader(_pictures, _read_picture),
    "video": Reader(_videos, _read_video),
    "zip": Reader(_zips, _read_archive),
    "tar": Reader(_tars, _read_archive),
    "annotation": Reader(_annotations, _read_annotation),
    "template": Reader(_templates, lambda path: parse_template(path.read_bytes(), path)),
    "submission": Reader(_submissions, _read_submission),
    "params": Reader(_project_file("params.yaml"), load_params),
    "declared_weights": Reader(_project_file("weights.yaml"), declared),
    "safetensors": Reader(_weights, read_stored),
    "run_record": Reader(_records, read_record, (ValueError,)),  # whoever delivers sets the file aside
    "shard": Reader(_shards, read_parquet),
    "lock": Reader(_locks, lambda path: parse_lock({"dvc.lock": path.read_bytes()}, "here")),
    "table_to_resume": Reader(_tables, lambda path: RowWriter(path, COLUMNS.schema(), resume=True)),
}
