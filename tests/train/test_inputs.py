"""What decides a training, and what of a finished one is kept."""

from pathlib import Path

import pyarrow as pa

from pipeline.abaw.tracks import TRACKS
from pipeline.core.parquet import write_parquet
from pipeline.core.paths import CODE, FACES, FEATURES, LABELS, TEMPLATES
from pipeline.train.checkpoint import keep_finished
from pipeline.train.inputs import training_inputs


def shard(path: Path, *videos: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_parquet(path, pa.table({"video": list(videos), "frame": list(range(len(videos)))}))
    return path


def test_the_test_list_decides_no_training(workspace: Path) -> None:
    labels = shard(LABELS / "va.parquet", "1", "2_left")
    kept = [
        shard(folder / "aff-wild2" / name, *videos) for folder in (FACES, FEATURES / "mae") for name, *videos in KEPT
    ]
    for folder in (FACES, FEATURES / "mae"):
        shard(folder / "aff-wild2/test.parquet", "9")
    other = FACES / "extra"
    code = CODE / "finetune-vit.txt"
    deps = [code, FACES / "aff-wild2", labels, TEMPLATES / "va.parquet", other, FEATURES / "mae/aff-wild2"]
    found = training_inputs(deps, TRACKS["va"])
    assert set(found) == {code, labels, other, *kept}
    assert training_inputs(list(reversed(deps)), TRACKS["va"])[0].parent == FEATURES / "mae/aff-wild2"  # in their order


KEPT = [("1.parquet", "1", "1"), ("2.parquet", "2_left", "2_right"), ("mixed.parquet", "1", "9")]


def test_another_tracks_template_and_faces_count_whole(workspace: Path) -> None:
    shard(LABELS / "mtl.parquet", "1")
    deps = [TEMPLATES / "va.parquet", FACES / "lsd", FACES / "s-aff-wild2"]
    assert training_inputs(deps, TRACKS["mtl"]) == deps  # the last does not exist


def test_of_the_finished_training_the_last_checkpoint_is_kept(tmp_path: Path) -> None:
    for key in ("former", "finished"):
        for step in (10, 20):
            for suffix in (".json", ".safetensors"):
                path = tmp_path / key / f"{step:08d}{suffix}"
                path.parent.mkdir(exist_ok=True)
                path.touch()
    keep_finished(tmp_path / "finished")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")) == [
        "finished/00000020.json",
        "finished/00000020.safetensors",
    ]
