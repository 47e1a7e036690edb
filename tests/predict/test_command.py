"""What a run leaves when a file breaks, when it is stopped, and when it cannot write."""

import io
import itertools
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.csv as pacsv
import pyarrow.json as pajson
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import MienError
from pipeline.core.pictures import UnreadableMedia
from pipeline.predict.command import Shown, predict_all, tell_file, write_all
from pipeline.predict.media import Seen
from pipeline.predict.places import Places
from pipeline.predict.table import Columns, Row, rows_of
from pipeline.predict.writer import RowWriter
from tests.predict.faces import face_of

COLUMNS = Columns(("Calm", "Fear, or so"), (), va=True)
MEDIA = [Path(f"in/{name}") for name in ("a.jpg", "b.mp4", 'c "1", 2.mp4', "d.mp4")]


def predicted(path: Path) -> tuple[Iterable[Row], str]:
    """Three rows, one without a face."""
    seen = [Seen(path, frame, frame / 3, 0, face_of(9) if frame < 3 else None) for frame in (1, 2, 3)]
    scores = {"expression": np.array([[0.25, 0.75]] * 2), "va": np.array([[0.1, -0.123456]] * 2)}
    return rows_of(seen, scores, COLUMNS), ""


def breaking(at: Path, error: BaseException) -> Callable[[Path], tuple[Iterable[Row], str]]:
    def predict(path: Path) -> tuple[Iterable[Row], str]:
        if path == at:
            raise error
        return predicted(path)

    return predict


def whole(folder: Path, suffix: str = ".csv") -> bytes:
    """The table of an undisturbed run."""
    path = (folder / "whole").with_suffix(suffix)
    assert write_all(MEDIA, predicted, RowWriter(path, COLUMNS.schema())) == 0
    return path.read_bytes()


def sources(path: Path) -> list[str]:
    readers = {".csv": pacsv.read_csv, ".jsonl": pajson.read_json, ".parquet": pq.read_table}
    return [source for source, _ in itertools.groupby(readers[path.suffix](path)["source"].to_pylist())]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UnreadableMedia("file is empty"), "file is empty"),
        (RuntimeError("[ONNXRuntimeError] : 1 : FAIL\nmore"), "RuntimeError: [ONNXRuntimeError] : 1 : FAIL"),
        (MemoryError(), "MemoryError: no reason given"),
        (PermissionError(13, "Permission denied", "in/b.mp4"), "PermissionError: Permission denied"),
    ],
)
def test_what_breaks_on_a_file_costs_that_file(tmp_path, capsys, error, reason):
    writer = RowWriter(tmp_path / "out.csv", COLUMNS.schema())
    assert write_all(MEDIA, breaking(MEDIA[1], error), writer) == 1
    assert sources(tmp_path / "out.csv") == [path.as_posix() for path in MEDIA if path != MEDIA[1]]
    assert f"[2/4] in/b.mp4: {reason}\n" == capsys.readouterr().err


def test_a_full_disk_ends_the_run(tmp_path):
    with pytest.raises(OSError, match="No space left"):
        write_all(
            MEDIA, breaking(MEDIA[1], OSError(28, "No space left")), RowWriter(tmp_path / "o.csv", COLUMNS.schema())
        )


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BrokenPipeError()])
@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_a_run_that_is_stopped_leaves_what_was_finished(tmp_path, capsys, error, name):
    with pytest.raises(type(error)):
        write_all(MEDIA, breaking(MEDIA[2], error), RowWriter(tmp_path / name, COLUMNS.schema()))
    assert sources(tmp_path / name) == ["in/a.jpg", "in/b.mp4"]
    told = capsys.readouterr().err
    assert told.startswith(f"stopped: {tmp_path / name} has 6 rows; left: in/c") and "in/d.mp4" in told
    assert ("--resume goes on" in told) == (name != "out.parquet") and os.listdir(tmp_path) == [name]


