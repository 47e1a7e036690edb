"""params.yaml: what ships is valid, and every kind of mistake is one line that names the key."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.core.deps import stage_deps
from pipeline.core.errors import MienError
from pipeline.core.params import read_tree, validated
from pipeline.core.paths import DECLARED
from pipeline.core.weights import declared, named_in
from pipeline.settings import Params, load_params
from stages.check_params import readers_of_weights

Change = Callable[[dict[str, Any]], None]


def put(path: str, value: Any) -> Change:
    *sections, key = path.split(".")

    def change(tree: dict[str, Any]) -> None:
        for section in sections:
            tree = tree[section]
        tree[key] = value

    return change


def drop(path: str) -> Change:
    *sections, key = path.split(".")

    def change(tree: dict[str, Any]) -> None:
        for section in sections:
            tree = tree[section]
        del tree[key]

    return change


@pytest.fixture(scope="module")
def tree(root) -> dict[str, Any]:
    return yaml.safe_load((root / "params.yaml").read_text())


def complaint(tmp_path: Path, tree: dict[str, Any], change: Change) -> str:
    changed = copy.deepcopy(tree)
    change(changed)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(changed))
    return refusal(path, lambda: load_params(path))


def refusal(path: Path, load: Callable[[], Params]) -> str:
    with pytest.raises(MienError) as caught:
        load()
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


def test_shipped_params_are_valid(root):
    params = load_params(root / "params.yaml")
    assert isinstance(params, Params)
    assert params.data.root == "data/raw/demo"
    assert set(params.ensemble.members) == {"expr", "au", "va", "mtl", "lsd"}
    optimise = params.pretrain_mae.optimise.model_copy(update={"base_learning_rate": 2e-3, "batch": 128})
    assert optimise.learning_rate == pytest.approx(1e-3)
    assert optimise.model_copy(update={"accumulate": 4}).learning_rate == pytest.approx(4e-3)
    with pytest.raises(Exception, match="frozen"):
        params.vit.width = 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (put("detekt_align", {}), "unknown key detekt_align;"),
        (put("systems.vit.train.optimise.warm_up", 3), "unknown key systems.vit.train.optimise.warm_up;"),
        (put("systems.dmt", {}), "there is no system dmt; use one of: au_cvt, cotex,"),
        (put("finetune.optimise", {}), "unknown key finetune.optimise;"),
        (drop("systems.vit.train.optimise.steps"), "systems.vit.train.optimise.steps: Field required"),
        (drop("systems.feedback.spatial.train"), "systems.feedback.spatial.train: Field required"),
        (put("systems.dtm.threshold", "adaptive"), "systems.dtm.threshold: Input should be 'dynamic', 'fixed'"),
        (put("systems.dan.channels", [16, 32]), "systems.dan.channels: List should have at least 4 items"),
        (put("systems.vit.train.optimise.optimiser", "lion"), "optimise.optimiser: Input should be 'adamw' or 'sgd'"),
        (put("systems.feedback.temporal.stride_frames", 33), "stride_frames must not exceed window_frames"),
        (put("systems.dtm.train.optimise.accumulate", 2), "accumulate must be 1"),
        (put("systems.feedback.spatial.train.optimise.accumulate", 2), "accumulate must be 1"),
        (put("systems.feedback.spatial.head_start_steps", 230), "must leave room in train.optimise.steps"),
        (put("systems.feedback.spatial.train.patience_evaluations", 2), "patience_evaluations must be 0"),
        (put("systems.feedback.temporal.heads", 3), "width must be a multiple of heads"),
        (put("systems.au_cvt.heads", 5), "width must be a multiple of heads"),
        (put("systems.au_cvt.image_pixels", 50), "image_pixels of 2 ** stages"),
        (put("systems.au_cvt.units", [1, 1]), "channels and units must be as long as each other"),
        (put("systems.dtm.backbone.units", [1, 1]), "channels and units must be as long as each other"),
        (put("vit.width", "128"), "vit.width: Input should be a valid integer"),
        (put("vit.width", 128.0), "vit.width: Input should be a valid integer"),
        (put("finetune.seed", None), "finetune.seed: Input should be a valid integer"),
        (put("graph.encoders.mae", ["artifacts/faces/aff-wild", "artifacts/faces/lsd"]), "aff-wild may not"),
        (put("ensemble.members.expression", ["vit"]), "ensemble.members.expression"),
        (put("ensemble.folds", 1), "ensemble.folds: Input should be greater than or equal to 2"),
        (put("pseudo_label.confidence", 0.5), "pseudo_label.confidence: Input should be greater than 0.5"),
        (put("detect_align.detector", "dlib"), "detect_align.detector: String should match"),
        (put("detect_align.crop_pixels", 113), "crop_pixels must be a multiple of 112 or 128"),
        (put("vit.patch_pixels", 7), "image_pixels must be a multiple of patch_pixels"),
        (put("vit.patch_pixels", 0), "vit.patch_pixels: Input should be greater than"),
        (put("vit.heads", 0), "vit.heads: Input should be greater than"),
        (put("vit.width", 126), "vit.width: Input should be a multiple of 4"),
        (put("pretrain_mae.decoder_heads", 0), "pretrain_mae.decoder_heads: Input should be greater than"),
        (put("pretrain_mae.decoder_heads", 7), "decoder_width must be a multiple of decoder_heads"),
        (put("submit.file_name", "../up.txt"), "submit.file_name: String should match"),
        (put("graph.encoders.mae", ["lsd"]), "graph.encoders.mae: List should have at least 2 items"),
        (
            put("graph.encoders.mae", ["artifacts/faces/extra", "artifacts/faces/s-aff-wild2"]),
            "s-aff-wild2 may not be used in pre-training for EXPR",
        ),
        (put("graph.encoders.mae", ["artifacts/faces/lsd", "artifacts/external/x/faces"]), "graph.external has no x"),
        (
            put("graph.external.x", {"path": "data/raw/x", "known_as": "Aff-Wild2"}),
            "graph.external.x: Aff-Wild2 is Aff-Wild2's own, no external set",
        ),
        (put("graph.trainings.vit-va.further", {"x": 0.5}), "vit-va.further: graph.external has no x; it has: none"),
        (put("graph.trainings.vit-va.further", {"x": 0.0}), "vit-va.further.x: Input should be greater than 0"),
        (put("graph.encoders.vae", ["extra", "lsd"]), "graph.encoders.vae.[key]: Input should be 'mae'"),
        (put("graph.trainings.vit-au.needs", ["artifacts/mae"]), "vit-au.needs: List should have at least 3 items"),
        (
            put("graph.trainings.vit-au.track", "emotion"),
            "vit-au: there is no track emotion; use one of",
        ),
        (put("graph.trainings.vit-au.system", "resnet"), "graph.trainings.vit-au: systems has no section resnet"),
        (put("graph.trainings.vit-au.faces", "lsd"), "graph.trainings.vit-au: faces of AU are aff-wild2"),
        (put("graph.trainings.vit-au.member", "a/b"), "graph.trainings.vit-au.member: String should match"),
        (put("graph.trainings.cotex-lsd.member", "dan"), "two trainings of a track have the same member name"),
        (drop("ensemble.members.va"), "ensemble.members has no va, which graph.tracks wants"),
        (put("graph.tracks", ["ce"]), "graph.tracks: there is no track ce; use one of: expr, au, va, mtl, lsd"),
        (
            put("graph.features.resnet", {"weights": "w", "faces": "f"}),
            "cache_features.backbones has no section resnet",
        ),
        (
            put("ensemble.members.au", ["vti"]),
            "ensemble.members.au: nothing in graph makes vti; there are: temporal, vit",
        ),
        (
            put("graph.trainings.dan-lsd.system", "temporal"),
            "graph.trainings.dan-lsd: LSD has pictures and no recordings, so it has no temporal model",
        ),
        (
            put("graph.trainings.temporal-va.needs", ["artifacts/features/vit-au/aff-wild2"] * 3),
            "temporal-va: artifacts/features/vit-au/aff-wild2 comes of a training on AU, which the rules forbid",
        ),
        (
            put("graph.trainings.temporal-va.fold", {"number": 0, "of": 5}),
            "artifacts/features/vit-va/aff-wild2 comes of a training that has seen the fold's recordings",
        ),
        (
            put("ensemble.members.expr", ["dtm", "dan"]),
            "nothing in graph makes dan; there are: dtm, feedback, temporal, vit",
        ),
    ],
)
def test_mistakes_are_named(tmp_path, tree, change, named):
    assert named in complaint(tmp_path, tree, change)


@pytest.mark.parametrize("place", ["/data/aff-wild2", "..", "data/../../elsewhere"])
def test_root_outside_of_the_project_is_refused(tmp_path, tree, place):
    message = complaint(tmp_path, tree, put("data.root", place))
    assert "data" in message and f"root must be a path below the project, not {place}" in message


@pytest.mark.parametrize("key", ["api_key", "API-KEY".replace("-", ""), "hub_token", "Password", "s3_secret"])
def test_secrets_are_refused_and_not_repeated(tmp_path, tree, key):
    message = complaint(tmp_path, tree, put(f"data.{key}", "hunter2"))
    assert f"data.{key} looks like a secret" in message and "hunter2" not in message


@pytest.mark.parametrize("path", ["data.name", "cache_features.backbones.mae.weights"])
def test_credentials_in_a_url_are_refused_and_not_repeated(tmp_path, tree, path):
    message = complaint(tmp_path, tree, put(path, "https://me:hunter2@example.org/x"))
    assert f"{path} holds a URL with credentials" in message and "hunter2" not in message


def test_url_without_credentials_passes(tmp_path, tree):
    changed = copy.deepcopy(tree)
    changed["data"]["name"] = "https://example.org/release"
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(changed))
    assert load_params(tmp_path / "p.yaml").data.name == "https://example.org/release"


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"data: {root: [", "not readable as YAML"),
        (b"\xff\xfe\x00data", "not readable as YAML"),
        (b"", "holds no sections"),
        (b"- a\n- b\n", "holds no sections"),
        (b"!!python/object/apply:os.system ['true']", "not readable as YAML"),
    ],
)
def test_broken_files(tmp_path, data, named):
    path = tmp_path / "params.yaml"
    path.write_bytes(data)
    with pytest.raises(MienError, match=named) as caught:
        load_params(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


KNOTS = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]


@pytest.mark.parametrize("text", ["\n".join(["a0: &a0 [1, 2]", *KNOTS]), "a: " + "[" * 100_000 + "]" * 100_000])
def test_knots_and_depth_are_refused_before_they_are_followed(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(MienError, match=r"params\.yaml:\d+: too deep or too many values for params"):
        read_tree(path)


def _numbers(node: Any, path: str = "") -> list[str]:
    if isinstance(node, dict):
        return [name for key, value in node.items() for name in _numbers(value, f"{path}.{key}")]
    return [path[1:]] if isinstance(node, float) else []


def test_no_number_may_be_infinite_or_none(tmp_path, tree):
    names, path = _numbers(tree), tmp_path / "params.yaml"
    assert len(names) > 65
    for value in (float("inf"), float("-inf"), float("nan")):
        complaint(tmp_path, tree, put(names[0], value))  # as the file has it; reading that takes longer than the check
        for name in names:
            changed = copy.deepcopy(tree)
            put(name, value)(changed)
            refusal(path, partial(validated, Params, changed, "", path))


def test_missing_file(workspace):
    Path("params.yaml").unlink()
    with pytest.raises(MienError, match=r"params\.yaml: no such file") as caught:
        load_params()
    assert caught.value.exit_code == 2


def test_an_external_set_trains_the_tracks_that_it_has_labels_of(root):
    tree = yaml.safe_load((root / "params.yaml").read_text())
    tree["graph"]["external"] = {"mine": {"path": "data/raw/mine", "known_as": "affectnet"}}
    tree["graph"]["encoders"]["mae"] = ["artifacts/external/mine/faces", "artifacts/faces/lsd"]
    tree["graph"]["trainings"]["vit-va"]["further"] = {"mine": 0.4}
    assert Params.model_validate(tree).graph.trainings["vit-va"].further == {"mine": 0.4}
    tree["graph"]["trainings"]["vit-au"]["further"] = {"mine": 0.4}
    with pytest.raises(ValueError, match=r"vit-au\.further: affectnet has no labels of AU"):
        Params.model_validate(tree)


def test_each_stage_that_reads_weights_depends_on_what_is_declared_of_its_own(root, monkeypatch):
    monkeypatch.chdir(root)
    readers = readers_of_weights(read_tree())
    # detection, the encoder, features, the feedback system, the pool's labeller, trainings
    assert len(readers) == 1 + 1 + 6 + 1 + 1 + 14
    for stage in readers:
        assert DECLARED / f"{stage}.yaml" in stage_deps(stage), stage
    known = declared()
    assert set(named_in(readers["detect_align"], known)) == {name for name in known if name.startswith("mtcnn-")}
    assert all(not named_in(readers[stage], known) for stage in readers if stage.startswith("finetune"))
