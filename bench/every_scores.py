"""What `detect_align.every` does to scores: the demo's trained `vit` of each track of videos, on faces found otherwise.

The stage `detect_align` runs anew in a folder beside the workspace for each `every`; the weights stay as they are, and
the official score is taken on the hidden test truth. Differences to `every: 1` are paired by recording.

usage: python -m bench.every_scores    (in a reproduced workspace)
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import load_file

from bench.arms import decided
from bench.hidden import truth
from bench.jobs import EVERYTHING, recipe
from bench.paired import paired_difference
from pipeline.core.code import ROOT
from pipeline.core.files import write_json
from pipeline.core.parquet import read_parquet
from pipeline.core.paths import ARTIFACTS, FACES, PSEUDO, SYSTEMS, TEMPLATES
from pipeline.settings import load_params
from pipeline.tables.scores import Tasks, recordings
from pipeline.train.fit import best_scores

RESULT = Path("docs/benchmarks/every_scores.json")
EVERY = (1, 2, 3, 5, 10)
TRACKS = ("expr", "au", "va")
NO_SERVER = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}  # these are no runs of the project


def lay_out(folder: Path, every: int) -> None:
    """A workspace whose faces are not there yet; all else is the real one's."""
    for name in ("data", "dvc.yaml", "weights.yaml"):
        (folder / name).symlink_to(Path(name).resolve())
    (folder / ARTIFACTS).mkdir()
    for path in ARTIFACTS.iterdir():
        if path.name not in (FACES.name, "runs", "failures.parquet"):
            (folder / path).symlink_to(path.resolve())
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    params["detect_align"]["every"] = every
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


def find_faces(folder: Path) -> None:
    """Run the stage there."""
    environment = os.environ | NO_SERVER | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "stages.detect_align"], cwd=folder, env=environment, check=True)


def answers(track: str) -> Tasks:
    """Decisions of the track's trained `vit` on the test list, over the faces of the working directory."""
    needs = [*EVERYTHING, PSEUDO / "au" / "extra.parquet"] if track == "au" else EVERYTHING
    made = recipe("vit", track, load_params(), needs)
    module: Any = made.module
    module.load_state_dict(load_file(SYSTEMS / track / "vit" / "weights.safetensors"))
    module.eval()
    return decided(made.data, best_scores(made, module), made.scores(module, made.data.test))


def rows(found: dict[int, dict[str, Tasks]]) -> list[dict[str, Any]]:
    """Each track's score at each `every`, and its difference to that of 1."""
    table = []
    for track in TRACKS:
        groups, labels = recordings(read_parquet(TEMPLATES / f"{track}.parquet"), track), truth(track)
        for every in EVERY:
            told = paired_difference([[found[every][track]]], [[found[1][track]]], labels, track, groups)
            figures = {"score": told.one[0], "difference": told.mean, "low": told.low, "high": told.high}
            table.append({"track": track, "every": every} | {name: round(v, 4) for name, v in figures.items()})
    return table


def main() -> None:
    found = {}
    for every in EVERY:
        with tempfile.TemporaryDirectory() as name:
            lay_out(Path(name), every)
            find_faces(Path(name))
            with contextlib.chdir(name):
                found[every] = {track: answers(track) for track in TRACKS}
    table = rows(found)
    write_json(RESULT, {"detector": load_params().detect_align.detector, "rows": table})
    for row in table:
        print("{track:5s} every {every:2d} {score:.3f} {difference:+.3f} [{low:+.3f}, {high:+.3f}]".format(**row))


if __name__ == "__main__":
    main()
