"""The research crate: what is in it, that it hangs together, and what the profiles' own validators say."""

import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import mlcroissant
import pytest
from rocrate.rocrate import ROCrate

from pipeline.audit.exchange.crate import PROFILES, write_crate
from tests.audit.licensed import OPEN, ROWS, found_in, licensed

VALIDATOR = "rocrate-validator"  # roc-validator wants another rich than the tools of this project: an environment apart


@pytest.fixture
def crate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    found = found_in(licensed(tmp_path, {"toy.safetensors": OPEN | {"sha256": "0" * 64}}))
    write_crate(Path("crate"), found, [])
    write_crate(Path("crate.zip"), found, [])
    return Path("crate")


def entities(crate: Path) -> dict[str, dict[str, Any]]:
    tree = json.loads((crate / "ro-crate-metadata.json").read_text())
    assert len({one["@id"] for one in tree["@graph"]}) == len(tree["@graph"])
    return {one["@id"]: one for one in tree["@graph"]}


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [value["@id"]] if set(value) == {"@id"} else [r for v in value.values() for r in references(v)]
    return [r for one in value for r in references(one)] if isinstance(value, list) else []


def test_the_files_are_these_and_no_face(crate: Path) -> None:
    names = sorted(p.relative_to(crate).as_posix() for p in crate.rglob("*") if p.is_file())
    lists = [name for name in names if name.startswith("lists/")]
    assert len(lists) == 1
    assert [name for name in names if name not in lists] == [
        "croissant.json",
        "dvc.yaml",
        "params.yaml",
        "predictions.txt",
        "ro-crate-metadata.json",
        "statement.intoto.json",
        "weights.yaml",
    ]
    assert (crate / "predictions.txt").read_bytes() == ROWS
    with zipfile.ZipFile("crate.zip") as archive:
        assert {one: archive.read(one) for one in archive.namelist()} == {n: (crate / n).read_bytes() for n in names}


def test_it_hangs_together(crate: Path) -> None:
    """Everything that is referred to is there, but for profiles and types that live elsewhere."""
    known = entities(crate)
    elsewhere = {
        "https://w3id.org/ro/crate/1.1",
        "https://slsa.dev/provenance/v1",
        "http://mlcommons.org/croissant/1.0",
    }
    assert {r for one in known.values() for r in references(one)} - set(known) <= elsewhere
    ROCrate(str(crate))
    root = known["./"]
    assert {one["@id"] for one in root["conformsTo"]} == set(PROFILES)
    assert root["mainEntity"] == {"@id": "dvc.yaml"}
    assert "agent" not in json.dumps(list(known.values()))


def test_stages_params_data_weights_and_software(crate: Path) -> None:
    known = entities(crate)
    steps = {one["name"] for one in known.values() if one["@type"] == "HowToStep"}
    assert steps == {"code", "detect_align", "pretrain_mae@mae", "finetune@vit-va", "submit@va"}
    assert {f"#action/{step}" for step in steps} | {"#run"} == {one["@id"] for one in known["./"]["mentions"]}
    assert known["#param/params.yaml/pretrain_mae.mask_ratio"]["value"] == "0.75"
    assert references(known["#action/submit@va"]["result"]) == ["predictions.txt"]
    (raw,) = (one for one in known.values() if one.get("name") == "data/raw/x" and one["@type"] == "Dataset")
    assert raw["contentSize"] == "25" and raw["md5"].endswith(".dir") and raw["@id"].startswith("urn:md5:")
    toy = known[f"urn:sha256:{'0' * 64}"]
    assert (toy["license"], toy["name"]) == ("MIT", "weights/toy.safetensors")
    assert known["https://pypi.org/project/torch/2.15.0/"]["version"] == "2.15.0"
    assert "MLflow run a1" in known["#action/finetune@vit-va"]["description"]
    assert known["#usage/finetune@vit-va/seconds"]["value"] == "2.5"
    assert toy["@id"] in references(known["#action/finetune@vit-va"]["object"])


def test_croissant_is_valid_and_gives_each_files_digest(crate: Path) -> None:
    data = mlcroissant.Dataset(str(crate / "croissant.json"))
    assert list(data.metadata.ctx.issues.errors) == []
    assert [one.uuid for one in data.metadata.record_sets] == ["data-raw-x-digests"]
    records = list(data.records("data-raw-x-digests"))
    told = {str(r["data-raw-x-digests/relpath"]): r["data-raw-x-digests/md5"] for r in records}
    assert {key.strip("b'") for key in told} == {"videos/1.mp4", "videos/2.mp4"}


def test_the_profiles_validator_finds_no_fault(crate: Path) -> None:
    if not shutil.which(VALIDATOR):
        pytest.skip(f"needs {VALIDATOR} on the PATH: `uv tool install roc-validator` (it pins another rich)")
    command = [VALIDATOR, "-y", "validate", "-p", "provenance-run-crate-0.5", "-l", "required", "-v", "--no-paging"]
    run = subprocess.run([*command, str(crate)], capture_output=True, text=True)
    if "Unable to retrieve the JSON-LD context" in run.stdout or "URLError" in run.stdout + run.stderr:
        pytest.skip("the validator fetches RO-Crate's context from w3id.org, which cannot be reached")
    assert run.returncode == 0, run.stdout[-3000:]
