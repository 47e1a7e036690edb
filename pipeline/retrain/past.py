"""What earlier runs took in and what left the release with them, so that neither is undone by a file that lies on."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pipeline.retrain.history import Record

ROLLED_BACK = "was taken in and rolled back; `mien retrain` without --if-new-data takes it again"
Known = frozenset[tuple[str, str]]  # names and md5s: label files of two recordings may have the same bytes


@dataclass(frozen=True)
class Past:
    """What earlier runs did: files that came in, files that left with the places that they left, archives' md5s."""

    arrived: Known = frozenset()
    gone: Known = frozenset()
    places: dict[str, str] = field(default_factory=dict)
    unpacked: frozenset[str] = frozenset()

    @classmethod
    def of(cls, records: list[Record]) -> "Past":
        """What the records of retraining tell."""
        return cls(
            arrived=named(entry for record in records for entry in record.arrived.items()),
            gone=named(entry for record in records for entry in record.removed.items()),
            places={place: md5 for record in records for place, md5 in record.removed.items()},
            unpacked=frozenset(md5 for record in records for md5 in record.unpacked.values()),
        )


def named(files: Iterable[tuple[str, str]]) -> Known:
    """Files by their names alone, of places and md5s."""
    return frozenset((PurePosixPath(place).name, md5) for place, md5 in files)
