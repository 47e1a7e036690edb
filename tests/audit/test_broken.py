"""What is wrong with a finished run is found and named, and nothing else: in a miniature clone, a fault at a time."""

import json
import sys
import zipfile
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.audit.audit import look_up, open_history
from pipeline.audit.claims import counted
from pipeline.audit.stranger import tell_stranger
from pipeline.run.delivery import EXPERIMENT
from pipeline.run.outputs import folder_members
from tests.audit import finished
from tests.audit.finished import FILE, STAGE, amend, broken, claims, flip, git, replace
from tests.clones import run_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]  # the first test makes the clone: eleven stages


def run_id(stage: str) -> str:
    return json.loads(Path(f"artifacts/runs/{stage}/run.json").read_text())["run_id"]


def test_an_honest_run_has_nothing_broken(clone: Path) -> None:
    said = claims()
    assert [claim for claim in said if claim.verdict == "broken"] == []
    unchecked = {(claim.about, claim.kind) for claim in said if claim.verdict == "unchecked"}
    assert unchecked == {("check_params", "made"), ("synthesize", "made")}  # they keep no record of their run
    assert counted(said)["verified"] > 100
    kinds = {claim.kind for claim in said if claim.verdict == "verified"}
    assert kinds == {"bytes", "made", "link", "params", "graph", "code", "commit", "run", "weights", "people", "rules"}


def test_one_byte_of_the_prediction_file(clone: Path) -> None:
    flip(FILE, -2)
    history = open_history()
    assert look_up(FILE, history) is None
    said = "\n".join(tell_stranger(FILE, history))
    last = len(FILE.read_text().splitlines())
    assert "Mien did not make these bytes" in said
    assert f"nearest: {FILE} of commit " in said
    assert f"line {last}: " in said


def test_a_copy_is_found_whatever_was_done_to_it_on_its_way(clone: Path, tmp_path: Path) -> None:
    text = FILE.read_bytes()
    copy, windows, archive = tmp_path / "final_v2.csv", tmp_path / "w.txt", tmp_path / "team.zip"
    copy.write_bytes(text)
    windows.write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
    with zipfile.ZipFile(archive, "w") as file:
        file.write(FILE, "AU/ours.txt")
        file.write(FILE.with_name("filled.json"), "AU/notes.json")
    history = open_history()
    undone: dict[str, str] = {}
    for path in (copy, windows, archive):
        found = look_up(path, history)
        assert found is not None and found.case.hit.stage == STAGE
        undone[path.name] = found.form.undone
        assert found.beside == (("AU/notes.json of the archive",) if path == archive else ())
    assert undone == {copy.name: "", windows.name: "line ends made LF", archive.name: "AU/ours.txt of the archive"}


def test_a_param_edited_after_the_run(clone: Path) -> None:
    replace(Path("params.yaml"), "weight_step: 0.1", "weight_step: 0.2")
    assert broken() == {}  # the commit of the lock has the former value: what is edited since is another run's
    amend()
    said = broken()
    assert said.keys() == {("ensemble@au", "params"), ("check_params", "link")}
    assert "ensemble.weight_step 0.1 -> 0.2" in said["ensemble@au", "params"]


def test_one_byte_of_a_feature_shard_in_the_cache(clone: Path) -> None:
    shard, md5 = min(folder_members(Path("artifacts/features/mae")).items())
    flip(finished.cached(md5))
    said = broken()
    assert said.keys() == {("artifacts/features/mae", "bytes")}
    assert f"artifacts/features/mae/{shard}: other bytes in the cache" in said["artifacts/features/mae", "bytes"]


@pytest.mark.parametrize("committed", [False, True])
def test_a_dirty_tree_at_run_time(clone: Path, committed: bool) -> None:
    path = Path("stages/submit.py")
    before = path.read_text()
    path.write_text(f"{before}# tried\n")
    run_in(clone, "dvc", "repro", "--single-item", "--force", STAGE)
    if not committed:
        path.write_text(before)
    amend()  # an earlier commit with the same chain would tell of a clean run
    said = broken()
    assert said.keys() == (set() if committed else {(STAGE, "commit")})
    assert committed or "stages/submit.py" in said[STAGE, "commit"]


