"""A release that changes under way, in miniature: a stage that fails, two triggers, recordings replaced and removed,
pictures in archives; and what each of it costs.
"""

import itertools
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import pytest
import yaml
from mlflow import MlflowClient

from pipeline.faces.media import read_frames
from tests.clones import environment, repro, rewrite, run_in
from tests.retrain.story import LABELS, VALIDATION, git, make_wide_story, mien

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
FULL = """
import errno, os
replace = os.replace
def full(source, target, **more):
    if "artifacts/ensemble/va" in str(target):
        raise OSError(errno.ENOSPC, "No space left on device", str(target))
    replace(source, target, **more)
os.replace = full
"""
RELEASE = "data/raw/mine"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_wide_story(tmp_path_factory.mktemp("story"))


def retrain(clone: Path, **variables: str) -> str:
    run = mien(clone, "retrain", "--if-new-data", **variables)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return run.stdout


def records(clone: Path) -> list[dict]:
    path = clone / ".mien/retrain/history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def ran(told: str) -> set[str]:
    return set(re.findall(r"^Running stage '([^']+)'", told, re.MULTILINE))


def outputs(lock: str) -> dict[str, str]:
    stages = yaml.safe_load(lock)["stages"].values()
    outs = [out for stage in stages for out in stage["outs"]]
    return {out["path"]: out["md5"] for out in outs if not out["path"].startswith("artifacts/runs")}


def test_a_full_disk_is_the_last_line_and_nothing_is_promoted(story, tmp_path):
    """A recording of validation arrives; the stage that writes VA's ensemble finds no space."""
    clone, later = story
    (tmp_path / "sitecustomize.py").write_text(FULL)
    shutil.copytree(later, clone / "data/inbox")
    run = mien(clone, "retrain", "--if-new-data", PYTHONPATH=str(tmp_path))
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert "a stage failed: artifacts/ensemble/va: No space left on device; free some space" in last
    assert "Nothing is promoted, the inbox is as it was" in last
    assert [record["kind"] for record in records(clone)] == ["first"] and git(clone, "branch", "--list", "re*") == ""
    assert not (clone / ".work/retrain/tree").exists()
    # what pretraining may read has not changed, and so neither has anything that it gives LSD
    assert {"ingest", "detect_align", "cache_features@mae", "finetune@vit-va"} <= ran(run.stdout)
    assert not {stage for stage in ran(run.stdout) if stage.startswith("pretrain") or "lsd" in stage}


