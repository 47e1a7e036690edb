"""The whole chain in miniature, through DVC, as a newcomer's clone would run it."""

import csv
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipeline.abaw.check.check import check_file
from pipeline.abaw.tracks import EXPRESSIONS
from tests.clones import commit, environment, make_clone, repro, run_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]  # the first test makes the clone: 29 stages
TRACKS = ("expr", "au", "va", "mtl", "lsd")
# Stages that are killed, and what they make.
KILLED = {
    "detect_align": "artifacts/faces",
    "pretrain_mae@mae": "artifacts/mae",
    "pretrain_feedback@expr": "artifacts/feedback/expr",
}


def _mien(clone: Path, *arguments: str) -> subprocess.CompletedProcess:
    """The command in the clone, however it ends."""
    command = [sys.executable, "-m", "pipeline", *arguments]
    return subprocess.run(command, cwd=clone, env=environment(), capture_output=True, text=True)


def _digests(clone: Path) -> dict[str, str]:
    """md5 of every output of the lock but the run records."""
    lock = yaml.safe_load((clone / "dvc.lock").read_text())
    outs = [out for stage in lock["stages"].values() for out in stage["outs"]]
    return {out["path"]: out["md5"] for out in outs if not out["path"].startswith("artifacts/runs")}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tracked files at tiny params, reproduced once, by a process that forks the stages: those that are
    killed below run by themselves, and have to end in the same bytes.
    """
    target = make_clone(tmp_path_factory.mktemp("clone"))
    repro(target)
    return target


def test_every_submission_is_conformant(clone: Path) -> None:
    for track in TRACKS:
        defects = check_file(
            clone / f"submissions/{track}/predictions.txt", clone / f"artifacts/manifest/templates/{track}.txt"
        )
        assert not defects, defects[0]


def test_the_report_is_one_file_that_asks_for_nothing(clone: Path) -> None:
    page = (clone / "reports/index.html").read_text()
    for track in TRACKS:
        assert f'<h2 id="{track.upper()}">{track.upper()}</h2>' in page
    assert 'src="http' not in page
    assert 'href="http' not in page


def test_every_stage_left_a_run_in_mlflow(clone: Path) -> None:
    records = [json.loads(path.read_text()) for path in clone.glob("artifacts/runs/*/run.json")]
    stages = set(yaml.safe_load((clone / "dvc.lock").read_text())["stages"]) - {"code", "check_params"}
    assert {record["stage"] for record in records} == stages
    assert all(record["run_id"] for record in records)
    assert len({record["run_id"] for record in records}) == len(stages)


def test_a_second_run_changes_nothing(clone: Path) -> None:
    before = (clone / "dvc.lock").read_bytes()
    assert "Running stage" not in run_in(clone, "dvc", "repro")
    assert (clone / "dvc.lock").read_bytes() == before


def test_the_history_of_the_eight_thresholds_is_kept(clone: Path) -> None:
    with (clone / "artifacts/pseudo/expr/thresholds.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert [list(row) for row in rows] == [["step", *EXPRESSIONS]] * 3
    assert [row["step"] for row in rows] == [2, 4, 6]  # once an epoch of two steps
    assert all(0.8 - 1e-6 <= row[name] < 1 for row in rows for name in EXPRESSIONS)  # from the floor up
    used = json.loads((clone / "artifacts/pseudo/expr/metrics.json").read_text())["thresholds"]
    assert list(used) == list(EXPRESSIONS)
    # the teacher is the best of its evaluations after step 3 and step 6: its thresholds are those of step 2 or step 6
    assert any(list(used.values()) == pytest.approx([row[n] for n in EXPRESSIONS], abs=1e-5) for row in rows[::2])


def test_killed_stages_end_in_the_same_bytes(clone: Path) -> None:
    """kill -9 in the middle of detection and of training; the next run goes on from what is in the work store."""
    before = _digests(clone)
    for stage, output in KILLED.items():
        shutil.rmtree(clone / ".work" / stage, ignore_errors=True)
        shutil.rmtree(clone / output)
        shutil.rmtree(clone / ".dvc/cache/runs", ignore_errors=True)
        module, _, key = stage.partition("@")
        command = [sys.executable, "-m", f"stages.{module}", *([key] if key else [])]
        two = environment() | {"MIEN_WORKERS": "2"}
        process = subprocess.Popen(command, cwd=clone, env=two, start_new_session=True, stdout=subprocess.PIPE)
        deadline = time.monotonic() + 120
        while not list((clone / ".work" / stage).rglob("*")) and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        run_in(clone, "dvc", "repro", "--single-item", stage, "--force")
    assert _digests(clone) == before


@pytest.fixture
def s3() -> Iterator[str]:
    """The address of a server that speaks S3, with a bucket `team`."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys).create_bucket(Bucket="team")
    yield f"http://{host}:{port}"
    server.stop()


