"""Prediction on one's own videos."""

from typing import Any

import numpy as np
import pytest
import torch

from models.backbone import vit_backbone
from models.feedback import Classifier
from models.temporal import TemporalEncoder
from pipeline.backbones.features import features_of
from pipeline.predict.members import Faces, TemporalMember
from pipeline.settings import Params
from pipeline.systems.feedback import student_extractor
from tests.mini import grey_jpeg


@pytest.fixture
def member(tiny: Params) -> TemporalMember:
    torch.manual_seed(0)
    student = Classifier(vit_backbone(tiny.vit.model_dump(), 1), 8).eval()
    sizes: dict[str, Any] = {"width": 8, "layers": 1, "heads": 2, "feedforward": 16, "dropout": 0.0}
    encoder = TemporalEncoder(tiny.vit.width, classes=8, window_frames=4, **sizes).eval()
    return TemporalMember(student_extractor(student), encoder, stride=2)


def test_frames_without_a_face_are_gaps_in_the_video(member):
    jpegs, frames = [grey_jpeg(60 * n) for n in range(4)], np.array([3, 4, 7, 9])
    features = torch.from_numpy(features_of(member.features, jpegs, 4)).float()
    video, present = torch.zeros(7, features.shape[1]), torch.zeros(7, dtype=torch.bool)
    video[[0, 1, 4, 6]], present[[0, 1, 4, 6]] = features, True
    expected = member.encoder.predict_video(video, present, 2)[[0, 1, 4, 6]]
    np.testing.assert_allclose(member(Faces(jpegs, frames, 2)), expected.numpy(), atol=1e-6)
    assert not np.allclose(member(Faces(jpegs, np.arange(4), 2)), expected.numpy(), atol=1e-4)  # time counts


def test_faces_of_one_picture_do_not_see_each_other(member):
    jpegs = [grey_jpeg(60 * n) for n in range(3)]
    together = member(Faces(jpegs, np.ones(3, int), 2))
    alone = np.concatenate([member(Faces([jpeg], np.ones(1, int), 2)) for jpeg in jpegs])
    np.testing.assert_allclose(together, alone, atol=1e-6)
