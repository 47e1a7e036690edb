"""Parts of a release, each from `mien init` to a checked submission: what is not there is left out and told, once."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import pytest
import yaml

from pipeline.abaw.check.check import check_file
from pipeline.abaw.names import frame_name
from pipeline.faces.media import read_frames
from pipeline.release.discover import find_release
from pipeline.tables.manifest import Manifest
from tests.clones import commit, make_clone, make_rendered, once, repro, run_in
from tests.documents import commands
from tests.tiny import TINY_FACE, TINY_GRID, TINY_PARAMS, TINY_TRAIN, merge

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2000)]
LSD_TRAINING = "lsd_abaw4/training_set_synthetic_images"
SOURCES: dict[str, set[str]] = {"expr": {"cropped_aligned"}, "lsd": set()}
VIDEO_FOLDERS = {"expr": "EXPR_Recognition", "au": "AU_Detection", "va": "VA_Estimation"}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature demo release, whole."""
    return once(tmp_path_factory, "rendered", make_rendered) / "data/raw/demo"


def cut(rendered: Path, target: Path, tracks: set[str], pool: bool) -> None:
    """A copy of the release with some tracks alone, and with or without its pool."""
    shutil.copytree(rendered, target)
    for track, name in VIDEO_FOLDERS.items():
        if track not in tracks:
            shutil.rmtree(target / f"annotations/{name}_Challenge")
            for path in (target / "test_release").rglob(f"*{'Expr' if track == 'expr' else track.upper()}_test_set*"):
                path.unlink()
            for path in (target / "test_release/names_of_videos_in_each_test_set").glob(f"{_list_name(track)}*"):
                path.unlink()
    if not tracks & set(VIDEO_FOLDERS):
        shutil.rmtree(target / "videos")
    for track, folder in (("lsd", "lsd_abaw4"), ("mtl", "mtl_s-aff-wild2")):
        if track not in tracks:
            shutil.rmtree(target / folder)
    if not pool:
        shutil.rmtree(target / "unlabelled")


def add_external(clone: Path, rendered: Path) -> None:
    """The pictures of LSD as somebody else's data set: half of pretraining, and a third of dtm's batches."""
    names = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")
    folders = sorted(path.name for path in (rendered / LSD_TRAINING).iterdir())
    classes = {folder: next(name for name in names if name[:3].upper() == folder[:3]) for folder in folders}
    mapping = {"source": "rendered", "licence": "CC0", "faces": "aligned", "classes": classes}
    (clone / "other.yaml").write_text(yaml.safe_dump(mapping))
    command = ("mien", "data", "import", str(rendered / LSD_TRAINING), "--name", "other")
    run_in(clone, *command, "--labels", "folders", "--map", "other.yaml")
    run_in(clone, "dvc", "add", "data/raw/other")
    tree = yaml.safe_load((clone / "params.yaml").read_text())
    graph = tree["graph"]
    graph["external"] = {"other": {"path": "data/raw/other", "known_as": "other"}}
    graph["encoders"]["mae"] = ["artifacts/faces/extra", "artifacts/external/other/faces"]
    graph["trainings"]["dtm-expr"]["further"] = {"other": 0.33}
    graph["trainings"]["dtm-expr"]["needs"][1] = "artifacts/external/other"
    (clone / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))


def to_crops(release: Path) -> None:
    """Crops in the place of the videos, each frame whole at the organisers' size."""
    for item in [item for item in Manifest(find_release(release)).media() if item.dataset == "aff-wild2"]:
        for frame in read_frames(release / item.paths[0]):
            target = release / "cropped_aligned" / item.video / frame_name(frame.number)
            target.parent.mkdir(parents=True, exist_ok=True)
            assert frame.image is not None
            cv2.imwrite(str(target), cv2.resize(frame.image, (112, 112), interpolation=cv2.INTER_AREA))
    shutil.rmtree(release / "videos")


def _list_name(track: str) -> str:
    return {"expr": "Expression", "au": "Action", "va": "Valence"}[track]


def documented(release: Path) -> list[list[str]]:
    """The README's lines for one's own data, up to `make repro`."""
    lines = commands("README.md", "## Your own data")
    words = [line.replace("/path/to/release", str(release)).split() for line in lines[: lines.index("make repro")]]
    found = [[Path(first).name, *others] for first, *others in words]
    assert [command[:2] for command in found] == [
        ["mien", "data"],
        ["mien", "data"],
        ["dvc", "add"],
        ["mien", "init"],
        ["mien", "plan"],
    ]
    return found


