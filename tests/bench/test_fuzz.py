"""Damaged files in small: every reader reads them or refuses them in one line, and what does not is seen."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from bench.fuzz import _answers, damaged, fuzz, read_damaged
from bench.fuzz_readers import READERS, Reader
from pipeline.core.code import ROOT
from pipeline.core.errors import MienError

INPUTS = 50


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input").mkdir()
    whole = READERS[name].whole()
    for number in range(INPUTS):
        assert read_damaged(READERS[name], whole, tmp_path / "input", f"test/{name}/{number}") == "", number


@pytest.mark.parametrize("name", READERS)
def test_the_files_that_are_damaged_are_sound(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input").mkdir()
    for file, data in READERS[name].whole().items():
        (tmp_path / "input" / file).write_bytes(data)
        READERS[name].read(tmp_path / "input" / file)


def test_damage_is_that_of_its_number_and_is_damage():
    data = bytes(range(256)) * 8 + b" 12345 "
    draws = [damaged(data, random.Random(f"x/{number}")) for number in range(200)]
    assert draws == [damaged(data, random.Random(f"x/{number}")) for number in range(200)]
    assert len(set(draws)) > 150 and sum(len(draw) < len(data) for draw in draws) > 30
    assert all(damaged(b"", random.Random(number)) is not None for number in range(50))


def test_another_exception_and_a_message_of_lines_are_faults(tmp_path):
    def fails(error: Exception) -> Reader:
        def read(path: Path) -> None:
            raise error

        return Reader(lambda: {"x": b"data"}, read)

    assert read_damaged(fails(MienError("x: is bad; mend it")), {"x": b"data"}, tmp_path, "0") == ""
    assert (
        read_damaged(fails(MienError("x:\nis bad")), {"x": b"data"}, tmp_path, "0") == "the message has several lines"
    )
    assert read_damaged(fails(KeyError("y")), {"x": b"data"}, tmp_path, "0") == "KeyError: 'y'"


@pytest.mark.slow
def test_a_process_that_dies_is_told_and_one_that_reads_is_counted(tmp_path):
    assert _answers("no reader", 0, 3, 0, tmp_path) == [(0.0, "the process ended with 1")]
    tally = fuzz("template", 5, 20, 0)
    assert tally.inputs == 20 and tally.failures == [] and 0 < tally.slowest < 20


@pytest.mark.slow
def test_a_write_outside_the_folder_is_seen(tmp_path):
    code = """
import os
from pathlib import Path
from bench.fuzz import _watch_writes
outside = _watch_writes(Path.cwd())
Path("in").write_text("x"); Path("in").read_text(); open(os.devnull, "w").close(); os.mkdir("deep")
assert not outside, outside
for act in (lambda: open("../out", "w"), lambda: os.mkdir("../folder"), lambda: os.remove("../out")):
    act()
print(len(outside))
"""
    (tmp_path / "work").mkdir()
    command, environment = [sys.executable, "-c", code], {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, cwd=tmp_path / "work", env=environment, capture_output=True, text=True)
    assert run.stdout == "3\n", run.stderr
