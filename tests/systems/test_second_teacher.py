"""A published network beside the pool's labeller: a label counts where both say the same."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from bench.jobs import build_system
from pipeline.abaw.tracks import EXPRESSIONS, TRACKS
from pipeline.backbones.expressions import expressions_of
from pipeline.core.files import write_json
from pipeline.core.paths import EXTRA, PSEUDO, SYSTEMS
from pipeline.core.tensors import save_tensors
from pipeline.faces.crops import Crops
from pipeline.systems.teacher import agreed
from pipeline.tables.curves import write_curve
from pipeline.train.infer import predict_axis
from stages.check_params import readers_of_weights
from stages.pseudo_label_expressions import label_expressions
from tests.expressions import FILE, declare_expressions
from tests.tiny import tiny_params

TABLE = PSEUDO / "expr" / f"{EXTRA}.parquet"


def test_a_label_stays_where_both_say_it_or_the_second_cannot():
    second = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.6, 0.4, 0], [0.3, 0.7, 0]])
    assert agreed(np.array([0, 0, 2, -1]), second).tolist() == [0, -1, 2, -1]
    assert agreed(np.zeros(0, int), np.zeros((0, 3))).tolist() == []


@pytest.fixture
def project(mini_root: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A miniature release with a dtm member of random weights, which is sure of everything."""
    shutil.copytree(mini_root / "artifacts", tmp_path / "artifacts")
    for name in ("weights.yaml", "dvc.yaml"):
        shutil.copy(root / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    params = tiny_params(root)
    torch.manual_seed(0)
    dtm = build_system("dtm", "expr", params, pretrained=False)
    dtm.get_submodule("threshold").get_buffer("tau").zero_()
    folder = SYSTEMS / "expr/dtm"
    save_tensors(folder / "weights.safetensors", dtm.state_dict())
    write_json(folder / "metrics.json", {"score": 0.5})
    write_curve(folder / "curve.csv", [{"step": 1} | {f"threshold_{name}": 0.0 for name in EXPRESSIONS}])
    Path("params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    return tmp_path


def labels(second_teacher: str) -> list[int]:
    tree = yaml.safe_load(Path("params.yaml").read_text())
    tree["pseudo_label"]["second_teacher"] = second_teacher
    Path("params.yaml").write_text(yaml.safe_dump(tree))
    label_expressions("expr")
    return pq.read_table(TABLE)["expression"].to_pylist()


def test_both_have_to_say_the_same(project, capsys):
    first = labels("")
    assert min(first) >= 0 and "second_teacher" not in json.loads((TABLE.parent / "metrics.json").read_text())
    declare_expressions()
    crops = Crops(EXTRA)
    network = expressions_of(FILE, TRACKS["expr"])
    said = predict_axis(network, crops, np.arange(len(crops)), network.pixels, 4)["expression"].argmax(axis=1)
    wanted = [a if a in (b, EXPRESSIONS.index("Other")) else -1 for a, b in zip(first, said, strict=True)]
    assert labels(FILE.as_posix()) == wanted
    told = json.loads((TABLE.parent / "metrics.json").read_text())
    assert told["second_teacher"] == FILE.as_posix()
    assert told["agreed_fraction"] == told["datasets"][EXTRA]["accepted_fraction"] == np.mean([w >= 0 for w in wanted])


def test_what_weights_yaml_says_of_it_is_an_input_of_that_stage_alone(root):
    tree = tiny_params(root).model_dump(mode="json")
    tree["pseudo_label"]["second_teacher"] = FILE.as_posix()
    readers = {stage for stage, part in readers_of_weights(tree).items() if FILE.as_posix() in str(part)}
    assert readers == {"pseudo_label_expressions@expr"}
