"""What earlier runs took in and what left the release with them, so that neither is undone by a file that lies on."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pipeline.retrain.history import Record

ROLLED_BACK = "was taken in and rolled back; `mien retrain` without --if-new-data takes it again"
Known = frozenset[tuple[str, str]]  # names and md5s: label files of two recordings may have the same bytes


@dataclass(frozen=True)
class Past:
    """What earlier runs did: files that came in, archives that are done, files that left, and places that they left.

    `removed` is the md5 of each file that left, by its place: where a rollback has brought it back, it stays.
    """

    arrived: Known = frozenset()
    unpacked: frozenset[str] = frozenset()
    removed: dict[str, str] = field(default_factory=dict)
    gone: Known = frozenset()
    places: frozenset[str] = frozenset()

    @classmethod
    def of(cls, records: list[Record], again: bool = False) -> "Past":
        """What the records of retraining tell; `again` does once more what a rollback has given up."""
        left = [entry for record in records for entry in record.removed.items()]
        places, gone = frozenset(place for place, _ in left), named(left)
        if again:
            return cls(gone=gone, places=places)
        return cls(
            arrived=named(entry for record in records for entry in record.arrived.items()),
            unpacked=frozenset(md5 for record in records for md5 in record.unpacked.values()),
            removed=dict(left),
            gone=gone,
            places=places,
        )


def named(files: Iterable[tuple[str, str]]) -> Known:
    """Files by their names alone, of places and md5s."""
    return frozenset((PurePosixPath(place).name, md5) for place, md5 in files)