def make_tiny(path: Path) -> None:
    """The written params at tiny sizes; what `init` left out or chose stays."""
    tree = yaml.safe_load(path.read_text())
    changes: dict[str, Any] = dict(TINY_PARAMS)
    changes["systems"] = dict(changes["systems"])
    small = tree["systems"]["vit"]["backbone"]["name"] == "face_resnet"
    cached = [name for name in tree["cache_features"]["backbones"] if name != "feedback"]
    changes["cache_features"] = {"backbones": dict.fromkeys(cached, TINY_FACE if small else TINY_GRID)}
    if small:
        changes["systems"]["vit"] = {"backbone": TINY_FACE, "train": TINY_TRAIN}
        tree["systems"]["vit"]["backbone"].setdefault("readout_grid", 1)
    path.write_text(yaml.safe_dump(merge(tree, changes), sort_keys=False))


@pytest.mark.parametrize(
    ("tracks", "pool", "told"),
    [
        ("va", False, "left out: MAE pretraining: neither an unlabelled pool nor LSD"),
        ("expr", False, "left out: the pool of dtm and feedback: they train on labelled faces alone"),
        ("lsd", False, "left out: au_cvt's AU branch: no AU labels for its teacher"),
        ("expr mtl", True, "left out: emma: no LSD to train its frozen expression network on"),
    ],
)
def test_from_init_to_a_checked_submission(rendered, tmp_path, tracks, pool, told):
    clone = make_clone(tmp_path / "clone")
    names = tracks.split()
    if tracks == "va":  # as the README says, from a folder elsewhere
        cut(rendered, tmp_path / "release", set(names), pool)
        *_, output, costs = [run_in(clone, *line) for line in documented(tmp_path / "release")]
        assert re.search(r"^finetune@vit-va +0:\d\d:\d\d +\d", costs, re.MULTILINE), costs
    else:
        cut(rendered, clone / "data/raw/mine", set(names), pool)
        if tracks == "expr":
            to_crops(clone / "data/raw/mine")
        output = run_in(clone, "mien", "init", "data/raw/mine")
    assert told in output and output.splitlines()[0] == f"params.yaml: tracks {', '.join(names)}"
    if tracks == "expr mtl":
        add_external(clone, rendered)
    make_tiny(clone / "params.yaml")
    commit(clone)
    repro(clone)
    for track in names:
        template = clone / f"artifacts/manifest/templates/{track}.txt"
        assert check_file(clone / f"submissions/{track}/predictions.txt", template) == []
    assert {path.name for path in (clone / "submissions").iterdir() if path.is_dir()} == set(names)
    page = (clone / "reports/index.html").read_text()
    card = json.loads((clone / "artifacts/manifest/card.json").read_text())
    assert set(card["sources"]) == SOURCES.get(tracks, {"video"})
    if tracks in ("expr", "lsd"):
        member = {"expr": "dtm", "lsd": "au_cvt"}[tracks]
        metrics = json.loads((clone / f"artifacts/systems/{tracks}/{member}/metrics.json").read_text())
        assert len(metrics["without"]) == 1
    if tracks == "expr mtl":
        lock = yaml.safe_load((clone / "dvc.lock").read_text())["stages"]
        assert "artifacts/external/other" in {dep["path"] for dep in lock["finetune@dtm-expr"]["deps"]}
        assert json.loads((clone / "artifacts/mae/meta.json").read_text())["trained_on"] == ["extra", "other"]
    if tracks == "lsd":
        folder = "data/raw/mine/lsd_abaw4/lsd_test_data"
        told = run_in(clone, "mien", "predict", folder, "--crops", "--output", "out.csv")
        assert re.search(r"^expressions: lsd's (dan|au_cvt|multitask|cotex)", told, re.MULTILINE)
        assert "valence and arousal: left out, no VA or MTL is trained" in told
        assert "p_Happiness" in (clone / "out.csv").read_text().splitlines()[0]
    assert all(f'<h2 id="{track.upper()}">{track.upper()}</h2>' in page for track in names)
    assert "Running stage" not in run_in(clone, "dvc", "repro")
