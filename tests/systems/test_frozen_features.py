"""The guide's worked example, from its own lines: frozen features of a face network under a temporal head."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from bench.jobs import job_of
from pipeline.backbones.features import write_features
from pipeline.core.graph import Needs
from pipeline.core.paths import FACES, FEATURES, SYSTEMS
from pipeline.faces.crops import Crops
from pipeline.predict.members import Faces, TemporalMember, load_member
from pipeline.settings import Params, load_params
from pipeline.systems.extractor import extractor_of
from pipeline.systems.named import system_module
from pipeline.tables.features import Features
from pipeline.train.fit import Recipe, fit_or_judge, seed_weights, write_results
from tests.expressions import declare_expressions
from tests.tiny import TINY_PARAMS, merge


def guides_lines(root: Path) -> dict[str, Any]:
    """The guide's one block of params."""
    (block,) = re.findall(r"```yaml\n(.*?)```", (root / "docs/GUIDE.md").read_text(), re.DOTALL)
    return yaml.safe_load(block)


def joined(tree: dict, more: dict) -> dict:
    """A tree of params with sections of another beside its own."""
    both = {k: joined(tree[k], v) if isinstance(v, dict) and k in tree else v for k, v in more.items()}
    return tree | both


@pytest.fixture
def example(mini_root: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The miniature release and the shipped params at tiny sizes with the guide's lines, the network declared."""
    shutil.copytree(mini_root / "artifacts", tmp_path / "artifacts")
    shutil.copy(root / "weights.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    tree = merge(yaml.safe_load((root / "params.yaml").read_text()), TINY_PARAMS)
    Path("params.yaml").write_text(yaml.safe_dump(joined(tree, guides_lines(root))))
    declare_expressions(Path("weights/mini_xception.safetensors"))
    return load_params()


def test_the_lines_cache_features_train_a_head_and_answer(example, tmp_path):
    line, cached = example.graph.features["fer"], example.cache_features.backbones["fer"]
    extractor = extractor_of(cached, Path(line.weights))
    (shard,) = (FACES / "aff-wild2").glob("*.parquet")
    write_features(shard, FEATURES / "fer/aff-wild2" / shard.name, extractor, 4, {})
    assert Features(FEATURES / "fer/aff-wild2").width == 128
    modules = {}
    for name in ("temporal-fer", "fer-expr"):
        training = example.graph.trainings[name]
        seed_weights(example.finetune)
        needs = Needs.of(f"graph.trainings.{name}", training.needs).paths  # what its line names, and nothing else
        made = system_module(training.system).recipe(
            example.systems[training.system], job_of(training.track, example, needs)
        )
        assert isinstance(made, Recipe) == (name == "temporal-fer")
        module, loop = fit_or_judge(name, made, example.finetune, tmp_path / name, lambda metrics, step: None)
        write_results(SYSTEMS / training.track / training.member, made, module, loop)
        modules[name] = module
    member = load_member("expr", "temporal-fer")
    assert isinstance(member, TemporalMember)
    crops = Crops("aff-wild2")
    jpegs = [crops.jpeg(row) for row in range(5)]
    found = member(Faces(jpegs, np.arange(5), 2))["expression"]
    features = torch.from_numpy(Features(FEATURES / "fer/aff-wild2").rows(np.arange(5))).float()
    stride = example.systems["temporal"].stride_frames
    head: Any = modules["temporal-fer"]
    expected = head.predict_video(features, torch.ones(5, dtype=torch.bool), stride)["expression"]
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
