"""Write a track's submission in the exact official form and refuse to publish one that the checker faults.

Reads the ensemble's test predictions and the official template; writes `submissions/<track>/`: the file to upload and
filled.json, the rows whose frame showed no face and that were filled from their neighbours. Run it with
`dvc repro submit@<track>` or `python -m stages.submit <track>`.
"""

import json
import sys
from typing import Any

import numpy as np

from pipeline.abaw.check import check_file
from pipeline.abaw.formats import read_template
from pipeline.abaw.write import submission_bytes
from pipeline.base.command import run_main
from pipeline.base.params import Params, load_params
from pipeline.base.tracking import stage_run
from pipeline.errors import MienError
from pipeline.layout import ENSEMBLE, SUBMISSIONS, TEMPLATES
from pipeline.publish import atomic_dir
from pipeline.scoring import decide, read_predictions
from pipeline.tracks import METRIC_TASK, TASKS_OF


def au_thresholds(track: str) -> np.ndarray | float:
    """The thresholds that the ensemble fitted; 0.5 for tracks without AUs."""
    fitted = json.loads((ENSEMBLE / track / "fitted.json").read_text())
    return np.array(fitted["aus"]["au_thresholds"]) if "aus" in fitted else 0.5


def submit(track: str, params: Params) -> None:
    """Decide, write, check, publish."""
    template_path = TEMPLATES / f"{track}.txt"
    with stage_run(f"submit@{track}", {"submit": params.submit.model_dump()}, [ENSEMBLE / track, template_path]) as run:
        table, scores, found = read_predictions(ENSEMBLE / track / "test.parquet", track)
        template = read_template(template_path)
        if table["image"].to_pylist() != template.images.to_pylist():
            raise MienError(f"{ENSEMBLE / track}/test.parquet is not on the axis of {template_path}; run `dvc repro`")
        decided = decide(scores, au_thresholds(track))
        named: Any = {METRIC_TASK[task]: values for task, values in decided.items()}
        data = submission_bytes(template, named if track == "mtl" else decided[TASKS_OF[track][0]])
        filled = table.filter(~found)["image"].to_pylist()
        with atomic_dir(SUBMISSIONS / track) as out:
            path = out / params.submit.file_name
            path.write_bytes(data)
            if defects := check_file(path, template_path, None):
                raise MienError(f"{path.name} for {track}: {len(defects)} defects, first: {defects[0]}")
            (out / "filled.json").write_text(
                json.dumps({"rows": len(table), "filled": len(filled), "images": filled}, indent=1) + "\n"
            )
        run.log({"rows": len(table), "filled": len(filled)})
        run.artifact(SUBMISSIONS / track)
        print(
            f"submit {track}: {SUBMISSIONS / track / params.submit.file_name}, {len(table)} rows ({len(filled)} filled)"
        )


def main() -> None:
    """Read the track from the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m stages.submit TRACK")
    submit(sys.argv[1], load_params())


if __name__ == "__main__":
    run_main(main)
