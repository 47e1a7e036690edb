"""How a command ends: what is nobody's bug is one line, not a traceback."""

import errno
import os
import subprocess
import sys
from functools import partial

import pytest

from pipeline.core.errors import MienError
from pipeline.run.command import TOLD, _exit_code


def raising(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "No space left on device; free some space and run again"),
        (errno.EACCES, "Permission denied; give this user the right to it"),
        (errno.EROFS, "mounted read-only"),
        (errno.EMFILE, "raise the limit of open files"),
    ],
)
def test_a_full_disk_is_one_line(capsys, number, told):
    assert _exit_code(lambda: raising(OSError(number, os.strerror(number), "artifacts/x"))) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: artifacts/x: ") and told in said and said.count("\n") == 1


def test_a_library_that_is_not_installed_is_one_line_and_a_module_of_ours_a_bug(capsys):
    assert _exit_code(lambda: raising(ModuleNotFoundError("No module named 'mlflow'", name="mlflow.client"))) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: mlflow.client is not installed; `pip install 'mien[pipeline]'`")
    with pytest.raises(ModuleNotFoundError):
        _exit_code(lambda: raising(ModuleNotFoundError("No module named 'pipeline.x'", name="pipeline.x")))


def test_the_first_error_is_left_for_whoever_started_the_process(tmp_path, monkeypatch):
    """A stage's own, not that of the flow above it; where nothing can be written, the error is printed all the same."""
    monkeypatch.setenv(TOLD, str(tmp_path / "fault.txt"))
    for text in ("the stage's own", "the flow's"):
        assert _exit_code(partial(raising, MienError(text))) == 1
    assert (tmp_path / "fault.txt").read_text() == "the stage's own"
    monkeypatch.setenv(TOLD, str(tmp_path / "nowhere/fault.txt"))
    assert _exit_code(lambda: raising(MienError("x"))) == 1


def test_any_other_error_of_the_system_is_a_bug():
    with pytest.raises(IsADirectoryError):
        _exit_code(lambda: raising(IsADirectoryError(errno.EISDIR, "Is a directory", "x")))


def test_codes():
    assert _exit_code(lambda: None) == 0 and _exit_code(lambda: 3) == 3
    assert _exit_code(lambda: raising(MienError("x", exit_code=2))) == 2
    assert _exit_code(lambda: raising(KeyboardInterrupt())) == 130


def test_whoever_reads_may_stop_reading(root):
    count = "[print(n, flush=True) for n in range(100000)] and 0"
    code = f"from pipeline.run.command import run_main\nrun_main(lambda: {count})"
    run = subprocess.run(
        ["bash", "-c", f'set -o pipefail; {sys.executable} -c "$CODE" | head -1'],
        env=os.environ | {"CODE": code, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "0\n", "")
