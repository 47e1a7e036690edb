"""A command with all that it starts ends at once, whatever sessions its children opened."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.run.supervise import run_supervised

pytestmark = pytest.mark.slow

# A child that opens a session of its own, as a stage does below a flow, and a grandchild in another.
TREE = """
import subprocess, sys, time, pathlib
inner = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], "
inner += "start_new_session=True); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", inner], start_new_session=True)
time.sleep(0.5)
pathlib.Path("started").touch()
time.sleep(600)
"""
STUBBORN = "import signal, time, pathlib; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
STUBBORN += "pathlib.Path('started').touch(); time.sleep(600)"
OUTER = "import sys; from pipeline.run.supervise import run_supervised; sys.exit(run_supervised([sys.executable, '-c', "


def supervised(script: str, folder: Path, root: Path) -> subprocess.Popen:
    """A process that supervises `script`, which says that it has started."""
    command = [sys.executable, "-c", OUTER + repr(script) + "]))"]
    process = subprocess.Popen(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": str(root)}, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (folder / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return process


def below(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_the_whole_tree(tmp_path, root, number):
    process = supervised(TREE, tmp_path, root)
    time.sleep(0.5)
    tree = below(process.pid)
    assert len(tree) == 3
    started = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number and time.monotonic() - started < 10
    assert err == "stopping: what is finished is kept, the next run goes on from there\n"
    assert psutil.wait_procs(tree, timeout=5)[1] == []


def test_what_ignores_the_polite_signal_is_killed(tmp_path, root):
    process = supervised(STUBBORN, tmp_path, root)
    tree = below(process.pid)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130 and psutil.wait_procs(tree, timeout=5)[1] == []


def test_a_second_press_does_not_wait(tmp_path, root):
    process = supervised(STUBBORN, tmp_path, root)
    tree = below(process.pid)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert time.monotonic() - started < 2.9
    assert process.returncode == 130 and psutil.wait_procs(tree, timeout=5)[1] == []


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_is_the_command_s(code):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert run_supervised([sys.executable, "-c", f"raise SystemExit({code})"]) == code
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
