"""A training timed on made-up faces: every family of stages runs there, in part or whole."""

from pathlib import Path

import pytest
import yaml

from pipeline.core.graph import Training
from pipeline.core.paths import FACES
from pipeline.plan import measure, throwaway
from pipeline.plan.measure import FAMILIES
from pipeline.settings import Params, load_params
from pipeline.systems import mini_xception
from tests.expressions import FILE, declare_expressions
from tests.tiny import TINY_PARAMS, merge

WIDTH = 16


@pytest.fixture(scope="module")
def place(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The throw-away folder at tiny sizes."""
    folder = tmp_path_factory.mktemp("plan")
    shipped = yaml.safe_load((root / "params.yaml").read_text())
    (folder / "params.yaml").write_text(yaml.safe_dump(merge(shipped, TINY_PARAMS)))
    (folder / "weights.yaml").write_bytes((root / "weights.yaml").read_bytes())
    throwaway.make(folder, 112, dict.fromkeys(("mae", "feedback", "vit-va"), WIDTH))
    return folder


@pytest.fixture
def params(place: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.chdir(place)
    return load_params()


@pytest.mark.parametrize(
    ("family", "name"),
    [
        *(("finetune", name) for name in ("vit-au", "vit-mtl", "emma-mtl", "dan-lsd", "au_cvt-lsd")),
        *(("finetune", name) for name in ("multitask-lsd", "cotex-lsd", "dtm-expr")),
        ("pretrain_feedback", "expr"),
        ("finetune_temporal", "expr"),
        ("finetune", "temporal-va"),
        ("pretrain_mae", "mae"),
        ("cache_features", "mae"),
        ("cache_features", "feedback"),
    ],
)
def test_every_stage_of_the_shipped_graph_can_be_timed(params, place, family, name):
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    found = FAMILIES[family](name, params)
    assert found.memory_bytes > 0 and found.gpu_bytes >= 0
    assert (found.update_seconds > 0) == (family != "cache_features")
    assert (found.rows_a_second > 0) == (family != "pretrain_mae")
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()} == before  # nothing is left


def test_a_long_update_is_timed_in_part_and_multiplied(params, monkeypatch):
    shown: list[int] = []

    def seconds(module: object, batches: object, prepare: object, optimise: object) -> float:
        shown.append(optimise.batch)  # type: ignore[attr-defined]
        return optimise.batch * 1.0  # type: ignore[attr-defined]

    monkeypatch.setattr(measure, "_seconds", seconds)
    monkeypatch.setattr(measure, "FEW", 2)
    found = measure.measure_training("vit-va", params)  # batches of 8: a second an image, three are too many
    assert shown == [2] and found.update_seconds == 8.0
    monkeypatch.setattr(measure, "PATIENCE_SECONDS", 10.0)
    assert measure.measure_training("vit-va", params).update_seconds == 8.0 and shown == [2, 2, 8]


def test_few_updates_keep_their_phases(params):
    settings = measure._with_batch(params.systems["dtm"], "train", 4)
    assert settings.train.optimise.steps == measure.UPDATES and settings.train.optimise.batch == 4
    assert settings.supervised_steps == 2 and settings.unlabelled_batch == 4  # 2 of 6 updates, 8 faces for 8


def test_a_published_network_is_timed_by_its_scores_alone(params):
    declare_expressions()
    needs = [(FACES / "lsd").as_posix()] * 3
    line = Training(system="mini_xception", track="lsd", member="fer", faces="lsd", needs=needs)
    graph = params.graph.model_copy(update={"trainings": {"fer-lsd": line}})
    systems = {"mini_xception": mini_xception.Settings(weights=FILE.as_posix())}
    found = measure.measure_training("fer-lsd", params.model_copy(update={"graph": graph, "systems": systems}))
    assert found.update_seconds == 0 and found.rows_a_second > 0 and found.memory_bytes > 0
