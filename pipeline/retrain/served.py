"""The model that MLflow's registry serves: a track's ensemble on aligned faces. MLflow runs this file to load one.

Input: uint8 RGB pictures of aligned faces, (N, H, W, 3), each by itself. Output: a row a face, with the columns that
`mien predict` has for the track's tasks. Beside it lie the params, what was fitted, and the members' safetensors.
"""

import contextlib
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

from pipeline.abaw.tracks import TRACKS
from pipeline.core.params import read_section
from pipeline.core.paths import ENSEMBLE
from pipeline.predict.media import Seen, ready_face
from pipeline.predict.members import Faces, load_track, score
from pipeline.predict.table import Columns, rows_of
from pipeline.retrain.answers import answer_fields
from pipeline.train.fit import Finetune


class Ensemble(PythonModel):
    """A track's members, loaded once."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the members from the folder that was logged."""
        with contextlib.chdir(Path(context.artifacts["ensemble"])):  # they are found from a project's root
            (folder,) = ENSEMBLE.iterdir()
            self.model = load_track(folder.name, TRACKS[folder.name].tasks)
            self.batch = read_section("finetune", Finetune).evaluate_batch
        self.columns = Columns.of([self.model])

    def predict(self, context: PythonModelContext, model_input: np.ndarray, params: Any = None) -> pd.DataFrame:
        """Scores and decisions of pictures (N, H, W, 3), uint8 RGB."""
        images = np.asarray(model_input).astype(np.uint8)[..., ::-1]
        seen = [Seen(Path(), 1, None, number, ready_face(image)) for number, image in enumerate(images)]
        faces = Faces([each.face.jpeg for each in seen if each.face], np.ones(len(seen), int), self.batch)
        rows = rows_of(seen, score(faces, [self.model]), self.columns)
        return pd.DataFrame(rows, columns=[field.name for field in answer_fields(self.columns)])


mlflow.models.set_model(Ensemble())