def test_an_output_committed_that_nobody_produced(clone: Path) -> None:
    flip(FILE, -2)
    run_in(clone, "dvc", "commit", "-f", STAGE)
    git("commit", "-qam", "better")
    said = broken()
    assert said.keys() == {(STAGE, "made"), (STAGE, "run")}
    assert said[STAGE, "made"].startswith(f"{FILE}: ")
    assert "nobody produced" in said[STAGE, "made"]


def test_a_run_edited_in_mlflow(clone: Path) -> None:
    finished.database(
        "update params set value = '7' where key = 'ensemble.seed' and run_uuid = ?", run_id("ensemble@au")
    )
    said = broken()
    assert said.keys() == {("ensemble@au", "run")}
    assert "ensemble.seed is 7, the lock has 0" in said["ensemble@au", "run"]


def test_a_metric_edited_in_mlflow(clone: Path) -> None:
    for table in ("metrics", "latest_metrics"):
        finished.database(
            f"update {table} set value = 0.99 where key = 'score' and run_uuid = ?", run_id("ensemble@au")
        )
    assert "metric score is 0.99" in broken()["ensemble@au", "run"]


@pytest.mark.parametrize("gone", [False, True])
def test_a_run_deleted_from_mlflow(clone: Path, gone: bool) -> None:
    run = run_id("finetune@vit-au")
    change = "update runs set lifecycle_stage = 'deleted' where run_uuid = ?"
    finished.database(change, run)
    if gone:
        for table in ("metrics", "latest_metrics", "params", "tags"):
            finished.statement(f"delete from {table} where run_uuid = ?", run)
        finished.database("delete from runs where run_uuid = ?", run)
    said = broken()
    assert said.keys() == {("finetune@vit-au", "run")}
    assert "deleted" in said["finetune@vit-au", "run"]


def test_an_edited_code_file(clone: Path) -> None:
    flip(Path("artifacts/code/ensemble.txt"), -2)
    said = broken()
    assert said.keys() == {("artifacts/code", "bytes")}
    assert "artifacts/code/ensemble.txt" in said["artifacts/code", "bytes"]


def test_other_code_in_the_commit_than_what_ran(clone: Path) -> None:
    replace(Path("pipeline/ensemble/fit.py"), "if not members:", "if len(members) == 0:")
    amend()
    said = broken()
    assert said.keys() == {("ensemble@au", "code"), ("check_params", "code")}  # the section's class stands there too
    assert "pipeline/ensemble/fit.py has changed" in said["ensemble@au", "code"]


def test_a_raw_video_swapped(clone: Path) -> None:
    videos = sorted(path for path in Path("data/raw/demo/videos").rglob("*") if path.suffix in (".mp4", ".avi"))
    data = videos[1].read_bytes()
    videos[0].unlink()
    videos[0].write_bytes(data)
    said = broken()
    assert said.keys() == {("data/raw/demo", "bytes")}
    assert f"{videos[0]}: other bytes on disk" in said["data/raw/demo", "bytes"]


def test_a_digest_of_the_lock_edited_by_hand(clone: Path) -> None:
    (dep,) = (dep for dep in finished.lock().stages[STAGE].deps if dep.path == "artifacts/ensemble/au")
    text = Path("dvc.lock").read_text()
    head, tail = text[: text.index(f"  {STAGE}:")], text[text.index(f"  {STAGE}:") :]
    Path("dvc.lock").write_text(head + tail.replace(dep.md5[:6], "000000", 1))
    amend()
    said = broken()
    assert said.keys() == {(STAGE, "link"), (STAGE, "run")}
    assert "artifacts/ensemble/au" in said[STAGE, "link"]
    assert "artifacts/ensemble/au" in said[STAGE, "run"]


