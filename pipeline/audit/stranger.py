"""A file that no lock tells of: the known submission that is nearest to it, and what differs."""

from pathlib import Path

from pipeline.audit.history import History
from pipeline.audit.locks import Item
from pipeline.audit.subject import forms

SHOWN = 5


def tell_stranger(path: Path, history: History) -> list[str]:
    """Lines that say what is known of a file that Mien did not make."""
    lines = [f"{path}: Mien did not make these bytes: no lock in the workspace or in any commit tells of them"]
    text = next((rows for rows in map(_rows, (form.data for form in forms(path))) if len(rows) > 1), [])
    known = [(*one, data) for one in history.submissions() if (data := _data(history, one[1])) is not None]
    if not text or not known:
        return [*lines, "no submission is here to compare it with"]
    commits, item, nearest = max(known, key=lambda one: _likeness(text, _rows(one[2])))
    rows = _rows(nearest)
    if not _likeness(text, rows):
        return [*lines, f"none of {len(known)} known submissions has a row of it"]
    where = f"commit {commits[0][:12]}" if commits else "the workspace, not committed"
    lines.append(f"nearest: {item.path} of {where}, md5 {item.md5}: {_likeness(text, rows):.1%} of rows alike")
    return [*lines, *_differences(text, rows)]


def _data(history: History, item: Item) -> bytes | None:
    path = history.objects.find(item.path, item.md5)
    return path.read_bytes() if path else None


def _rows(data: bytes) -> list[str]:
    """Lines of a text file; none where it is no text."""
    try:
        return data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        return []


def _likeness(ours: list[str], theirs: list[str]) -> float:
    """Share of lines that both have at the same place."""
    same = sum(a == b for a, b in zip(ours, theirs, strict=False))
    return same / max(len(ours), len(theirs), 1)


def _differences(ours: list[str], theirs: list[str]) -> list[str]:
    """The first lines that differ, and how many."""
    pairs = enumerate(zip(ours, theirs, strict=False), 1)
    wrong = [f"  line {number}: {a[:60]!r}, known: {b[:60]!r}" for number, (a, b) in pairs if a != b]
    more = [f"  and {len(wrong) - SHOWN} lines more"] if len(wrong) > SHOWN else []
    count = len(ours) - len(theirs)
    extra = [f"  {abs(count)} lines {'more' if count > 0 else 'fewer'} than it"] if count else []
    return [*wrong[:SHOWN], *more, *extra]
