"""What a run leaves when a file breaks, when it is stopped, and when it cannot write."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import MienError
from pipeline.faces.media import UnreadableMedia
from pipeline.predict.command import check_places, tell_file, write_all
from pipeline.predict.media import Seen
from pipeline.predict.table import Columns, Row, RowWriter, rows_of
from tests.predict.faces import face_of

COLUMNS = Columns(("Calm", "Fear, or so"), (), va=True)
MEDIA = [Path(f"in/{name}") for name in ("a.jpg", "b.mp4", 'c "1", 2.mp4', "d.mp4")]


def predicted(path: Path) -> tuple[list[Row], str]:
    """Three rows, one without a face."""
    seen = [Seen(path, frame, frame / 3, 0, face_of(9) if frame < 3 else None) for frame in (1, 2, 3)]
    scores = {"expression": np.array([[0.25, 0.75]] * 2), "va": np.array([[0.1, -0.123456]] * 2)}
    return rows_of(seen, scores, COLUMNS), ""


def breaking(at: Path, error: BaseException) -> Callable[[Path], tuple[list[Row], str]]:
    def predict(path: Path) -> tuple[list[Row], str]:
        if path == at:
            raise error
        return predicted(path)

    return predict


def whole(folder: Path) -> bytes:
    """The table of an undisturbed run."""
    assert write_all(MEDIA, predicted, RowWriter(folder / "whole.csv", COLUMNS.schema())) == 0
    return (folder / "whole.csv").read_bytes()


def sources(path: Path) -> list[str]:
    table = pacsv.read_csv(path) if path.suffix == ".csv" else pq.read_table(path)
    return [source for source, _ in itertools.groupby(table["source"].to_pylist())]


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
@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_run_that_is_stopped_leaves_what_was_finished(tmp_path, capsys, error, name):
    with pytest.raises(type(error)):
        write_all(MEDIA, breaking(MEDIA[2], error), RowWriter(tmp_path / name, COLUMNS.schema()))
    assert sources(tmp_path / name) == ["in/a.jpg", "in/b.mp4"]
    told = capsys.readouterr().err
    assert told.startswith(f"stopped: {tmp_path / name} has 6 rows; left: in/c") and "in/d.mp4" in told
    assert ("--resume goes on" in told) == (name == "out.csv") and os.listdir(tmp_path) == [name]


def test_each_file_is_on_disk_before_the_next_is_read(tmp_path):
    target, seen = tmp_path / "out.csv", []

    def predict(path: Path) -> tuple[list[Row], str]:
        seen.append(len(target.read_text().splitlines()) if target.exists() else 0)
        return predicted(path)

    write_all(MEDIA, predict, RowWriter(target, COLUMNS.schema()))
    assert seen == [0, 4, 7, 10]


def test_resumed_from_any_byte_the_table_is_that_of_an_undisturbed_run(tmp_path, capsys):
    expected, target = whole(tmp_path), tmp_path / "out.csv"
    header = expected.index(b"\n") + 1
    for end in [*range(header, len(expected), 97), len(expected)]:
        target.write_bytes(expected[:end])
        write_all(MEDIA, predicted, RowWriter(target, COLUMNS.schema(), resume=True))
        assert target.read_bytes() == expected, end
    assert "has 3 of 4 files, going on with the next" in capsys.readouterr().out
    target.unlink()
    write_all(MEDIA, predicted, RowWriter(target, COLUMNS.schema(), resume=True))
    assert target.read_bytes() == expected


def test_a_table_of_other_columns_is_not_gone_on_with(tmp_path):
    whole(tmp_path)
    with pytest.raises(MienError, match="has other columns than these models give"):
        RowWriter(tmp_path / "whole.csv", Columns((), (), va=True).schema(), resume=True)


def test_a_run_without_rows_leaves_the_former_table(tmp_path):
    expected = whole(tmp_path)
    nothing = RowWriter(tmp_path / "whole.csv", COLUMNS.schema())
    assert write_all(MEDIA[:1], breaking(MEDIA[0], UnreadableMedia("x")), nothing) == 1
    assert (tmp_path / "whole.csv").read_bytes() == expected


@pytest.mark.parametrize(
    ("output", "overlay", "told"),
    [
        ("out.txt", None, "give a .csv or .parquet file"),
        ("folder.csv", None, "give a .csv or .parquet file"),
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
        check_places(Path("in"), Path(output), overlay and Path(overlay), resume=False)
    assert caught.value.exit_code == 2
    check_places(Path("in"), Path("new/deep/OUT.CSV"), Path("new/copies"), resume=True)
    with pytest.raises(MienError, match="is written at the end"):
        check_places(Path("in"), Path("out.parquet"), None, resume=True)


@pytest.mark.skipif(not Path("/", "proc", "self").is_dir(), reason="no /proc, where nothing can be made")
@pytest.mark.parametrize("option", ["output", "overlay"])
def test_what_may_not_be_written_is_refused(tmp_path, option):
    nowhere = Path("/", "proc", "out.csv")  # the mode bits of its folder say that root may
    output = nowhere if option == "output" else tmp_path / "out.csv"
    with pytest.raises(MienError, match=rf"--{option}: /proc may not be written; choose another"):
        check_places(Path("in"), output, nowhere.parent / "copies", resume=False)


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
    tell_file("[1/1] x", [{"frame": frame, "found": found} for frame, found in frames], "")
    assert capsys.readouterr().out == f"[1/1] x: {told}\n"
