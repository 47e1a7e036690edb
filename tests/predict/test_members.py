"""Prediction on one's own videos."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from models.backbone import vit_backbone
from models.feedback import Classifier
from models.system import System
from models.temporal import TemporalEncoder
from pipeline.backbones.features import features_of
from pipeline.core.errors import MienError
from pipeline.core.files import write_json
from pipeline.predict import members
from pipeline.predict.members import Faces, FrameMember, MeanMember, TemporalMember, load_models
from pipeline.settings import Params
from pipeline.systems.feedback import student_extractor
from pipeline.tables.fitted import Fitted, as_json
from tests.mini import grey_jpeg


@pytest.fixture
def member(tiny: Params) -> TemporalMember:
    torch.manual_seed(0)
    student = Classifier(vit_backbone(tiny.vit.model_dump(), 1), 8).eval()
    sizes: dict[str, Any] = {"width": 8, "layers": 1, "heads": 2, "feedforward": 16, "dropout": 0.0}
    encoder = TemporalEncoder(tiny.vit.width, outputs={"expression": 8}, window_frames=4, **sizes).eval()
    return TemporalMember([student_extractor(student)], encoder, stride=2)


def test_many_crops_are_decoded_anew_for_each_that_asks_and_are_the_same(monkeypatch):
    faces = Faces([grey_jpeg(60 * n) for n in range(4)], np.arange(4), 3)
    kept = faces.images(16)
    assert faces.images(16) is kept and [len(batch) for batch in kept] == [3, 1]
    monkeypatch.setattr(members, "KEPT_BYTES", 4 * 3 * 16 * 16 - 1)
    for _ in range(2):
        again = faces.images(16)
        assert isinstance(again, Iterator)
        for one, other in zip(kept, again, strict=True):
            np.testing.assert_array_equal(one, other)


def test_frames_without_a_face_are_gaps_in_the_video(member):
    jpegs, frames = [grey_jpeg(60 * n) for n in range(4)], np.array([3, 4, 7, 9])
    features = torch.from_numpy(features_of(member.features[0], jpegs, 4)).float()
    video, present = torch.zeros(7, features.shape[1]), torch.zeros(7, dtype=torch.bool)
    video[[0, 1, 4, 6]], present[[0, 1, 4, 6]] = features, True
    expected = member.encoder.predict_video(video, present, 2)["expression"][[0, 1, 4, 6]]
    np.testing.assert_allclose(member(Faces(jpegs, frames, 2))["expression"], expected.numpy(), atol=1e-6)
    assert not np.allclose(
        member(Faces(jpegs, np.arange(4), 2))["expression"], expected.numpy(), atol=1e-4
    )  # time counts


def test_faces_of_one_picture_do_not_see_each_other(member):
    jpegs = [grey_jpeg(60 * n) for n in range(3)]
    together = member(Faces(jpegs, np.ones(3, int), 2))["expression"]
    alone = np.concatenate([member(Faces([jpeg], np.ones(1, int), 2))["expression"] for jpeg in jpegs])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_each_task_is_answered_by_its_first_source_that_is_trained(workspace, root, monkeypatch):
    (workspace / "params.yaml").write_bytes((root / "params.yaml").read_bytes())
    loaded: list[tuple[str, str]] = []
    monkeypatch.setattr(members, "load_member", lambda *names: loaded.append(names))
    with pytest.raises(MienError, match="nothing is trained yet; run `make repro` first"):
        load_models()
    for track, tasks in (("lsd", ["expression"]), ("mtl", ["expression", "aus", "va"]), ("va", ["va"])):
        fitted = {task: Fitted((1.0,), 0, ()) for task in tasks}
        write_json(workspace / f"artifacts/ensemble/{track}/fitted.json", as_json(fitted, ["vit"]))
        answers = {task: model.track.name for model in load_models() for task in model.fitted}
        last = {"lsd": {"expression": "lsd"}, "mtl": dict.fromkeys(["expression", "aus", "va"], "mtl")}
        assert answers == last.get(track, {"expression": "mtl", "aus": "mtl", "va": "va"})
    assert set(loaded) == {("lsd", "vit"), ("mtl", "vit"), ("va", "vit")}


def test_a_member_without_weight_is_neither_loaded_nor_named(workspace, root, monkeypatch):
    (workspace / "params.yaml").write_bytes((root / "params.yaml").read_bytes())
    loaded: list[str] = []
    monkeypatch.setattr(members, "load_member", lambda track, name: loaded.append(name))
    fitted = {"expression": Fitted((0.0, 0.4, 0.6), 2), "aus": Fitted((0.5, 0.5, 0.0), 1, (0.5,) * 12)}
    write_json(workspace / "artifacts/ensemble/mtl/fitted.json", as_json(fitted, ["vit", "emma", "temporal"]))
    model = members.load_track("mtl", ["expression"])
    assert loaded == model.names == ["emma", "temporal"] and model.label == "mtl's emma, temporal"
    assert model.fitted == {"expression": Fitted((0.4, 0.6), 2)}
    both = members.load_track("mtl", ["expression", "aus"])
    assert both.names == ["vit", "emma", "temporal"] and both.fitted == fitted


def test_a_member_of_several_trainings_is_their_mean(member):
    faces = Faces([grey_jpeg(60 * n) for n in range(3)], np.arange(3), 2)
    other = FrameMember(Constant(), mirror=False)
    expected = (member(faces)["expression"] + 0.25) / 2
    np.testing.assert_allclose(MeanMember([member, other])(faces)["expression"], expected, atol=1e-6)


class Constant(System):
    """Says the same of every face."""

    pixels = 32

    def predict(self, batch):
        return {"expression": torch.full((len(batch["images"]), 8), 0.25)}