def test_each_file_is_on_disk_before_the_next_is_read(tmp_path):
    target, seen = tmp_path / "out.csv", []

    def predict(path: Path) -> tuple[Iterable[Row], str]:
        seen.append(len(target.read_text().splitlines()) if target.exists() else 0)
        return predicted(path)

    write_all(MEDIA, predict, RowWriter(target, COLUMNS.schema()))
    assert seen == [0, 4, 7, 10]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_resumed_from_any_byte_the_table_is_that_of_an_undisturbed_run(tmp_path, capsys, suffix):
    expected, target = whole(tmp_path, suffix), tmp_path / f"out{suffix}"
    header = expected.index(b"\n") + 1 if suffix == ".csv" else 0
    for end in [*range(header, len(expected), 97), len(expected)]:
        target.write_bytes(expected[:end])
        write_all(MEDIA, predicted, RowWriter(target, COLUMNS.schema(), resume=True))
        assert target.read_bytes() == expected, end
    assert "has 3 of 4 files, going on with the next" in capsys.readouterr().out
    target.unlink()
    write_all(MEDIA, predicted, RowWriter(target, COLUMNS.schema(), resume=True))
    assert target.read_bytes() == expected


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_table_of_other_columns_is_not_gone_on_with(tmp_path, suffix):
    whole(tmp_path, suffix)
    with pytest.raises(MienError, match="has other columns than these models give"):
        RowWriter(tmp_path / f"whole{suffix}", Columns((), (), va=True).schema(), resume=True)


def test_a_table_that_ends_within_a_letter_is_gone_on_with(tmp_path):
    media, target = [Path("in/a.jpg"), Path("in/ö.jpg"), Path("in/ü.jpg")], tmp_path / "out.csv"
    write_all(media, predicted, RowWriter(target, COLUMNS.schema()))
    expected = target.read_bytes()
    target.write_bytes(expected[: expected.rindex("ü".encode()) + 1])  # half of it
    write_all(media, predicted, RowWriter(target, COLUMNS.schema(), resume=True))
    assert target.read_bytes() == expected


def test_a_damaged_table_is_one_line(tmp_path):
    damaged = whole(tmp_path).replace(b'"in/a.jpg",1,', b'"in/a.jpg",one,', 1)
    (tmp_path / "whole.csv").write_bytes(damaged)
    with pytest.raises(MienError, match="is damaged and not gone on with; write to another --output"):
        RowWriter(tmp_path / "whole.csv", COLUMNS.schema(), resume=True)


def test_what_is_no_json_is_not_gone_on_with(tmp_path):
    (tmp_path / "out.jsonl").write_bytes(b"source,frame\nin/a.jpg,1\n")
    with pytest.raises(MienError, match="has other columns than these models give"):
        RowWriter(tmp_path / "out.jsonl", COLUMNS.schema(), resume=True)


def test_json_lines_have_every_column_in_order_and_null_for_what_is_missing():
    stream = io.BytesIO()
    write_all(MEDIA[:1], predicted, RowWriter(stream, COLUMNS.schema()))
    rows = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [list(row) for row in rows] == [COLUMNS.schema().names] * 3
    assert rows[0]["p_Fear, or so"] == 0.75 and rows[2]["found"] is False and rows[2]["valence"] is None
    writer = RowWriter(nothing := io.BytesIO(), COLUMNS.schema())
    writer.write([{"source": "x", "valence": float("nan")}])
    assert json.loads(nothing.getvalue())["valence"] is None  # JSON has no NaN


class Closed(io.BytesIO):
    """A pipe whose reader has gone."""

    def write(self, data: object) -> int:
        raise BrokenPipeError


def test_whoever_reads_no_further_is_told_nothing_more(capsys):
    with pytest.raises(BrokenPipeError):
        write_all(MEDIA, predicted, RowWriter(Closed(), COLUMNS.schema()))
    assert capsys.readouterr().err == ""


def test_standard_output_holds_the_rows_alone(project, portrait, capfdbinary):
    cv2.imwrite("face.png", portrait)
    assert predict_all(Path("face.png"), Places(None)) == 0
    out, err = capfdbinary.readouterr()
    (row,) = [json.loads(line) for line in out.splitlines()]
    assert row["source"] == "face.png" and row["found"] and row["expression"] == "Other"
    assert b"standard output: 1 rows" in err and b"mtl's vit" in err