def block(text: str, stage: str) -> str:
    """A stage's lines of a lock."""
    start = text.index(f"  {stage}:\n")
    rest = text[start + 1 :].split("\n")
    end = next((n for n, line in enumerate(rest) if n and line[:3].strip() and line[:2] == "  "), len(rest))
    return text[start] + "\n".join(rest[:end]) + "\n"


def test_a_lock_merged_from_two_branches(clone: Path) -> None:
    """The ensemble of one and the submission of the other."""
    ours = Path("dvc.lock").read_text()
    git("checkout", "-q", "-b", "side")
    replace(Path("params.yaml"), "half_windows_frames:\n  - 0\n", "half_windows_frames:\n  - 8\n")
    for stage in ("check_params", "ensemble@au"):
        run_in(clone, "dvc", "repro", "--single-item", stage)
    git("commit", "-qam", "smoothed")
    theirs = Path("dvc.lock").read_text()
    git("checkout", "-q", "-")
    assert block(ours, "ensemble@au") != block(theirs, "ensemble@au")
    Path("dvc.lock").write_text(ours.replace(block(ours, "ensemble@au"), block(theirs, "ensemble@au")))
    git("commit", "-qam", "merged by hand")
    said = broken()
    assert "ensemble.half_windows_frames" in said["ensemble@au", "params"]
    assert "artifacts/ensemble/au" in said[STAGE, "link"]


def test_a_param_of_the_lock_edited_by_hand(clone: Path) -> None:
    replace(Path("dvc.lock"), "weight_step: 0.1", "weight_step: 0.3")
    amend()
    said = broken()
    assert said.keys() == {("ensemble@au", "params"), ("ensemble@au", "run")}
    assert "ensemble.weight_step 0.3 -> 0.1" in said["ensemble@au", "params"]


def test_a_lock_that_is_not_committed_yet(clone: Path) -> None:
    git("reset", "-q", "--soft", "HEAD~1")
    git("rm", "-q", "--cached", "dvc.lock", "demo/dvc.lock")
    said = claims()
    assert [claim.text for claim in said if claim.verdict == "broken"] == []
    (lock,) = (claim for claim in said if claim.about == "dvc.lock")
    assert (lock.verdict, lock.text[:33]) == ("unchecked", "the lock is not committed yet; co")


def test_an_experiment_beside_the_workspace_is_audited_as_any_run(clone: Path) -> None:
    """Its run is in the project's MLflow, its lock in a reference of DVC's; nothing of it is applied."""
    store, made_on = MlflowClient(), git("branch", "--show-current").strip()
    place = store.get_experiment_by_name(EXPERIMENT)
    assert place
    before = {run.info.run_id for run in store.search_runs([place.experiment_id])}
    run_in(clone, "dvc", "exp", "run", "--temp", "-n", "tried", "-S", "ensemble.half_windows_frames=[12]", STAGE)
    runs = [run for run in store.search_runs([place.experiment_id]) if run.info.run_id not in before]
    assert {run.info.run_name: run.info.status for run in runs} == dict.fromkeys(("ensemble@au", STAGE), "FINISHED")
    assert all(Path(run.info.artifact_uri.removeprefix("file://")).is_dir() for run in runs)
    assert git("status", "--porcelain", "--untracked-files=no") == ""
    git("checkout", "-q", "-b", "without", "HEAD~1")  # a branch on which nothing was made, and no other
    git("branch", "-q", "-D", made_on)
    said = run_in(clone, sys.executable, "-m", "pipeline", "audit", str(FILE))
    assert "branches: none; experiments of DVC: tried" in said and "0 broken" in said


def test_the_command_finds_what_another_branch_made(clone: Path) -> None:
    git("branch", "-m", "tried")
    git("checkout", "-q", "-b", "main", "HEAD~1")
    said = run_in(clone, sys.executable, "-m", "pipeline", "audit", str(FILE))
    assert "branches: tried" in said
    assert "0 broken" in said
