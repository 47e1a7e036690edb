"""Stages that a process with the libraries loaded runs, in forks of itself."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.run import warm

pytestmark = pytest.mark.skipif(not warm.can_warm(), reason="only Linux tells of a process's end by a descriptor")

TELL = (
    "import os, sys\n"
    "print(os.getpid(), os.getppid(), 'torch' in sys.modules, *sys.argv[1:], os.environ['SAID'], sys.stdin.read())\n"
)
EXIT = "import sys\nprint('told', file=sys.stderr)\nsys.exit(int(sys.argv[1]))\n"
KILL = "import os, sys\nos.kill(os.getpid(), int(sys.argv[1]))\n"
BREAK = "raise ValueError('broken')\n"
LAST = "import os, time, pathlib\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(600)\n"


@pytest.fixture(scope="module")
def project(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with stages of our own, started as ours are."""
    folder = tmp_path_factory.mktemp("warm")
    (folder / "stages").mkdir()
    shutil.copy(root / "stages" / "__init__.py", folder / "stages")
    for name, script in {"tell": TELL, "exit": EXIT, "kill": KILL, "break": BREAK, "last": LAST}.items():
        (folder / "stages" / f"{name}.py").write_text(script)
    return folder


@pytest.fixture(scope="module")
def environment(root: Path) -> dict[str, str]:
    """Of the warm process and of what it runs."""
    return {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "SAID": "hello"}


@pytest.fixture(scope="module")
def server(project: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen]:
    """A warm process over the project."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        for name, value in environment.items():
            patch.setenv(name, value)
        with warm.warm_start():
            children = psutil.Process().children()
            found = next(child for child in children if "pipeline.run.warm" in child.cmdline())
            environment[warm.ADDRESS] = os.environ[warm.ADDRESS]
            _listening()
            yield found


def run(project: Path, environment: dict[str, str], *command: str, **further: str) -> subprocess.CompletedProcess:
    """`python -m stages.X`, with its output."""
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=project,
        env=environment | further,
        input="asked",
        capture_output=True,
        text=True,
        timeout=100,
    )


def told(done: subprocess.CompletedProcess) -> tuple[int, int, list[str]]:
    """The process of the stage, its parent, and what it saw."""
    assert done.returncode == 0, done.stderr
    own, parent, *rest = done.stdout.split()
    return int(own), int(parent), rest


def test_a_stage_is_run_by_a_fork(project, environment, server):
    first, second = (run(project, environment, "stages.tell", "one", "two") for _ in range(2))
    for done in (first, second):
        _, parent, seen = told(done)
        assert (parent, seen) == (server.pid, ["True", "one", "two", "hello", "asked"])
    assert told(first)[0] != told(second)[0]


@pytest.mark.parametrize("code", [0, 3])
def test_its_exit_code_and_its_errors_are_handed_on(project, environment, server, code):
    done = run(project, environment, "stages.exit", str(code))
    assert (done.returncode, done.stderr) == (code, "told\n")


def test_an_exception_is_told_and_fails(project, environment, server):
    done = run(project, environment, "stages.break")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ValueError: broken"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_signal_that_ends_the_stage_ends_who_handed_it_over(project, environment, server, number):
    assert run(project, environment, "stages.kill", str(int(number))).returncode == -number


def test_the_stage_ends_with_who_handed_it_over(project, environment, server):
    asker = subprocess.Popen([sys.executable, "-m", "stages.last"], cwd=project, env=environment)
    stage = psutil.Process(int(_appearing(project / "pid")))
    assert stage.ppid() == server.pid
    asker.kill()
    assert not psutil.wait_procs([stage], timeout=20)[1]


def test_an_edited_stage_is_read_anew(project, environment, server):
    (project / "stages" / "edited.py").write_text("print('before')\n")
    assert run(project, environment, "stages.edited").stdout == "before\n"
    (project / "stages" / "edited.py").write_text("print('and after')\n")
    assert run(project, environment, "stages.edited").stdout == "and after\n"


def test_where_the_libraries_would_have_read_something_else_a_stage_runs_itself(project, environment, server):
    own, parent, seen = told(run(project, environment, "stages.tell", OMP_NUM_THREADS="2"))
    assert own != server.pid
    assert (parent, seen[0]) == (os.getpid(), "False")


def test_without_a_warm_process_a_stage_runs_itself(project, environment):
    _, parent, seen = told(run(project, environment, "stages.tell", **{warm.ADDRESS: "mien-nobody"}))
    assert (parent, seen[0]) == (os.getpid(), "False")


def test_other_modules_are_not_handed_over(project, environment, server):
    done = run(project, environment, "json.tool", "--help")
    assert done.returncode == 0
    assert "usage" in done.stdout


def test_who_loses_the_warm_process_says_so(project, environment, root, monkeypatch):
    monkeypatch.chdir(project)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (project / "pid").unlink(missing_ok=True)
    with warm.warm_start():
        server = next(child for child in psutil.Process().children() if os.environ[warm.ADDRESS] in child.cmdline())
        _listening()
        asker = subprocess.Popen([sys.executable, "-m", "stages.last"], stderr=subprocess.PIPE, text=True)
        stage = psutil.Process(int(_appearing(project / "pid")))
        server.kill()
        _, errors = asker.communicate(timeout=20)
        assert (asker.returncode, len(errors.splitlines())) == (1, 1)
        assert "run again" in errors
        assert not psutil.wait_procs([stage], timeout=20)[1]


def _listening() -> None:
    """Wait until a stage that is started would be taken, or wait for its turn."""
    deadline = time.monotonic() + 60
    while True:
        with socket.socket(socket.AF_UNIX) as asker, contextlib.suppress(OSError):
            asker.connect(warm.ABSTRACT + os.environ[warm.ADDRESS])
            return
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _appearing(path: Path) -> str:
    deadline = time.monotonic() + 60
    while not (path.is_file() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return path.read_text()
