"""How every stage and command ends: an error the user is meant to see is one line, not a traceback."""

import atexit
import contextlib
import errno
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from pipeline.core.code import PACKAGES
from pipeline.core.errors import MienError
from pipeline.run.environment import prepare

# Errors of the system that are nobody's bug, each with its mend.
THE_MACHINE_S = {
    errno.ENOSPC: "free some space and run again, it goes on where it stopped",
    errno.EDQUOT: "free some space and run again, it goes on where it stopped",
    errno.EACCES: "give this user the right to it, or choose another place",
    errno.EPERM: "give this user the right to it, or choose another place",
    errno.EROFS: "the place is mounted read-only: choose another",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
}
TOLD = "MIEN_TOLD"  # names a file that takes the first error, for whoever started the process and must tell it on


def run_main(main: Callable[[], int | None]) -> None:
    """Run a `main`; exit 0, the code of a `MienError`, or 130 on Ctrl-C. `MIEN_DEBUG=1` gives tracebacks."""
    prepare()
    _leave(_exit_code(main))


def stage_argument(arguments: list[str], what: str) -> str:
    """The one argument of a stage; `MienError` (exit 2) with its usage otherwise."""
    if len(arguments) != 2:
        module = ".".join(Path(arguments[0]).with_suffix("").parts[-2:])
        raise MienError(f"usage: python -m {module} {what}", exit_code=2)
    return arguments[1]


def _exit_code(main: Callable[[], int | None]) -> int:
    try:
        return main() or 0
    except MienError as error:
        if os.environ.get("MIEN_DEBUG"):
            raise
        _tell(str(error))
        return error.exit_code
    except ModuleNotFoundError as error:
        if os.environ.get("MIEN_DEBUG") or not error.name or error.name.split(".")[0] in PACKAGES:
            raise
        _tell(f"{error.name} is not installed; `pip install 'mien[pipeline]'` brings it and all that trains and audits")
        return 1
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if os.environ.get("MIEN_DEBUG") or error.errno not in THE_MACHINE_S:
            raise
        _tell(f"{error.filename or 'the disk'}: {error.strerror}; {THE_MACHINE_S[error.errno]}")
        return 1
    except KeyboardInterrupt:
        return 130


def _tell(error: str) -> None:
    """Print an error, and leave it where whoever started this process looks for it.

    One process of several that train together only leaves it: all of them may find the same, and it is told once.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        print(f"error: {error}", file=sys.stderr)
    if place := os.environ.get(TOLD):
        with (
            contextlib.suppress(OSError),
            open(place, "x", encoding="utf-8") as file,
        ):  # the first one
            file.write(error)


def _leave(code: int) -> NoReturn:
    """Exit as the interpreter does, less its last garbage collection: four seconds where torch is loaded."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
