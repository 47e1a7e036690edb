"""Predictions of a trained system on an axis of crops."""

import numpy as np
import torch

from models.system import System
from pipeline.backbones.device import device, limit_threads
from pipeline.faces.crops import Crops
from pipeline.run.parallel import prefetched
from pipeline.tables.scores import Tasks


@torch.no_grad()
def predict_images(system: System, images: np.ndarray, mirror: bool = False) -> Tasks:
    """Scores of uint8 images (N, 3, P, P) by task; in mixed precision where there is a GPU, as in training.

    With `mirror` they are the mean over an image and its mirror.
    """
    seen = torch.from_numpy(images).to(device())
    views = (seen, seen.flip(-1)) if mirror else (seen,)
    with torch.autocast(device().type, torch.bfloat16, enabled=device().type == "cuda"):
        scores = [system.predict({"images": view}) for view in views]
    return {task: torch.stack([view[task].float() for view in scores]).mean(0).cpu().numpy() for task in scores[0]}


def predict_axis(
    system: System, crops: Crops, places: np.ndarray, pixels: int, batch: int, mirror: bool = False
) -> Tasks:
    """Scores (rows, ...) for each row's crop; NaN where a row has none.

    A crop named by several rows is seen once; the next batch is decoded while one is scored. Where no row has a crop, a
    black picture tells which scores there are.
    """
    limit_threads()
    distinct, back = np.unique(places[places >= 0], return_inverse=True)
    starts = range(0, len(distinct), batch)
    images = (crops.images(distinct[start : start + batch], pixels) for start in starts)
    parts = [predict_images(system, seen, mirror) for seen in prefetched(images)]
    widths = parts[0] if parts else predict_images(system, np.zeros((1, 3, pixels, pixels), np.uint8))
    scores = {}
    for task, first in widths.items():
        scores[task] = np.full((len(places), first.shape[1]), np.nan, np.float32)
        if parts:
            scores[task][places >= 0] = np.concatenate([part[task] for part in parts])[back]
    return scores