@pytest.mark.parametrize("kind", ["a folder", "S3"])
def test_a_fresh_machine_pulls_everything_and_runs_nothing(
    clone: Path, tmp_path: Path, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one machine pushed to the team's remote another has after `dvc pull`, to the byte, each stage's run too."""
    commit(clone)
    remotes = {"a folder": str(tmp_path / "remote"), "S3": "s3://team/mien"}
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    fresh = tmp_path / "fresh"
    for place in (clone, fresh):
        if place == fresh:
            subprocess.run(["git", "clone", "-q", str(clone), str(fresh)], check=True)
        run_in(place, "dvc", "remote", "add", "--local", "--force", "--default", "team", remotes[kind])
        if kind == "S3":
            run_in(place, "dvc", "remote", "modify", "--local", "team", "endpointurl", request.getfixturevalue("s3"))
        run_in(place, "dvc", "push" if place == clone else "pull", "--quiet")
    assert "Running stage" not in run_in(fresh, "dvc", "repro")
    assert run_in(fresh, "git", "status", "--porcelain") == ""
    for track in TRACKS:
        name = f"submissions/{track}/predictions.txt"
        assert (fresh / name).read_bytes() == (clone / name).read_bytes()


def test_stages_side_by_side_give_the_same_bytes(clone: Path) -> None:
    """Two at a time under Prefect, after everything that these stages made is gone."""
    before = _digests(clone)
    for name in ("vit-expr", "vit-au", "vit-va", "dan-lsd"):
        member, _, track = name.partition("-")
        out = f"artifacts/systems/{track}/{member}"
        shutil.rmtree(clone / ".work" / f"finetune@{name}", ignore_errors=True)
        shutil.rmtree(clone / out)
        (clone / ".dvc/cache/files/md5" / before[out][:2] / before[out][2:]).unlink()
    shutil.rmtree(clone / ".dvc/cache/runs", ignore_errors=True)
    run = _mien(clone, "repro", "--jobs", "2", "--until", "submit@va", "submit@lsd", "finetune@vit-au")
    assert run.returncode == 0, run.stderr[-2000:]
    assert "up to 2 side by side" in run.stdout and "] finetune@vit-va: " in run.stdout
    assert _digests(clone) == before


def test_how_a_process_runs_changes_no_byte(clone: Path) -> None:
    """`pipeline/run` is no input: one worker, a tracking server that is away, a progress bar on a terminal."""
    before = _digests(clone)
    ways = environment() | {"MIEN_WORKERS": "1", "MIEN_DEBUG": "1", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    terminal, ours = pty.openpty()
    for stage in ("detect_align", "finetune@dan-lsd"):
        shutil.rmtree(clone / ".work" / stage, ignore_errors=True)
        command = ["dvc", "repro", "--single-item", "--force", stage]
        process = subprocess.Popen(command, cwd=clone, env=ways, stdout=subprocess.DEVNULL, stderr=ours)
        shown = bytearray()
        while process.poll() is None:
            if select.select([terminal], [], [], 0.1)[0]:
                shown += os.read(terminal, 65536)  # a full terminal would stop the stage
        assert process.returncode == 0, shown.decode(errors="replace")[-2000:]
    os.close(terminal)
    os.close(ours)
    assert _digests(clone) == before


def test_predict_on_real_pictures(clone: Path, tmp_path: Path) -> None:
    import cv2
    import pyarrow.csv as pacsv
    import skimage.data

    folder = tmp_path / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "astronaut.png"), skimage.data.astronaut()[..., ::-1])
    cv2.imwrite(str(folder / "coffee.png"), skimage.data.coffee()[..., ::-1])
    out = tmp_path / "out.csv"
    run_in(
        clone,
        sys.executable,
        "-m",
        "pipeline",
        "predict",
        str(folder),
        "--output",
        str(out),
        "--overlay",
        str(tmp_path / "seen"),
    )
    rows = pacsv.read_csv(out).to_pylist()
    assert [(Path(r["source"]).name, r["found"]) for r in rows] == [("astronaut.png", True), ("coffee.png", False)]
    assert sum(rows[0][f"p_{name}"] for name in EXPRESSIONS) == pytest.approx(1, abs=0.01)
    assert {path.name for path in (tmp_path / "seen").iterdir()} == {"astronaut.png", "coffee.png"}


def test_an_error_is_one_line(clone: Path) -> None:
    run = _mien(clone, "predict", "nowhere.mp4")
    assert run.returncode == 2
    assert run.stderr.startswith("error: nowhere.mp4")
    assert "Traceback" not in run.stderr


# --- a sixth system --------------------------------------------------------------------------------------------------


TOY_MODEL = '''"""A toy system: the mean colour of a face and a linear classifier."""

import torch.nn.functional as F
from torch import Tensor, nn

from models.system import Batch, System


class Toy(System):
    """Mean colour to expression."""

    def __init__(self, classes: int, image_pixels: int) -> None:
        super().__init__()
        self.pixels = image_pixels
        self.head = nn.Linear(3, classes)

    def logits(self, images: Tensor) -> Tensor:
        """uint8 images (B, 3, P, P) to logits (B, classes)."""
        return self.head(images.float().mean(dim=(2, 3)) / 255)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy."""
        return {"expression": F.cross_entropy(self.logits(batch["images"]), batch["expression"])}

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """Expression probabilities."""
        return {"expression": self.logits(batch["images"]).softmax(-1)}
'''
TOY_SYSTEM = '''"""The toy system for the expressions of a track."""

from pydantic import Field

from models.toy import Toy
from pipeline.core.params import Section
from pipeline.train.fit import Job, Recipe, Train
from pipeline.train.frames import frame_recipe


class Settings(Section):
    """`systems.toy`."""

    image_pixels: int = Field(ge=1)
    train: Train


def build(settings: Settings, job: Job) -> Toy:
    """The network for the job's track."""
    job.require_expressions_alone("toy")
    return Toy(len(job.track.classes), settings.image_pixels)


def recipe(settings: Settings, job: Job) -> Recipe:
    """Labelled faces alone."""
    return frame_recipe(build(settings, job), settings.train, job)[0]
'''
OWN_FACES = ["artifacts/faces/lsd"] * 3


def test_a_sixth_system_is_three_places(clone: Path) -> None:
    """Its network, its file among the systems, one block of params; a second seed and a fold are a line each."""
    (clone / "models/toy.py").write_text(TOY_MODEL)
    (clone / "pipeline/systems/toy.py").write_text(TOY_SYSTEM)
    params = yaml.safe_load((clone / "params.yaml").read_text())
    line = {"system": "toy", "track": "lsd", "member": "toy", "faces": "lsd", "needs": OWN_FACES}
    expr = {"track": "expr", "faces": "aff-wild2", "needs": ["artifacts/faces/aff-wild2"] * 3, "member": "toy"}
    params["systems"]["toy"] = {"image_pixels": 16, "train": params["systems"]["dan"]["train"]}
    params["graph"]["trainings"] |= {
        "toy-lsd": line,
        "toy_seed1-lsd": line | {"member": "toy_seed1", "seed": 1},
        "toy_fold0-expr": line | expr | {"fold": {"number": 0, "of": 3}},
    }
    (clone / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    names = ("toy-lsd", "toy_seed1-lsd", "toy_fold0-expr")
    output = repro(clone, *(f"finetune@{name}" for name in names))
    ran = {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")}
    assert ran == {"code", "check_params", *(f"finetune@{name}" for name in names)}
    weights = [clone / f"artifacts/systems/lsd/{name}/weights.safetensors" for name in ("toy", "toy_seed1")]
    assert weights[0].read_bytes() != weights[1].read_bytes()
    code = (clone / "artifacts/code/finetune-toy.txt").read_text()
    assert "models/toy.py" in code and "pipeline/systems/toy.py" in code and "pipeline/systems/dan.py" not in code
    why = _mien(clone, "why", "finetune@toy-lsd")
    assert (why.returncode, why.stdout) == (0, "finetune@toy-lsd is up to date\n"), why.stderr


def test_why_names_code_library_param_and_data(clone: Path) -> None:
    """After the toy system: what changed is told by name, before anything runs again."""
    system, lock, params = clone / "pipeline/systems/toy.py", clone / "requirements.lock", clone / "params.yaml"
    before = {path: path.read_text() for path in (system, lock, params)}
    system.write_text(before[system].replace("[0]", "[-0]"))
    lock.write_text(before[lock].replace("\ntorch==", "\ntorch==99."))
    tree = yaml.safe_load(before[params])
    tree["systems"]["toy"]["image_pixels"] = 24
    params.write_text(yaml.safe_dump(tree, sort_keys=False))
    faces = next((clone / "artifacts/faces/lsd").rglob("*.parquet"))
    held = faces.read_bytes()
    faces.unlink()  # a link into the cache and the work store: never written through
    faces.write_bytes(held + b"x")
    why = _mien(clone, "why", "finetune@toy-lsd")
    faces.unlink()
    faces.write_bytes(held)
    for path, text in before.items():
        path.write_text(text)
    told = why.stdout.splitlines()
    assert why.returncode == 1 and told[0] == "finetune@toy-lsd is stale:", why.stderr
    for reason in (
        "code: pipeline/systems/toy.py has changed",
        "library: torch ",
        "params: systems.toy.image_pixels 16 -> 24",
        "data: artifacts/faces/lsd is modified",
        "upstream: detect_align is stale too",
    ):
        assert any(line.strip().startswith(reason) for line in told), (reason, told)
    run = _mien(clone, "why", "nowhere")
    assert (
        run.returncode == 2 and run.stderr.startswith("error: nowhere: no such stage") and run.stderr.count("\n") == 1
    )
