"""What of a chain may be handed to others: code, weights, scores of the test list, records; never a face.

The data of the challenge are under agreements, so frames, crops, features, labels and the official lists stay where
they are, and are named with their digests instead. What goes in is a list of what is allowed, not of what is not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.audit.case import Case
from pipeline.audit.check.weights import on_disk
from pipeline.audit.exchange.package import Member, is_media
from pipeline.audit.lineage import is_below, origin
from pipeline.audit.locks import Item
from pipeline.audit.outside import named_weights
from pipeline.core.files import file_digest
from pipeline.core.paths import REPORT, RUNS
from pipeline.core.weights import Weights

# stages whose outputs hold nothing of the data but what a network or an ensemble made of them
STAGES = (
    *("code", "check_params", "pretrain_mae", "pretrain_feedback"),
    *("finetune", "finetune_temporal", "ensemble", "submit"),
)
SUFFIXES = (".safetensors", ".json", ".csv", ".txt", ".yaml")
SCORES = "test.parquet"  # a member's or an ensemble's scores of the test list
# licences that let a file be passed on for any use, as their publishers write them, in small letters
FREE_LICENCES = (
    *("mit", "apache-2.0", "apache 2.0", "bsd", "bsd-2-clause", "bsd-3-clause", "isc", "unlicense"),
    *("cc0", "cc0-1.0", "cc0 1.0", "cc-by-4.0", "cc-by 4.0", "public domain"),
)
RENDERED = "synthesize"  # the stage whose faces are nobody's


@dataclass(frozen=True)
class LeftOut:
    """What is named and not handed on: path, DVC's digest or sha256, bytes where known, and why."""

    path: str
    digest: str
    bytes: int
    why: str


def is_rendered(case: Case) -> bool:
    """Whether all data of the chain were rendered here: no `*.dvc` file and no unversioned folder among them."""
    deps = [dep for stage in case.stages for dep in stage.deps]
    own = all(origin(case.lock, dep.path).stages or _is_tracked(case, dep) for dep in deps)
    return own and not case.data and any(stage.name == RENDERED for stage in case.stages)


def _is_tracked(case: Case, dep: Item) -> bool:
    return case.state.read(dep.path) is not None or bool(case.state.members(dep.path))


def kept_outputs(case: Case) -> tuple[dict[str, Member], list[LeftOut]]:
    """Outputs of the chain's stages that may go out, by path, and those that may not or are not here."""
    kept: dict[str, Member] = {}
    left: list[LeftOut] = []
    for stage in case.stages:
        allowed = stage.name.partition("@")[0] in STAGES
        for item in stage.outs:
            if not allowed and not is_below(item.path, RUNS.as_posix()):
                left.append(LeftOut(item.path, item.md5, item.size, "made of the data, and may show them"))
                continue
            for path, md5 in (case.objects.members(item) or {item.path: item.md5}).items():
                found = case.objects.find(path, md5)
                why = "its bytes are not here" if found is None else _refusal(path, found)
                if found and not why:
                    kept[path] = Member(found)
                else:
                    left.append(LeftOut(path, md5, found.stat().st_size if found else 0, why))
    left += [LeftOut(item.path, item.md5, item.size, "data under their own terms") for item in case.data.values()]
    return kept, left


def _refusal(path: str, found: Path) -> str:
    """Why a file of an allowed stage does not go out all the same; empty where it does."""
    if is_media(found):
        return "a picture"
    if PurePosixPath(path).name == SCORES:
        return "it has a column of bytes" if _holds_bytes(pq.read_schema(found)) else ""
    return "" if path.endswith(SUFFIXES) else "neither weights nor scores of the test list nor a record"


def _holds_bytes(schema: pa.Schema) -> bool:
    def holds(kind: pa.DataType) -> bool:
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
            return True
        return any(holds(kind.field(n).type) for n in range(kind.num_fields))

    return any(holds(field.type) for field in schema)


def outside_weights(case: Case) -> dict[str, Weights | None]:
    """Weight files from outside that the chain used, by name."""
    return {name: entry for stage in case.stages for name, entry in sorted(named_weights(case, stage).items())}


def kept_weights(case: Case) -> tuple[dict[str, Member], list[LeftOut]]:
    """Weights from outside whose licence lets them be passed on, and those that are named instead."""
    kept: dict[str, Member] = {}
    left: list[LeftOut] = []
    for name, entry in outside_weights(case).items():
        path = on_disk(name)
        why = _why_not(entry, path)
        if path and not why:
            kept[name] = Member(path)
        else:
            source = f"; from {entry.source}" if entry else ""
            left.append(LeftOut(name, f"sha256 {entry.sha256}" if entry else "", 0, f"{why}{source}"))
    return kept, left


def _why_not(entry: Weights | None, path: Path | None) -> str:
    if entry is None:
        return "weights from outside that weights.yaml does not declare"
    if entry.licence.lower().strip() not in FREE_LICENCES:
        return f"weights from outside whose licence, {entry.licence}, is not one that lets anybody pass them on"
    if path is None:
        return "weights from outside that are not here"
    return "" if file_digest(path) == entry.sha256 else "weights from outside, and the file here is another one"


def report_of(case: Case) -> Path | None:
    """The report of the same lock, where its example faces are nobody's."""
    item = case.out(REPORT.as_posix())
    return case.objects.find(item.path, item.md5) if item and is_rendered(case) else None


def listings(case: Case) -> Iterator[tuple[str, bytes]]:
    """DVC's list of the files of each folder, by the folder's digest: names and digests alone."""
    for item in (*(out for stage in case.stages for out in stage.outs), *case.data.values()):
        path = case.objects.cached(item.md5)
        if item.is_folder and path.is_file():
            yield item.md5, path.read_bytes()


def raw_data(case: Case) -> list[Item]:
    """The data that the chain started from: of `*.dvc` files, and what was rendered here for a stage to read."""
    rendered = [out for stage in case.stages if stage.name == RENDERED for out in stage.outs]
    read = {dep.path for stage in case.stages for dep in stage.deps}
    return [*case.data.values(), *(out for out in rendered if out.path in read)]
