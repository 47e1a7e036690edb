"""Recordings that are much brighter arrive: trained on, held back, promoted by somebody's word, used to predict."""

import json
import shutil
from pathlib import Path

import cv2
import pytest

from tests.clones import rewrite
from tests.retrain.story import git, mien, story_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    clone, later = story_of(tmp_path_factory)
    rewrite(clone / "params.yaml", {"retrain": {"margin": -2.0}})  # whoever comes is better
    git(clone, "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qam", "margin")
    return clone, later


def brighten(source: Path, target: Path) -> None:
    """A video with little contrast and much light."""
    video = cv2.VideoCapture(str(source))
    frames = []
    while (read := video.read())[0]:
        frames.append(cv2.convertScaleAbs(read[1], alpha=0.45, beta=150))
    height, width = frames[0].shape[:2]
    out = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"mp4v"), video.get(cv2.CAP_PROP_FPS), (width, height))
    for frame in frames:
        out.write(frame)
    out.release()


def records(clone: Path) -> list[dict]:
    return [json.loads(line) for line in (clone / ".mien/retrain/history.jsonl").read_text().splitlines()]


def test_a_better_challenger_of_unlike_recordings_is_held_back(story):
    clone, later = story
    inbox = clone / "data/inbox"
    inbox.mkdir(parents=True)
    for label in later.glob("*.txt"):
        shutil.copyfile(label, inbox / label.name)
        brighten(next(later.glob(f"{label.stem}.mp4")), inbox / f"{label.stem}.mp4")
    run = mien(clone, "retrain", "--if-new-data")
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-3000:]
    assert "but drift: brightness +" in run.stdout and "`mien retrain --accept-drift` promotes it" in run.stdout
    last = records(clone)[-1]
    (verdict,) = last["verdicts"]
    assert verdict["held"] and not verdict["promoted"] and last["champions"]["va"]["tag"] == "champion/va/1"
    found = {drift["quantity"]: drift for drift in last["drift"]}
    assert found["brightness"]["new"] - found["brightness"]["old"] > 0.2 and found["brightness"]["interval"][0] > 1
    assert {"predictions", "labels", "face_size", "yaw"} <= found.keys()
    assert "drift: brightness" in git(clone, "log", "-1", "--format=%B", last["commit"])
    log = (clone / ".mien/retrain/log").read_text()
    assert " refusal va: refused" in log and f" end {last['branch']} at " in log
    page = (clone / ".mien/retrain" / f"{last['branch'].rpartition('/')[2]}.html").read_text()
    assert 'class="verdict held"' in page and "brightness of crops" in page


def test_somebodys_word_promotes_it_without_training(story):
    clone, _ = story
    before = records(clone)[-1]
    run = mien(clone, "retrain", "--accept-drift")
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-3000:]
    after = records(clone)[-1]
    assert "Running stage" not in run.stdout and "accepted all the same, drift: brightness" in run.stdout
    assert after["champions"]["va"] == {"tag": "champion/va/2", "commit": before["commit"]}
    assert git(clone, "rev-parse", "champion/va/2") == before["commit"] and after["branch"] == before["branch"]
    assert len(git(clone, "branch", "--list", "retrain/*").splitlines()) == 1
    assert mien(clone, "retrain", "--if-new-data").stdout.splitlines()[-1] == "nothing new: no run"


def test_the_champion_answers_and_says_who_it_is(story):
    clone, later = story
    video = next(later.glob("*.mp4"))
    champion = records(clone)[-1]["champions"]["va"]["commit"]
    for _ in range(2):
        told = mien(clone, "predict", str(video), "--output", "predictions.csv").stdout
        assert f"va's vit, champion/va/2 (mien-va version 2) of commit {champion[:10]}\n" in told
    assert [path.name for path in (clone / ".mien/retrain/champions").iterdir()] == [f"va-{champion}"]
    told = mien(clone, "predict", str(video), "--output", "own.csv", "--from", "workspace").stdout
    assert "va's vit\n" in told
    assert (clone / "own.csv").read_text() != (clone / "predictions.csv").read_text()
