"""One process at a time: a lock that goes with the process that holds it, however that ends."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pipeline.core.errors import MienError


@contextlib.contextmanager
def alone(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path`; another process waits for its turn, or gets a `MienError` where `wait` is False.

    The file holds the process id of the last holder, for people. It is never deleted: a waiting process has it open.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        if not _try(file):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            if not wait:
                raise MienError(f"process {holder} holds {path}; wait for it, or end it")
            print(f"another run is at work (process {holder}); waiting for it", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _try(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
