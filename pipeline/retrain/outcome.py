"""What comes of a look at the inbox: what is taken and where it goes, what changes, what waits, what is bad."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pipeline.retrain.inbox import Arrival


@dataclass
class Intake:
    """`taken`: where each new file goes in the release; `bad`: why a file cannot be taken; `waiting`: what a file waits
    for; `known`: how many files are part of the release already.

    `removed`: places that leave the release; `rewritten`: the new bytes of lists that are merged or shortened, by their
    place; `told`: what this changes of what was there, a line each, for the trail; `unpacked`: md5s of archives that
    nothing is left to do of, by name.
    """

    taken: dict[Arrival, str] = field(default_factory=dict)
    bad: dict[Arrival, str] = field(default_factory=dict)
    waiting: dict[Arrival, str] = field(default_factory=dict)
    known: int = 0
    removed: list[str] = field(default_factory=list)
    rewritten: dict[str, bytes] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    unpacked: dict[str, str] = field(default_factory=dict)

    @property
    def changes(self) -> bool:
        """Whether the release becomes another one."""
        return bool(self.taken or self.removed or self.rewritten)


MANY = 3  # files of a folder with one fate that are told one by one


def lines(fates: dict[Arrival, str]) -> Iterator[str]:
    """A line a file and what becomes of it; many of a folder with one fate are one line."""
    groups: dict[tuple[str, str], list[str]] = {}
    for arrival, fate in fates.items():
        groups.setdefault((PurePosixPath(arrival.name).parent.as_posix(), fate), []).append(printable(arrival.name))
    for (folder, fate), names in groups.items():
        if len(names) > MANY:
            yield f"{printable(folder)}: {len(names)} files, {PurePosixPath(names[0]).name} the first: {fate}"
        else:
            yield from (f"{name}: {fate}" for name in names)


def printable(name: str) -> str:
    """A name that any terminal takes."""
    return name if name.isprintable() else ascii(name)
