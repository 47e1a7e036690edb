"""A process that has loaded the large libraries once and forks stages from itself.

Each stage of a run over the graph would spend some seconds on loading torch, timm and MLflow. `mien repro` starts a
process that has them (`warm_start`). DVC starts a stage as ever, by `python -m stages.X`, which has the warm process
run it in a fork and ends as that ends (`hand_over`), or runs it itself where there is no warm process. Only libraries
are loaded before the fork, none of the project's code but this. A stage ends at once when the process that handed it
over is gone, so that whoever kills that has killed the stage.
"""

import contextlib
import gc
import json
import os
import runpy
import select
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

from pipeline.run.environment import prepare

ADDRESS = "MIEN_WARM"  # to the stages of a flow: where the warm process listens
READ_AT_LOADING = ("OMP_", "MKL_", "KMP_", "OPENBLAS_", "ATEN_", "TORCH", "PYTORCH", "CUDA", "NVIDIA", "LD_", "PYTHON")
ABSTRACT = "\0"  # before the name of a Linux socket that is no file and goes with its process
TAKEN, NOT_TAKEN = b"+", b"-"  # the answers to a process that hands over its stage


class Stage(NamedTuple):
    """A stage that runs: its process and the connection to the one that handed it over."""

    pid: int
    client: socket.socket


def one_thread() -> None:
    """Have torch and numpy's BLAS sum on one thread, where the environment does not say otherwise; before they load."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def can_warm() -> bool:
    """Whether this system has what a warm process needs (Linux)."""
    return hasattr(os, "pidfd_open") and hasattr(os, "memfd_create")


@contextlib.contextmanager
def warm_start() -> Iterator[None]:
    """Have the stages that are started inside the block run by a warm process."""
    os.environ[ADDRESS] = f"mien-{uuid.uuid4().hex}"
    with subprocess.Popen([sys.executable, "-m", __name__, os.environ[ADDRESS]], stdin=subprocess.PIPE) as server:
        try:
            yield
        finally:
            del os.environ[ADDRESS]
            server.kill()  # no stage is left; it may be loading still


def hand_over() -> None:
    """In `python -m stages.X`: have a warm process run it and end as it ends; return where this process has to."""
    address = os.environ.pop(ADDRESS, "")
    arguments = sys.orig_argv[1:]
    if not address or arguments[:1] != ["-m"] or not arguments[1].startswith("stages."):
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # it only waits
    with socket.socket(socket.AF_UNIX) as server, open(os.memfd_create("stage"), "w+", encoding="utf-8") as asked:
        json.dump({"arguments": arguments, "place": _place(), "environment": dict(os.environ)}, asked)
        asked.flush()
        with contextlib.suppress(OSError):  # it is not there yet, or not any more
            server.connect(ABSTRACT + address)
            socket.send_fds(server, [b"."], [asked.fileno(), 0, 1, 2])
            if server.recv(1) == TAKEN:
                _end_as(server.recv(16).decode())
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _place() -> list[str]:
    """The folder that a process works in, and where its Python is installed."""
    return [os.getcwd(), sys.prefix]


def _end_as(status: str) -> NoReturn:
    """Exit with the code of the stage, or by the signal that ended it."""
    if not status:
        print("error: the process that runs the stages has ended; run again, it goes on", file=sys.stderr, flush=True)
        os._exit(1)
    if (code := int(status)) < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def serve(address: str) -> None:
    """Fork a stage for each process that asks for it, until the flow, which holds standard input, and the last stage
    have ended.
    """
    environment, running = dict(os.environ), dict[int, Stage]()  # before libraries add to it
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as waiting:
        listener.bind(ABSTRACT + address)
        listener.listen()  # who asks by now waits
        _load()
        waiting.register(listener, selectors.EVENT_READ)
        waiting.register(0, selectors.EVENT_READ)
        while running or listener.fileno() >= 0:
            for key, _ in waiting.select():
                if key.fd == 0:
                    waiting.unregister(0)
                    waiting.unregister(listener)
                    listener.close()
                elif key.fileobj is listener:
                    for end, stage in _take(listener, environment, running).items():
                        running[end] = stage
                        waiting.register(end, selectors.EVENT_READ)
                else:
                    waiting.unregister(key.fd)
                    _tell_end(running.pop(key.fd), key.fd)


def _load() -> None:
    """Load the libraries, and have a fork share their memory for as long as it only reads it."""
    with contextlib.suppress(ImportError):  # the stage that needs it will tell
        import cv2  # noqa: F401
        import pyarrow.parquet  # noqa: F401
        import timm  # noqa: F401  # and torch
        from mlflow.store.db.base_sql_model import Base
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: F401  # and mlflow

        Base.registry.configure()  # half a second
    gc.freeze()


def _take(listener: socket.socket, environment: dict[str, str], running: dict[int, Stage]) -> dict[int, Stage]:
    """Fork the stage that a process asks for, by the descriptor that tells of its end; none where it is not to be."""
    client, _ = listener.accept()
    pid, user, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    with contextlib.ExitStack() as kept, contextlib.suppress(OSError):  # who asked may be gone by now
        asker = os.pidfd_open(pid)
        kept.callback(os.close, asker)
        _, handed, _, _ = socket.recv_fds(client, 1, 4)
        for descriptor in handed:
            kept.callback(os.close, descriptor)
        asked = _read(handed[0]) if user == os.geteuid() and handed else {}
        if asked and asked["place"] == _place() and _alike(environment, asked["environment"]):
            client.sendall(TAKEN)
            fork = os.fork()
            if fork == 0:
                for other in (listener, client, *(stage.client for stage in running.values())):
                    other.close()
                _run(asked, handed[1:], asker)
            return {os.pidfd_open(fork): Stage(fork, client)}
        client.sendall(NOT_TAKEN)
    client.close()
    return {}


def _read(descriptor: int) -> dict[str, Any]:
    with open(descriptor, encoding="utf-8", closefd=False) as file:
        file.seek(0)
        return json.load(file)


def _alike(*environments: dict[str, str]) -> bool:
    """Whether the libraries, loaded in either of two environments, would have read the same."""
    one, other = ({k: v for k, v in of.items() if k.startswith(READ_AT_LOADING)} for of in environments)
    return one == other


def _run(asked: dict[str, Any], streams: list[int], asker: int) -> NoReturn:
    """In a fork: be the stage."""
    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        threading.Thread(target=_end_with, args=(asker,), daemon=True, name="asker").start()
        os.environ.clear()
        os.environ.update(asked["environment"])
        for name in [name for name in sys.modules if name.partition(".")[0] in ("pipeline", "stages")]:
            del sys.modules[name]  # as the files are now
        _, module, *rest = asked["arguments"]
        sys.argv, sys.orig_argv = [module, *rest], [sys.executable, *asked["arguments"]]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(bool(ending.code))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _end_with(asker: int) -> None:
    """Leave as soon as another process is gone."""
    select.select([asker], [], [])
    os._exit(1)


def _tell_end(stage: Stage, descriptor: int) -> None:
    _, status = os.waitpid(stage.pid, 0)
    with stage.client, contextlib.suppress(OSError):  # the one that asked may be gone
        stage.client.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os.close(descriptor)


if __name__ == "__main__":
    one_thread()
    prepare()
    serve(sys.argv[1])
    os._exit(0)  # torch's own end takes seconds
