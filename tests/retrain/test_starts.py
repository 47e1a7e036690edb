"""`retrain.start: champion`: files out of the cache, declared, and named in params.yaml; everything else as it was."""

import hashlib
import json
from pathlib import Path
from typing import cast

import pytest
import yaml

from pipeline.core.weights import declared, named_in
from pipeline.retrain import starts
from pipeline.retrain.git import commit, git
from pipeline.retrain.history import Champion
from pipeline.retrain.starts import clear, start_from
from pipeline.retrain.versions import Versions
from pipeline.settings import load_params
from stages.check_params import readers_of_weights


class Cache:
    """What a champion's commit made, as `Versions` tells it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outs = {
            "artifacts/mae": self._put({"encoder.safetensors": b"encoder"}),
            "artifacts/systems/va/vit": self._put({"weights.safetensors": b"va"}),
        }

    def _put(self, files: dict[str, bytes]) -> str:
        listing = {name: hashlib.md5(data).hexdigest() for name, data in files.items()}
        for name, data in files.items():
            self.place(listing[name]).write_bytes(data)
        digest = hashlib.md5(json.dumps(listing).encode()).hexdigest() + ".dir"
        self.place(digest).write_text(json.dumps(listing))
        return digest

    def place(self, digest: str) -> Path:
        self.folder.mkdir(exist_ok=True)
        return self.folder / digest

    def digest(self, at: str, out: str) -> str | None:
        return self.outs.get(out)

    def has(self, at: str, out: str) -> bool:
        return out in self.outs

    def files(self, digest: str) -> dict[str, str]:
        return json.loads(self.place(digest).read_text())


@pytest.fixture
def project(workspace, monkeypatch) -> tuple[dict[str, Champion], Cache]:
    """The shipped params committed, and a champion of VA there."""
    git("init", "-q")
    git("add", "params.yaml")
    champion = Champion(tag="champion/va/3", commit=commit(workspace, "all"))
    return {"va": champion}, Cache(workspace / "cache")


def start(project: tuple[dict[str, Champion], Cache], tree: Path) -> bool:
    champions, cache = project
    return start_from(champions, cast(Versions, cache), tree)


def trees() -> tuple[dict, dict]:
    return yaml.safe_load(Path("params.yaml").read_text()), yaml.safe_load(Path("weights.yaml").read_text())


def test_the_champion_s_files_are_pinned(project, workspace, capsys):
    (before, known), (champions, _) = trees(), project
    assert start(project, workspace)
    params, weights = trees()
    place = "weights/champion/champion-vit-va.safetensors"
    assert params["graph"]["trainings"]["vit-va"].pop("start") == place
    assert params["pretrain_mae"].pop("start") == "weights/champion/champion-mae.safetensors"
    assert params == before and "# A fresh clone" not in Path("params.yaml").read_text()
    assert Path(place).read_bytes() == b"va"
    entry = weights["champion-vit-va.safetensors"]
    assert entry["sha256"] == hashlib.sha256(b"va").hexdigest()
    source = f"champion/va/3 at {champions['va'].commit}: artifacts/systems/va/vit/weights.safetensors"
    assert (entry["source"], entry["trained_on"], entry["label_types"]) == (source, ["aff-wild2"], ["va"])
    assert {name: weights[name] for name in known} == known
    assert "vit-au starts from random weights: the track has no champion" in capsys.readouterr().out
    load_params()  # the whole file still checks


def test_the_lock_will_tell_the_digest(project, workspace):
    """What weights.yaml says of a start is part of the stage's own declarations, which are a dep."""
    start(project, workspace)
    readers = readers_of_weights(trees()[0])
    assert list(named_in(readers["finetune@vit-va"], declared())) == ["champion-vit-va.safetensors"]
    assert list(named_in(readers["pretrain_mae@mae"], declared())) == ["champion-mae.safetensors"]
    assert not named_in(readers["finetune@vit-au"], declared())


def test_another_shape_starts_from_random_weights(project, workspace, capsys):
    tree = trees()[0]
    tree["systems"]["vit"]["drop_path"] = 0.1
    Path("params.yaml").write_text(yaml.safe_dump(tree))
    start(project, workspace)
    assert "vit-va starts from random weights: systems.vit has changed since champion/va/3" in capsys.readouterr().out
    assert "start" not in trees()[0]["graph"]["trainings"]["vit-va"]


def test_another_rate_is_no_other_shape(project, workspace):
    tree = trees()[0]
    tree["systems"]["vit"]["train"]["optimise"]["base_learning_rate"] = 1e-4
    Path("params.yaml").write_text(yaml.safe_dump(tree))
    start(project, workspace)
    assert trees()[0]["graph"]["trainings"]["vit-va"]["start"]


def test_from_scratch_again(project, workspace):
    before = trees()[0]
    text = Path("params.yaml").read_text()
    clear(workspace)
    assert Path("params.yaml").read_text() == text  # not a byte, where nothing starts from a champion
    start(project, workspace)
    clear(workspace)
    assert trees()[0] == before and not Path(starts.START).exists()
