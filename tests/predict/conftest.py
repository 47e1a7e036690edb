"""A project in which networks that need no training answer, and a picture with a face."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data

from pipeline.core.files import write_json
from pipeline.predict import members
from pipeline.predict.members import Faces
from pipeline.tables.fitted import Fitted, as_json
from pipeline.tables.scores import Tasks


def answers(faces: Faces) -> Tasks:
    """Scores that tell crops apart: each face's mean grey decides."""
    grey = np.concatenate([np.asarray(images).mean((1, 2, 3)) / 255 for images in faces.images(32)])
    expression = np.tile(np.arange(1.0, 9.0) / 36, (len(grey), 1))
    va = np.stack([grey, -grey], axis=1)
    return {"expression": expression, "aus": np.tile(grey[:, None], (1, 12)), "va": va}


@pytest.fixture
def project(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a fitted ensemble of MTL whose one member is `answers`."""
    fitted = {task: Fitted((1.0,), 0, (0.5,) * 12 if task == "aus" else ()) for task in ("expression", "aus", "va")}
    write_json(workspace / "artifacts/ensemble/mtl/fitted.json", as_json(fitted, ["vit"]))
    monkeypatch.setattr(members, "load_member", lambda *_: answers)
    return workspace


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """One face of 87x114 pixels, BGR (256, 256, 3)."""
    return np.ascontiguousarray(skimage.data.astronaut()[:256, 100:356, ::-1])
