"""The files of an imported release (`release/pack.py`) by their sha256, which its tables tell without an image read."""

from collections.abc import Mapping

import pyarrow.parquet as pq

from pipeline.audit.case import Case
from pipeline.release.pack import INDEX, MARK, SHARDS, SOURCES


def is_packed(listing: Mapping[str, str]) -> bool:
    """Whether a release is an imported one, by its files."""
    return MARK in listing and INDEX in listing


def packed_files(case: Case, root: str, listing: Mapping[str, str]) -> dict[str, str] | None:
    """sha256 of each image and each verbatim file by its path in the release; None where a table is not here.

    The tables are themselves files of the release, so their bytes are those of the lock.
    """
    found: dict[str, str] = {}
    for name in (name for name in listing if name == SOURCES or name.startswith(f"{SHARDS}/")):
        place = case.objects.find(f"{root}/{name}", listing[name])
        if place is None:
            return None
        if name == SOURCES:
            table = pq.read_table(place, columns=["path", "sha256"])
            found |= dict(zip(table["path"].to_pylist(), table["sha256"].to_pylist(), strict=True))
        else:
            folder = name.removeprefix(f"{SHARDS}/").rpartition("/")[0]
            table = pq.read_table(place, columns=["name", "sha256"])
            for image, digest in zip(table["name"].to_pylist(), table["sha256"].to_pylist(), strict=True):
                found[f"{folder}/{image}" if folder else image] = digest.hex()
    return found
