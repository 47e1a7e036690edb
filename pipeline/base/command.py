"""How every stage and command ends: an error the user is meant to see is one line, not a traceback."""

import os
import sys
from collections.abc import Callable

from pipeline.base.environment import prepare
from pipeline.errors import MienError


def run_main(main: Callable[[], int | None]) -> None:
    """Run a `main`; exit 0, the code of a `MienError`, or 130 on Ctrl-C. `MIEN_DEBUG=1` gives tracebacks."""
    prepare()
    try:
        sys.exit(main() or 0)
    except MienError as error:
        if os.environ.get("MIEN_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