def test_a_run_without_rows_leaves_the_former_table(tmp_path):
    expected = whole(tmp_path)
    nothing = RowWriter(tmp_path / "whole.csv", COLUMNS.schema())
    assert write_all(MEDIA[:1], breaking(MEDIA[0], UnreadableMedia("x")), nothing) == 1
    assert (tmp_path / "whole.csv").read_bytes() == expected


@pytest.mark.parametrize(
    ("output", "overlay", "told"),
    [
        ("out.txt", None, "give a .csv, .jsonl or .parquet file"),
        ("folder.csv", None, "give a .csv, .jsonl or .parquet file"),
        ("file/out.csv", None, "file is no folder"),
        ("out.csv", "file", "file is no folder"),
        ("out.csv", "file/below", "file is no folder"),
        ("out.csv", "in", "holds the pictures themselves"),
    ],
)
def test_places_that_cannot_be_written_are_refused_first(tmp_path, monkeypatch, output, overlay, told):
    monkeypatch.chdir(tmp_path)
    for folder in ("folder.csv", "in"):
        Path(folder).mkdir()
    Path("file").touch()
    with pytest.raises(MienError, match=told) as caught:
        Places(Path(output), overlay and Path(overlay)).check(Path("in"))
    assert caught.value.exit_code == 2
    Places(Path("new/deep/OUT.CSV"), Path("new/copies"), resume=True).check(Path("in"))
    Places(Path("new/rows.json"), json_lines=True, resume=True).check(Path("in"))
    with pytest.raises(MienError, match="is written at the end"):
        Places(Path("out.parquet"), resume=True).check(Path("in"))
    with pytest.raises(MienError, match="--resume goes on with a table on disk; name it with --output"):
        Places(None, resume=True).check(Path("in"))


@pytest.mark.skipif(not Path("/", "proc", "self").is_dir(), reason="no /proc, where nothing can be made")
@pytest.mark.parametrize("option", ["output", "overlay"])
def test_what_may_not_be_written_is_refused(tmp_path, option):
    nowhere = Path("/", "proc", "out.csv")  # the mode bits of its folder say that root may
    output = nowhere if option == "output" else tmp_path / "out.csv"
    with pytest.raises(MienError, match=rf"--{option}: /proc may not be written; choose another"):
        Places(output, nowhere.parent / "copies").check(Path("in"))


def test_a_table_that_may_not_be_written_is_refused_and_one_that_may_is_left_as_it_is(tmp_path, monkeypatch):
    table = tmp_path / "out.csv"
    table.write_bytes(b"former")
    Places(table).check(Path("in"))
    assert table.read_bytes() == b"former"
    refusing = OSError(30, "Read-only file system")  # what a mount says, whoever asks
    opened = Path.open

    def read_only(path: Path, mode: str = "r", *rest: Any) -> Any:
        if path == table and mode != "r":
            raise refusing
        return opened(path, mode, *rest)

    monkeypatch.setattr(Path, "open", read_only)
    with pytest.raises(MienError, match=r"--output .*out\.csv: may not be written; choose another"):
        Places(table).check(Path("in"))


@pytest.mark.parametrize(
    ("frames", "told"),
    [
        ([(1, True)], "1 face"),
        ([(1, True), (1, True)], "2 faces"),
        ([(1, False)], "no face"),
        ([(1, True), (2, False), (3, True)], "3 frames, 2 with a face"),
        ([(1, False), (2, False)], "2 frames, none with a face"),
    ],
)
def test_a_line_says_what_was_seen(capsys, frames, told):
    shown = Shown()
    assert len(list(shown.counted([{"frame": frame, "found": found} for frame, found in frames]))) == len(frames)
    tell_file("[1/1] x", shown, "")
    assert capsys.readouterr().out == f"[1/1] x: {told}\n"
