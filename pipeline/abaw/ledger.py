"""What an import has already made: one JSON line a finished output, so that a killed import resumes where it was."""

import json
import os
import threading
from pathlib import Path
from typing import Any


class Ledger:
    """Append-only record of finished outputs by path; a line cut short by a kill is ignored."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._entries: dict[str, dict[str, Any]] = {}
        lines = path.read_bytes().split(b"\n") if path.exists() else []
        for line in lines:
            try:
                entry = json.loads(line)
                self._entries[entry["output"]] = entry
            except (ValueError, KeyError, TypeError):
                continue
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "ab")  # noqa: SIM115 - held open for the whole import
        if lines and lines[-1]:
            self._file.write(b"\n")  # close the cut line

    def find(self, output: str, fingerprint: str, target: Path) -> dict[str, Any] | None:
        """The entry of `output` when it was made from the same source and still lies there with the same size."""
        entry = self._entries.get(output)
        if entry is None or entry["fingerprint"] != fingerprint:
            return None
        try:
            return entry if os.stat(target).st_size == entry["stored"] else None
        except OSError:
            return None

    def add(self, output: str, fingerprint: str, target: Path, **facts: Any) -> dict[str, Any]:
        """Record that `target` is finished, with what a later run needs to know of it."""
        entry = {"output": output, "fingerprint": fingerprint, "stored": os.stat(target).st_size, **facts}
        with self._lock:
            self._entries[output] = entry
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._file.flush()
        return entry

    def close(self) -> None:
        """Close the file."""
        self._file.close()
