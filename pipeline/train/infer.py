"""Predictions of a trained system on an axis of crops."""

import numpy as np
import torch

from models.system import System
from pipeline.backbones.device import device
from pipeline.faces.crops import Crops
from pipeline.tables.scores import Tasks


@torch.no_grad()
def predict_images(system: System, images: np.ndarray) -> Tasks:
    """Scores of uint8 images (N, 3, P, P) by task."""
    scores = system.predict({"images": torch.from_numpy(images).to(device())})
    return {task: values.float().cpu().numpy() for task, values in scores.items()}


def predict_axis(system: System, crops: Crops, places: np.ndarray, pixels: int, batch: int) -> Tasks:
    """Scores (rows, ...) for each row's crop; NaN where a row has none. A crop named by several rows is seen once."""
    distinct, back = np.unique(places[places >= 0], return_inverse=True)
    parts = [
        predict_images(system, crops.images(distinct[start : start + batch], pixels))
        for start in range(0, len(distinct), batch)
    ]
    scores = {}
    for task in parts[0] if parts else ():
        values = np.concatenate([part[task] for part in parts])
        scores[task] = np.full((len(places), values.shape[1]), np.nan, np.float32)
        scores[task][places >= 0] = values[back]
    return scores