def test_two_triggers_at_once_are_one_run_and_a_server_away_loses_nothing(story):
    clone, _ = story
    command = [sys.executable, "-m", "pipeline", "retrain", "--if-new-data"]
    away = environment() | {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    pair = [
        subprocess.Popen(command, cwd=clone, env=away, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    shown = [process.communicate(timeout=900) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], shown
    told = ["".join(texts) for texts in shown]
    assert sorted("nothing new: no run" in text for text in told) == [False, True]
    assert [record["kind"] for record in records(clone)] == ["first", "run"]
    assert any("the model registry was not updated" in text for text in told)
    assert sum("finetune@vit-va" in ran(text) for text in told) == 0  # it had finished when the disk was full
    assert {"champion/va/1", "champion/va/2"} <= set(git(clone, "tag", "--list", "champion/va/*").split())


def test_the_next_run_registers(story):
    clone, _ = story
    assert retrain(clone).splitlines()[-1] == "nothing new: no run"
    client = MlflowClient(f"sqlite:///{clone}/.mien/mlflow.db")
    champion = client.get_model_version_by_alias("mien-va", "champion")
    assert champion.tags["mien.champion"] == "champion/va/2"


def flip(source: Path, target: Path) -> None:
    """Another recording of as many frames, in another container."""
    frames = [frame.image for frame in read_frames(source) if frame.image is not None]
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"MJPG"), 25, (width, height))
    for image in frames:
        writer.write(image[:, ::-1].copy())
    writer.release()


def zipped(target: Path, prefix: str, pictures: list[Path]) -> None:
    """Pictures, mirrored so that they are new, as an archive."""
    with zipfile.ZipFile(target, "w") as file:
        for picture in pictures:
            image = cv2.imread(str(picture))
            assert image is not None
            file.writestr(f"{prefix}/new_{picture.stem}.png", cv2.imencode(".png", image[:, ::-1].copy())[1].tobytes())


def test_what_changes_is_told_taken_and_costs_itself_alone(story):
    """A video replaced, a validation recording removed, labels anew, pictures of LSD and of the pool in archives."""
    clone, _ = story
    inbox, release = clone / "data/inbox", clone / RELEASE
    inbox.mkdir(parents=True, exist_ok=True)
    train, other = [path for path in sorted((release / LABELS).glob("*.txt")) if "_" not in path.stem][:2]
    gone = next(path for path in sorted((release / VALIDATION).glob("*.txt")) if "_" not in path.stem)
    flip(next((release / "videos").rglob(f"{train.stem}.*")), inbox / f"{train.stem}.avi")
    (inbox / "changes.yaml").write_text(f"replace: [{train.stem}.avi]\nremove: ['{gone.stem}']\n")
    text = other.read_text().splitlines()
    (inbox / other.name).write_text("\n".join([text[0], "0.5,0.5", *text[2:]]) + "\n")
    faces = "lsd_abaw4/training_set_synthetic_images"
    zipped(inbox / "faces.zip", "training_set_synthetic_images/FEAR", sorted((release / faces / "FEAR").iterdir())[:2])
    zipped(inbox / "unlabelled.zip", "november", sorted((release / "unlabelled").rglob("*.jpg"))[:3])
    (inbox / "half.zip").write_bytes((inbox / "faces.zip").read_bytes()[:400])
    (inbox / "900.mp4.part").write_bytes(b"half a copy")
    told = retrain(clone)
    assert f"labels of {other.stem} (VA, train) replaced: 1 of {len(text) - 1} rows differ" in told
    assert f"recording {train.stem} replaced" in told and f"recording {gone.stem} removed" in told
    assert "900.mp4.part: still being written" in told and "half.zip: damaged" in told
    assert "of the champion's own, 1 left the release" in told
    found = re.search(r"(\d+)/(\d+) reused", told)
    assert found and int(found[2]) - int(found[1]) == 3  # the video, the class FEAR, the pool's new folder
    branch = records(clone)[-1]["branch"]
    message = git(clone, "log", "-1", "--format=%B", branch)
    assert f"recording {gone.stem} removed" in message and "replaced: 1 of" in mien(clone, "history").stdout


def test_a_rebuild_from_nothing_gives_the_same_bytes(story, tmp_path):
    """Faces, features, encoder, systems: the lock of the run is what the changed release gives in a fresh clone."""
    clone, _ = story
    branch, fresh = records(clone)[-1]["branch"], tmp_path / "fresh"
    git(clone, "clone", "-q", "--branch", branch, str(clone), str(fresh))
    run_in(fresh, "dvc", "remote", "add", "--local", "-d", "there", str(clone / ".dvc/cache"))
    run_in(fresh, "dvc", "pull", f"{RELEASE}.dvc")
    (fresh / "dvc.lock").unlink()
    told = repro(fresh)
    reused = re.search(r"(\d+)/\d+ reused", told)
    assert reused and reused[1] == "0"
    made, kept = outputs((fresh / "dvc.lock").read_text()), outputs(git(clone, "show", f"{branch}:dvc.lock"))
    assert {path: made[path] for path in kept} == kept
    assert {"artifacts/faces", "artifacts/features/mae", "artifacts/mae"} <= made.keys()


def test_training_goes_on_from_the_champion_and_the_audit_follows(story, tmp_path):
    clone, _ = story
    before = outputs(git(clone, "show", f"{records(clone)[-1]['branch']}:dvc.lock"))
    champion = records(clone)[-1]["champions"]["va"]
    rewrite(clone / "params.yaml", {"retrain": {"start": "champion"}})
    git(clone, "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qam", "from the champion")
    run = mien(clone, "retrain")
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    branch = records(clone)[-1]["branch"]
    after = outputs(git(clone, "show", f"{branch}:dvc.lock"))
    assert after["artifacts/faces"] == before["artifacts/faces"]  # the same data, the same seed
    assert all(after[out] != before[out] for out in ("artifacts/mae", "artifacts/systems/va/vit"))
    entry = yaml.safe_load(git(clone, "show", f"{branch}:weights.yaml"))["champion-vit-va.safetensors"]
    made = "artifacts/systems/va/vit/weights.safetensors"
    assert entry["source"] == f"{champion['tag']} at {champion['commit']}: {made}"
    md5 = after["submissions/va/predictions.txt"]
    shutil.copyfile(clone / f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}", tmp_path / "predictions.txt")
    claims = json.loads(mien(clone, "audit", str(tmp_path / "predictions.txt"), "--json").stdout)["claims"]
    claims = [claim for claim in claims if claim["kind"] in ("weights", "rules")]
    assert {c["verdict"] for c in claims if f"{champion['tag']} at" in c["text"]} == {"verified"}
    assert not [claim for claim in claims if claim["verdict"] == "broken"]


def test_what_was_taken_is_known_and_a_rollback_holds(story):
    clone, _ = story
    assert retrain(clone).splitlines()[-1] == "nothing new: no run"
    before = next(former for former, record in itertools.pairwise(records(clone)) if record["told"])
    assert mien(clone, "rollback", before["champions"]["va"]["tag"]).returncode == 0
    told = retrain(clone)
    assert "was removed and rolled back" in told and told.splitlines()[-1] == "nothing new: no run"
    assert (clone / "data/inbox/changes.yaml").is_file()
