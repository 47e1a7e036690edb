"""Prediction on the frames of a track."""

from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from models.system import Batch
from pipeline.train.infer import predict_axis, predict_images
from tests.models.parts import pictures
from tests.models.small_vit import build_heads


class Brightness:
    """Stands for a system: its score is the crop's mean, and it counts what it is shown."""

    def __init__(self) -> None:
        self.shown = 0

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        self.shown += len(batch["images"])
        mean = batch["images"].float().mean(dim=(1, 2, 3))
        return {"va": torch.stack([mean, -mean], dim=1)}


class GreyCrops:
    """Crop i is grey of level i."""

    def images(self, rows: np.ndarray, pixels: int) -> np.ndarray:
        return np.ones((len(rows), 3, pixels, pixels), np.uint8) * rows[:, None, None, None].astype(np.uint8)


def test_predict_axis_keeps_the_order_and_leaves_gaps():
    system, places = Brightness(), np.array([7, -1, 3, 7, 9, -1])
    scores = predict_axis(cast(Any, system), cast(Any, GreyCrops()), places, 4, batch=2)["va"]
    assert scores[:, 0] == pytest.approx([7, np.nan, 3, 7, 9, np.nan], nan_ok=True)
    assert scores[:, 1] == pytest.approx(-scores[:, 0], nan_ok=True)
    assert system.shown == 3  # a crop named by two rows is seen once


@pytest.mark.parametrize("places", [[], [-1, -1, -1]])
def test_rows_without_any_face_have_columns_and_no_score(places):
    scores = predict_axis(cast(Any, Brightness()), cast(Any, GreyCrops()), np.array(places, int), 4, batch=2)["va"]
    assert scores.shape == (len(places), 2) and np.isnan(scores).all()


def test_predictions_do_not_change_with_the_mirror():
    system, images = build_heads().eval(), pictures(5)
    straight, mirrored = (predict_images(system, x.numpy(), mirror=True) for x in (images, images.flip(-1)))
    for task in straight:
        torch.testing.assert_close(torch.from_numpy(straight[task]), torch.from_numpy(mirrored[task]))
    assert not torch.allclose(system(images)["aus"], system(images.flip(-1))["aus"])
    assert not np.allclose(predict_images(system, images.numpy())["aus"], straight["aus"])
