"""Other people's labelled faces: a folder a class or a CSV with any column names, brought in with a map of their words.

`mien data import SRC --name NAME --labels folders|csv --map MAP.yaml` packs the pictures as `importer.py` packs a
release, and writes beside them `labels.parquet` (one row a picture: image, split, expression, aus, va, in ABAW's
orders, -1 and -5 where there is none) and `external.json`: what it is, under which licence, which labels it has.
"""

import csv
import io
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.abaw.names import unsafe
from pipeline.abaw.tracks import AUS, EXPRESSIONS, INVALID_CLASS, INVALID_VA
from pipeline.core.errors import MienError
from pipeline.core.files import write_json
from pipeline.core.parquet import array_column, write_parquet
from pipeline.core.suffixes import is_image
from pipeline.release.files import Store, join
from pipeline.release.importer import WORK, ImportSummary, open_tree, pack_tree
from pipeline.release.label_map import Columns, Form, LabelMap

CARD, TABLE = "external.json", "labels.parquet"


@dataclass
class Labelled:
    """One picture with its labels, as far as it has some."""

    image: str
    split: str
    expression: int
    aus: list[int]
    va: tuple[float, float]


def import_external(source: Path, target: Path, form: Form, mapping: LabelMap) -> tuple[ImportSummary, dict[str, Any]]:
    """Pack the pictures, write their labels and the card; the card is returned."""
    work = WORK / target.name
    store = open_tree(source, target, work)
    rows = from_folders(store, mapping) if form == "folders" else from_csv(store, mapping)
    if not rows:
        raise MienError(f"{source}: no picture with a label that the map knows; look at `classes` and `columns`")
    card = card_of(target.name, mapping, rows)
    summary = pack_tree(store, source, target, work)
    write_parquet(target / TABLE, labels_table(rows))
    write_json(target / CARD, card)
    return summary, card


def from_folders(store: Store, mapping: LabelMap) -> list[Labelled]:
    """A row for each picture below a folder that is named as a class; a folder above it may name the split."""
    rows: list[Labelled] = []
    unmapped: set[str] = set()
    for folder, names in _image_folders(store, ""):
        parts = folder.split("/")
        word = parts[-1]
        if word not in mapping.classes:
            unmapped.add(folder)
            continue
        name = mapping.classes[word]
        split = next((mapping.splits[part] for part in parts if part in mapping.splits), "train")
        if name is not None:
            rows += [_expression(join(folder, image), split, EXPRESSIONS.index(name)) for image in names]
    if unmapped:
        raise MienError(
            f"{min(unmapped)} holds pictures and is no class of the map ({len(unmapped)} such folders); add it to "
            "classes, with null to leave it out"
        )
    return rows


def from_csv(store: Store, mapping: LabelMap) -> list[Labelled]:
    """A row for each line of the CSV whose picture is there and that has a label."""
    assert mapping.columns
    text = io.StringIO(store.read(mapping.file).decode("utf-8-sig", "strict"), newline="")
    reader = csv.DictReader(text)
    columns = mapping.columns
    wanted = [columns.image, columns.split, columns.expression, columns.valence, columns.arousal, *columns.aus.values()]
    lacking = [name for name in wanted if name and name not in (reader.fieldnames or ())]
    if lacking:
        there = ", ".join(reader.fieldnames or ())
        raise MienError(f"{mapping.file}, line 1: there is no column {lacking[0]}; there are: {there}")
    rows, missing, seen = [], [], set()
    for cells in reader:
        where = f"{mapping.file}, line {reader.line_num}"
        image = join(mapping.images, (cells[columns.image] or "").replace("\\", "/"))
        if why := unsafe(image):
            raise MienError(f"{where}: {image[:120]!r} {why}")
        if image in seen:
            raise MienError(f"{where}: {image} stands there twice; keep one of its lines")
        seen.add(image)
        row = _row(cells, columns, mapping, image, where)
        if row is None:
            continue
        if is_image(image) and store.has(image):
            rows.append(row)
        else:
            missing.append(image)
    if len(missing) > len(rows):
        raise MienError(
            f"{mapping.file}: {len(missing)} of its pictures are not there, first {missing[0]}; mend `images`"
        )
    if missing:
        print(f"{len(missing)} pictures of {mapping.file} are not there and were left out, first {missing[0]}")
    return rows


