"""The whole story in miniature: recordings arrive, a challenger is promoted, another refused, a rollback."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from mlflow import MlflowClient

from tests.clones import environment, repro, rewrite, run_in
from tests.retrain.story import git, mien, story_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
DAY = "2026-11-26"
EPOCH = "1795651200"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return story_of(tmp_path_factory)


def set_margin(clone: Path, margin: float) -> None:
    rewrite(clone / "params.yaml", {"retrain": {"margin": margin}})
    git(clone, "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qam", f"margin {margin}")


def retrain(clone: Path) -> str:
    run = mien(clone, "retrain", "--if-new-data", SOURCE_DATE_EPOCH=EPOCH)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return run.stdout


def reused(told: str) -> tuple[int, int]:
    """Shards of faces that were found again, and all."""
    found = re.search(r"(\d+)/(\d+) reused", told)
    assert found
    return int(found[1]), int(found[2])


def outputs(clone: Path, commit: str) -> dict[str, str]:
    """md5 of every output of a commit's lock but the run records."""
    lock = yaml.safe_load(git(clone, "show", f"{commit}:dvc.lock"))
    outs = [out for stage in lock["stages"].values() for out in stage["outs"]]
    return {out["path"]: out["md5"] for out in outs if not out["path"].startswith("artifacts/runs")}


def test_nothing_new_ends_at_once(story):
    clone, _ = story
    told = retrain(clone)
    assert told.splitlines()[-1] == "nothing new: no run"
    assert git(clone, "branch", "--list", "retrain/*") == git(clone, "tag") == ""


