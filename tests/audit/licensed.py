"""A VA chain in memory whose data are somebody's: every kind of output that may and may not be handed on."""

import base64
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from pipeline.audit.audit import Found
from pipeline.audit.subject import Form
from pipeline.core.parquet import write_parquet
from tests.audit.handmade import Project
from tests.clones import commit

JPEG, PNG = b"\xff\xd8\xff\xe0face", b"\x89PNG\r\n\x1a\nface"
ROWS = b"image_location,valence,arousal\n1/00001.jpg,0.5,0.5\n"
RUN = {"run_id": "a1", "git_commit": "c0ffee", "hardware": "a machine", "seconds": 2.5, "peak_memory_bytes": 7}
TOY, CLOSED = "weights/toy.safetensors", "weights/closed.safetensors"
OPEN = {"source": "https://example.org/toy", "licence": "MIT", "trained_on": ["AffectNet"], "label_types": ["va"]}


def parquet(folder: Path, **columns: Any) -> bytes:
    path = folder / "made.parquet"
    write_parquet(path, pa.table(columns))
    return path.read_bytes()


def licensed(folder: Path, weights: dict[str, dict[str, Any]] | None = None) -> Project:
    """The chain, `submit@va` its last stage; `weights` is weights.yaml, whose files the training names."""
    declared = weights or {}
    tracked = {"weights.yaml": yaml.safe_dump(declared).encode(), "dvc.yaml": b"stages: {}\n", "params.yaml": b"a: 1\n"}
    made = Project(folder / "cache", tracked)
    raw = made.item("data/raw/x", {"videos/1.mp4": b"....ftypisom", "videos/2.mp4": b"....ftypisom2"})
    made.lock.data[raw.path] = raw
    code = made.item("artifacts/code", {"finetune-vit.txt": b"stages/finetune.py 1\ntorch==2.15.0\nmlflow==3.17.2\n"})
    faces = made.item("artifacts/faces", {"aff-wild2/1.parquet": parquet(folder, jpeg=[JPEG])})
    encoder = made.item("artifacts/mae", {"encoder.safetensors": b"tensors", "reconstruction.png": PNG})
    scores = {"test.parquet": parquet(folder, va=[[0.5, 0.5]]), "validation.parquet": parquet(folder, va=[[0.1, 0.2]])}
    member = made.item("artifacts/systems/va/vit", {"weights.safetensors": b"more tensors", **scores})
    run = made.item("artifacts/runs/finetune@vit-va", {"run.json": json.dumps(RUN | {"stage": "x"}).encode()})
    made.stage("code", [], [code])
    made.stage(
        "detect_align", [raw], [faces], detect_align={"detector": "mtcnn", "crop_pixels": 112, "source": ["video"]}
    )
    made.stage("pretrain_mae@mae", [faces], [encoder], pretrain_mae={"mask_ratio": 0.75})
    part = made.item("artifacts/code/finetune-vit.txt", b"stages/finetune.py 1\ntorch==2.15.0\nmlflow==3.17.2\n")
    params = {"graph.trainings.vit-va": {"system": "vit", "track": "va"}, "use": list(declared)}
    params["use"] = [f"weights/{name}" for name in declared]
    own = made.item("artifacts/faces/aff-wild2", {"1.parquet": parquet(folder, jpeg=[JPEG])})
    made.stage("finetune@vit-va", [part, encoder, own], [member, run], **params)
    made.stage("submit@va", [member], [made.item("submissions/va/predictions.txt", ROWS)], data={"name": "x"})
    return made


def found_in(project: Project, stage: str = "submit@va") -> Found:
    """The submission of a chain, as an audit finds it."""
    case = project.case(stage)
    return Found(Path("predictions.txt"), Form(ROWS, ""), [case.hit], case)


def committed(folder: Path) -> Path:
    """The chain as a project on disk: git with its lock, DVC with its cache, a picture among the tracked files."""
    project = licensed(folder)
    (folder / "made.parquet").unlink()
    (folder / ".dvc").mkdir()
    (folder / "cache").rename(folder / ".dvc/cache")
    lock = {name: _entry(stage) for name, stage in project.lock.stages.items()}
    write(folder / "dvc.lock", {"schema": "2.0", "stages": lock})
    for item in project.lock.data.values():
        out = {"md5": item.md5, "size": item.size, "nfiles": item.nfiles, "hash": "md5", "path": Path(item.path).name}
        write(folder / f"{item.path}.dvc", {"outs": [out]})
    for name, data in project.state.held.items():
        (folder / name).write_bytes(data)
    (folder / ".dvc/config").write_text("[core]\n    analytics = false\n")
    (folder / ".gitignore").write_text("/.dvc/cache\n/.dvc/tmp\n/*.zip\n/*.key\n/submissions\n")
    (folder / "docs").mkdir()
    (folder / "docs/face.png").write_bytes(PNG)
    (folder / "docs/face.html").write_bytes(b"<img src='data:image/jpeg;base64," + base64.b64encode(JPEG * 9) + b"'>")
    (folder / "docs/überblick.md").write_text("Names are any text.\n")
    (folder / "tool.sh").write_text("#!/bin/sh\n")
    (folder / "tool.sh").chmod(0o755)
    (folder / "submissions/va").mkdir(parents=True)
    (folder / "submissions/va/predictions.txt").write_bytes(ROWS)
    commit(folder)
    return folder


def write(path: Path, tree: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(tree, sort_keys=False))


def _entry(stage: Any) -> dict[str, Any]:
    kinds = {
        kind: [
            {"path": i.path, "hash": "md5", "md5": i.md5, "size": i.size} | ({"nfiles": i.nfiles} if i.nfiles else {})
            for i in items
        ]
        for kind, items in (("deps", stage.deps), ("outs", stage.outs))
    }
    return {"cmd": stage.cmd, **kinds, "params": dict(stage.params)}
