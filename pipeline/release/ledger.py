"""What an import has already made: one JSON line a finished output, so that a killed import resumes where it was."""

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

from pipeline.core.errors import MienError


class Ledger:
    """Append-only record of finished outputs by path; a line cut short by a kill is ignored."""

    def __init__(self, path: Path, source: Path) -> None:
        self.path = path
        self.source = hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:16]
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
        """The entry of `output` when it was made from the same content and still lies there with the same size.

        MienError when another source brought other content under the same path: the two must not mix.
        """
        entry = self._entries.get(output)
        stored = target.stat().st_size if entry and target.exists() else None
        if entry is None or stored is None:
            return None
        if entry["fingerprint"] != fingerprint:
            if entry["source"] != self.source:
                raise MienError(f"{target} came from another source. Mend: import this one under another --name")
            return None
        return entry if stored == entry["stored"] else None

    def brought(self, output: str) -> bool:
        """Whether this import's source is the one that brought `output`."""
        return output in self._entries and self._entries[output]["source"] == self.source

    def add(self, output: str, fingerprint: str, target: Path, **facts: Any) -> dict[str, Any]:
        """Record that `target` is finished, with what a later run needs to know of it."""
        entry = {"output": output, "fingerprint": fingerprint, "stored": target.stat().st_size, **facts}
        entry["source"] = self.source
        with self._lock:
            self._entries[output] = entry
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._file.flush()
        return entry

    def close(self) -> None:
        """Close the file."""
        self._file.close()
