"""A release made many times larger: copies of its videos, crops, pictures and rows under new names, no two alike.

A copy costs no rendering. Its name is that of the official grammar with another number in front, and its bytes differ
where decoders do not look, so that nothing is recognised as had already.
"""

import re
from pathlib import Path

from pipeline.abaw.names import is_video_name

NUMBER = re.compile(r"(video)?([0-9]+)")
STEP = 10_000  # between the numbers of a name's copies


def renamed(name: str, copy: int) -> str:
    """A video's or picture's name with its leading number moved, or with one in front; a row starts with a name."""
    found = NUMBER.match(name)
    if not found:
        return f"{copy * STEP} {name}" if copy else name
    word, digits = found.groups()
    return f"{word or ''}{int(digits) + copy * STEP:0{len(digits)}d}{name[found.end() :]}"


def distinct(data: bytes, suffix: str, copy: int) -> bytes:
    """The same pictures in other bytes: a comment in a JPEG, an unread chunk at the end of a video."""
    if not copy:
        return data
    mark = f"{copy:08d}".encode()
    if suffix == ".jpg":
        return data[:2] + b"\xff\xfe\x00\x0a" + mark + data[2:]
    if suffix == ".mp4":
        return data + (16).to_bytes(4, "big") + b"free" + mark
    return data + b"JUNK" + (8).to_bytes(4, "little") + mark if suffix == ".avi" else data


def multiplied_text(text: str, copies: int) -> str:
    """A list with the rows of every copy below its header, if it has one."""
    first, _, rest = text.partition("\n")
    header, rows = (f"{first}\n", rest) if first.startswith("image") else ("", text)
    return header + "".join(renamed(row, copy) for copy in range(copies) for row in rows.splitlines(keepends=True))


def multiply(source: Path, target: Path, copies: int) -> None:
    """Write `source` `copies` times into `target`, a release in the same layout."""
    for path in sorted(source.rglob("*")):
        place = path.relative_to(source)
        if path.is_dir():
            continue
        if path.suffix == ".txt" and not is_video_name(path.stem):
            (target / place).parent.mkdir(parents=True, exist_ok=True)
            (target / place).write_text(multiplied_text(path.read_text(), copies), newline="")
            continue
        data, of_sequence = path.read_bytes(), any(part.startswith("cropped_aligned") for part in place.parts)
        for copy in range(copies):
            named = place.parent.parent / renamed(place.parent.name, copy) if of_sequence else place.parent
            out = target / named / (place.name if of_sequence else renamed(place.name, copy))
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_bytes(distinct(data, path.suffix, copy))