def _row(cells: dict[str, str], columns: Columns, mapping: LabelMap, image: str, where: str) -> Labelled | None:
    """One line's labels; None where it has none at all."""

    def cell(name: str | None) -> str | None:
        value = (cells.get(name) or "").strip() if name else ""
        return None if not name or value in mapping.invalid else value

    try:
        expression = _class(cell(columns.expression), mapping)
        aus = [_unit(cell(columns.aus.get(unit))) for unit in AUS]
        pair = [cell(columns.valence), cell(columns.arousal)]
        va = (INVALID_VA, INVALID_VA) if None in pair else (_score(pair[0]), _score(pair[1]))
    except ValueError as error:
        raise MienError(f"{where}: {error}") from None
    if expression == INVALID_CLASS and max(aus) < 0 and va[0] == INVALID_VA:
        return None
    word = cell(columns.split) or ""
    if columns.split and word not in mapping.splits:
        raise MienError(f"{where}: the split {word!r} is not in the map; add it to splits")
    return Labelled(image, mapping.splits.get(word, "train"), expression, aus, va)


def _class(word: str | None, mapping: LabelMap) -> int:
    if word is None:
        return INVALID_CLASS
    if word not in mapping.classes:
        raise ValueError(f"the class {word!r} is not in the map; add it to classes, with null to leave it out")
    name = mapping.classes[word]
    return INVALID_CLASS if name is None else EXPRESSIONS.index(name)


def _unit(word: str | None) -> int:
    if word is None:
        return INVALID_CLASS
    if float(word) not in (0.0, 1.0):
        raise ValueError(f"an action unit is 0 or 1, not {word}; name other values under invalid")
    return int(float(word))


def _score(word: str | None) -> float:
    value = float(word or "nan")
    if not -1 <= value <= 1:
        raise ValueError(f"valence and arousal lie within -1 and 1, not {word}; name other values under invalid")
    return value


def _expression(image: str, split: str, label: int) -> Labelled:
    return Labelled(image, split, label, [INVALID_CLASS] * len(AUS), (INVALID_VA, INVALID_VA))


def _image_folders(store: Store, folder: str) -> list[tuple[str, list[str]]]:
    folders, files = store.list(folder)
    names = [file.name for file in files if is_image(file.name)]
    own = [(folder, names)] if names else []
    return own + [pair for child in folders for pair in _image_folders(store, join(folder, child))]


def labels_table(rows: list[Labelled]) -> pa.Table:
    """The labels in the order of the images' names."""
    rows = sorted(rows, key=lambda row: row.image)
    return pa.table(
        {
            "image": pa.array([row.image for row in rows], pa.string()),
            "split": pa.array([row.split for row in rows], pa.string()),
            "expression": pa.array([row.expression for row in rows], pa.int8()),
            "aus": array_column(np.array([row.aus for row in rows], np.int8).reshape(-1, len(AUS))),
            "va": array_column(np.array([row.va for row in rows], np.float32).reshape(-1, 2)),
        }
    )


def card_of(name: str, mapping: LabelMap, rows: list[Labelled]) -> dict[str, Any]:
    """What the data set is: for the rules' check, the report and whoever audits."""
    counts = Counter(row.expression for row in rows)
    kinds = {
        "expression": any(row.expression >= 0 for row in rows),
        "aus": any(max(row.aus) >= 0 for row in rows),
        "va": any(row.va[0] != INVALID_VA for row in rows),
    }
    return {
        "name": name,
        "known_as": mapping.known_as or name,
        "source": mapping.source,
        "licence": mapping.licence,
        "faces": mapping.faces,
        "label_types": [kind for kind, there in kinds.items() if there],
        "pictures": len(rows),
        "splits": dict(sorted(Counter(row.split for row in rows).items())),
        "expressions": {name: counts[index] for index, name in enumerate(EXPRESSIONS) if counts[index]},
        "left_out": sorted(word for word, mapped in mapping.classes.items() if mapped is None),
    }


def read_card(root: Path) -> dict[str, Any]:
    """The card of an imported set; `MienError` where `root` is none."""
    try:
        return json.loads((root / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise MienError(
            f"{root}: no imported data set of labelled faces; run `mien data import ... --labels`"
        ) from None