def test_a_killed_run_leaves_nothing_and_the_next_completes(story):
    """Two recordings arrive among bad files; the run is killed in its middle, and the next one does it all."""
    clone, later = story
    set_margin(clone, -1.0)
    inbox = clone / "data/inbox"
    shutil.copytree(later, inbox)
    (inbox / "900.mp4").write_bytes((later / "122.mp4").read_bytes()[:200])
    shutil.copyfile(later / "122.mp4", inbox / "901.mp4")
    shutil.copyfile(later / "122.txt", inbox / "902.txt")
    command = [sys.executable, "-m", "pipeline", "retrain", "--if-new-data"]
    process = subprocess.Popen(
        command, cwd=clone, env=environment(), stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout
    for line in process.stdout:
        if line.startswith("Running stage 'detect_align'"):
            break
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    process.kill()  # as a machine's own killer does: no handler runs
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    process.wait()
    assert (clone / ".work/retrain/tree").is_dir()
    told = retrain(clone)
    assert "a run was killed half-way" in told
    assert "900.mp4: no frame decodes" not in told  # the killed run had set it aside
    assert {path.name for path in (clone / "data/set_aside").iterdir() if path.suffix == ".mp4"} == {
        "900.mp4",
        "901.mp4",
    }
    assert "902.txt: waits: no video 902" in told
    assert f"retrain/{DAY}: " in told and "va: promoted" in told
    assert not (clone / ".work/retrain/tree").exists() and "tree" not in git(clone, "worktree", "list")
    assert git(clone, "status", "--porcelain") == ""


def test_only_what_is_new_was_detected(story):
    """Every shard but those of the two recordings is the user's own: the same bytes, and the same file."""
    clone, later = story
    new = {path.stem for path in later.glob("*.mp4")}
    faces = f"retrain/{DAY}"
    card = git(clone, "show", f"{faces}:dvc.lock")
    assert "artifacts/faces" in card
    mine = {path.name for path in (clone / ".work/detect_align").glob("*.parquet")}
    theirs = {path.name for path in (clone / ".work/retrain/store/detect_align").glob("*.parquet")}
    assert mine < theirs and len(theirs - mine) == len(new) == 2
    assert all(os.stat(clone / ".work/detect_align" / name).st_nlink > 1 for name in mine)


def test_the_champion_is_tagged_and_told(story):
    clone, _ = story
    assert git(clone, "rev-parse", "champion/va/2") == git(clone, "rev-parse", f"retrain/{DAY}")
    assert git(clone, "rev-parse", "champion/va/1") == git(clone, "rev-parse", "HEAD")
    message = git(clone, "log", "-1", "--format=%B", f"retrain/{DAY}")
    assert (
        message.startswith("Retrained: 4 new files") and "va: promoted" in message and "videos/122.mp4 md5" in message
    )
    shown = mien(clone, "history").stdout
    assert "first" in shown and "data/raw/mine" in shown and "va: promoted" in shown


def test_a_rebuild_from_nothing_gives_the_same_bytes(story, tmp_path):
    """Incremental or not: the lock of the run is what the grown release gives in a fresh clone with an empty cache."""
    clone, _ = story
    fresh = tmp_path / "fresh"
    git(clone, "clone", "-q", "--branch", f"retrain/{DAY}", str(clone), str(fresh))
    run_in(fresh, "dvc", "remote", "add", "--local", "-d", "there", str(clone / ".dvc/cache"))
    run_in(fresh, "dvc", "pull", "data/raw/mine.dvc")
    (fresh / "dvc.lock").unlink()
    assert reused(repro(fresh))[0] == 0
    lock = yaml.safe_load((fresh / "dvc.lock").read_text())
    made = {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage["outs"]}
    assert {path: made[path] for path in outputs(clone, f"retrain/{DAY}")} == outputs(clone, f"retrain/{DAY}")


def test_a_challenger_that_is_not_better_is_refused(story):
    """New labels for an old recording, under a margin that nothing reaches; the champion stays."""
    clone, later = story
    set_margin(clone, 1.0)
    text = (later / "122.txt").read_text().splitlines()
    (clone / "data/inbox/122.txt").write_text("\n".join([text[0], *["0.5,0.5"] * (len(text) - 1)]) + "\n")
    told = retrain(clone)
    assert reused(told)[0] == reused(told)[1] and "va: refused" in told
    assert "not above +1.000" in told and f"retrain/{DAY}-2: " in told
    assert git(clone, "tag", "--list", "champion/*").split() == ["champion/va/1", "champion/va/2"]
    # the user's branch has gone on, and the release has grown all the same
    branch = f"retrain/{DAY}-2"
    assert git(clone, "merge-base", branch, "HEAD") == git(clone, "rev-parse", "HEAD")
    assert "margin: 1.0" in git(clone, "show", f"{branch}:params.yaml")


def test_rollback_without_training(story):
    clone, _ = story
    before = {path.name for path in (clone / "artifacts/runs").iterdir()}
    run = mien(clone, "rollback", "champion/va/2")
    assert run.returncode == 0, run.stderr
    assert "va: champion/va/2 is champion again" in run.stdout
    lock = yaml.safe_load((clone / "dvc.lock").read_text())
    assert outputs(clone, "champion/va/2") == {
        out["path"]: out["md5"]
        for stage in lock["stages"].values()
        for out in stage["outs"]
        if not out["path"].startswith("artifacts/runs")
    }
    assert {path.name for path in (clone / "artifacts/runs").iterdir()} == before
    assert "Running stage" not in run_in(clone, "dvc", "repro")
    run = mien(clone, "rollback")
    assert run.returncode == 1 and run.stderr.startswith("error: params.yaml, dvc.lock")
    git(clone, "checkout", "-q", "HEAD", "--", ".")
    assert mien(clone, "rollback").returncode == 0
    history = [json.loads(line) for line in (clone / ".mien/retrain/history.jsonl").read_text().splitlines()]
    assert [record["kind"] for record in history] == ["first", "run", "run", "rollback", "rollback"]
    assert history[-1]["champions"]["va"]["tag"] == "champion/va/1"
    assert git(clone, "status", "--porcelain") == "M params.yaml" or "params.yaml" in git(
        clone, "status", "--porcelain"
    )


LOAD = """
import sys, mlflow, numpy as np, pandas as pd, cv2
model = mlflow.pyfunc.load_model("models:/mien-va@champion")
faces = np.stack([cv2.imread(path)[..., ::-1] for path in sys.argv[2:]])
model.predict(faces).to_csv(sys.argv[1], index=False)
"""


def test_the_registered_champion_predicts_as_the_project_does(story, tmp_path):
    """After the rollback: `models:/mien-va@champion` gives what `mien predict` gives, from anywhere."""
    clone, _ = story
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    shard = pq.read_table(next((clone / "artifacts/faces/aff-wild2").glob("*.parquet"))).filter(pc.field("found"))
    for number, jpeg in enumerate(shard["jpeg"].to_pylist()[:3]):
        face = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert face is not None
        cv2.imwrite(str(pictures / f"face{number}.png"), face)
    names = sorted(str(path) for path in pictures.iterdir())
    uri = f"sqlite:///{clone}/.mien/mlflow.db"
    command = [sys.executable, "-c", LOAD, str(tmp_path / "served.csv"), *names]
    run = subprocess.run(
        command, cwd=tmp_path, env=environment() | {"MLFLOW_TRACKING_URI": uri}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert mien(clone, "predict", str(pictures), "--crops", "--output", "out.csv").returncode == 0
    served, own = pd.read_csv(tmp_path / "served.csv"), pd.read_csv(clone / "out.csv")
    assert list(served.columns) == ["valence", "arousal"] and len(served) == 3
    pd.testing.assert_frame_equal(served, own[["valence", "arousal"]])
    client = MlflowClient(uri)
    versions = {v.tags.get("mien.champion"): v for v in client.search_model_versions("name='mien-va'")}
    champion = client.get_model_version_by_alias("mien-va", "champion")
    assert champion.tags["mien.champion"] == "champion/va/1"
    assert champion.tags["mien.commit"] == git(clone, "rev-parse", "champion/va/1")
    assert versions["champion/va/2"].tags["mien.gain_interval_95"]
    assert client.get_model_version_by_alias("mien-va", "challenger").version != champion.version


def test_what_was_rolled_back_is_not_taken_again_by_itself(story):
    clone, _ = story
    told = retrain(clone)
    assert "was taken in and rolled back" in told and told.splitlines()[-1] == "nothing new: no run"


def test_the_server_takes_in_what_arrives(story):
    """`mien serve`: a file arrives while it runs, a run is started by itself; Ctrl-C ends all that it started."""
    clone, later = story
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = str(held.getsockname()[1])
    rewrite(clone / "params.yaml", {"retrain": {"look_seconds": 1.0}})
    variables = environment() | {"PREFECT_SERVER_API_PORT": port}
    command = [sys.executable, "-m", "pipeline", "serve"]
    process = subprocess.Popen(
        command, cwd=clone, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout
    shown = []
    try:
        for line in process.stdout:
            shown.append(line)
            if line.startswith("watching"):
                shutil.copyfile(later / "122.txt", clone / "data/inbox/903.txt")
            if "903.txt: waits" in line:
                break
        second = mien(clone, "serve", PREFECT_SERVER_API_PORT=port)
        assert second.returncode == 1 and "serve.lock; wait for it, or end it" in second.stderr
    finally:
        process.send_signal(signal.SIGINT)
        shown.append(process.communicate(timeout=60)[0])
    assert any("903.txt: waits: no video 903" in line for line in shown), "".join(shown)
    assert process.returncode == 130
    with socket.socket() as held:
        assert held.connect_ex(("127.0.0.1", int(port)))  # the server is gone too
