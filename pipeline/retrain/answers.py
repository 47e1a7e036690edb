"""What a registered model answers: the columns of `mien predict` that say something of a face, not where it was."""

from pathlib import Path
from typing import Any

import pyarrow as pa
from mlflow.types import ColSpec, Schema

from pipeline.abaw.tracks import TRACKS
from pipeline.core.paths import ENSEMBLE
from pipeline.predict.members import TrackModel
from pipeline.predict.table import Columns
from pipeline.tables.fitted import read_fitted

LAST_OF_PLACE = "roll"
TYPES = {"double": "double", "string": "string", "bool": "boolean"}  # Arrow's names, MLflow's


def answer_fields(columns: Columns) -> list[pa.Field]:
    """The columns behind those that tell where a face was found."""
    schema = columns.schema()
    return [schema.field(i) for i in range(schema.get_field_index(LAST_OF_PLACE) + 1, len(schema))]


def answer_schema(track: str, folder: Path) -> Schema:
    """MLflow's schema of what a track's ensemble answers; `folder` is a project's root."""
    names, fitted = read_fitted(folder / ENSEMBLE / track / "fitted.json")
    columns = Columns.of([TrackModel(TRACKS[track], fitted, names, [])])
    specs: list[Any] = [ColSpec(TYPES[str(field.type)], field.name) for field in answer_fields(columns)]
    return Schema(specs)
