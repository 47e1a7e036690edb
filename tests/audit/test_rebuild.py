"""A submission made again from nothing beside what was made: in a miniature clone."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline.audit import rebuild as rebuilding
from pipeline.audit.audit import look_up, open_history
from pipeline.audit.case import Case
from pipeline.audit.claims import Claim
from pipeline.audit.remade import judge_rebuild
from pipeline.core.errors import MienError
from tests.audit.finished import FILE, STAGE, amend, replace
from tests.clones import run_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1700)]  # first of those that want the audit's clone


@pytest.fixture(scope="module")
def rebuilt(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished clone with its rebuild in it."""
    target = tmp_path_factory.mktemp("rebuilt") / "clone"
    shutil.copytree(original, target, symlinks=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(target)
        root = rebuilding.rebuild(case())
        assert not list((target / rebuilding.HOME).glob("*.tmp"))
        assert root.resolve().parent == (target / rebuilding.HOME).resolve()
    return target


@pytest.fixture
def root(rebuilt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it as the working directory; the folder of the rebuild."""
    shutil.copytree(rebuilt, tmp_path / "clone", symlinks=True)
    monkeypatch.chdir(tmp_path / "clone")
    return next(rebuilding.HOME.iterdir())


def case() -> Case:
    found = look_up(FILE, open_history())
    assert found is not None
    return found.case


def judged(root: Path) -> list[Claim]:
    return list(judge_rebuild(case(), root, FILE.read_bytes()))


def run_record(root: Path, stage: str) -> Path:
    return root / "artifacts/runs" / stage / "run.json"


def test_an_honest_run_comes_out_again_byte_for_byte(root: Path) -> None:
    (claim,) = judged(root)
    assert claim.verdict == "verified"
    assert "stages of " in claim.text and claim.text.endswith("every output has the same bytes")
    for stage in ("finetune@vit-au", STAGE):  # nothing came from the run before
        ours, theirs = (json.loads(run_record(place, stage).read_text()) for place in (Path(), root))
        assert ours["run_id"] != theirs["run_id"]
        assert ours["machine"] == theirs["machine"]


def test_an_output_that_nobody_produced_is_named(root: Path) -> None:
    row = FILE.read_text().splitlines()[1]
    replace(FILE, row, f"{row[:-1]}{1 - int(row[-1])}")
    run_in(Path(), "dvc", "commit", "-f", STAGE)
    amend()
    first, rows = judged(root)
    assert first.verdict == "broken"
    assert f"first otherwise: {FILE} of {STAGE}, 1 files; {FILE}: 1 of " in first.text
    assert "processor, threads and libraries are the same" in first.text
    assert rows.verdict == "verified" and "decisions are the same" in rows.text


def test_another_processor_explains_other_bytes(root: Path) -> None:
    row = FILE.read_text().splitlines()[1]
    replace(FILE, row, f"{row[:-1]}{1 - int(row[-1])}")
    run_in(Path(), "dvc", "commit", "-f", STAGE)
    amend()
    record = run_record(root, STAGE)
    told = json.loads(record.read_text())
    told["machine"]["instructions"] = ["avx2"]
    record.write_text(json.dumps(told))
    first, rows = judged(root)
    assert first.verdict == "verified" and "the machine differs: instructions " in first.text
    assert rows.verdict == "verified" and "not byte for byte" in rows.text


def test_a_submission_that_decides_otherwise_is_broken(root: Path) -> None:
    lines = FILE.read_text().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    flipped = [",".join([image, *("10"[int(value)] for value in values)]) for image, *values in rows]
    FILE.unlink()
    FILE.write_text("\n".join([lines[0], *flipped]) + "\n")
    run_in(Path(), "dvc", "commit", "-f", STAGE)
    amend()
    run_record(root, STAGE).unlink()
    first, alike = judged(root)
    assert first.verdict == "verified" and "is not recorded" in first.text
    assert alike.verdict == "broken" and "0.0% of decisions are the same" in alike.text


def test_a_lock_that_is_not_committed_cannot_be_rebuilt(root: Path) -> None:
    replace(Path("params.yaml"), "  seed: 0\n", "  seed: 0 \n")
    lock = Path("dvc.lock")
    lock.write_text(lock.read_text() + "# by hand\n")
    told = case()
    uncommitted = Case(type(told.hit)(told.state, (), told.lock, STAGE, told.hit.item), told.objects, told.present)
    with pytest.raises(MienError, match="not committed"):
        rebuilding.rebuild(uncommitted)
