"""Write a track's submission in the exact official form and refuse to publish one that the checker faults.

Reads the ensemble's test predictions and the official template; writes `submissions/<track>/`: the file to upload and
filled.json, the rows whose frame showed no face and that were filled from their neighbours. A video without any face
has the neutral answer: the ensemble's class 0, no AU, valence and arousal 0; a template without rows gives its header
alone; both are warned of. Run it with `dvc repro submit@<track>` or `python -m stages.submit <track>`.
"""

import sys

from pipeline.abaw.check.check import check_file
from pipeline.abaw.readers import read_template
from pipeline.abaw.tracks import trained_track
from pipeline.abaw.writer import Submit, submission_bytes
from pipeline.core.errors import MienError
from pipeline.core.files import atomic_dir, write_json
from pipeline.core.params import read_section
from pipeline.core.paths import ENSEMBLE, SUBMISSIONS, TEMPLATES
from pipeline.run.command import run_main, stage_argument
from pipeline.run.tracking import stage_run
from pipeline.tables.fitted import read_fitted, thresholds_of
from pipeline.tables.scores import decide, read_predictions


def submit(name: str) -> None:
    """Decide, write, check, publish."""
    settings, track = read_section("submit", Submit), trained_track(name)
    template_path = TEMPLATES / f"{name}.txt"
    with stage_run(f"submit@{name}", {"submit": settings.model_dump()}) as run:
        table, scores, found = read_predictions(ENSEMBLE / name / "test.parquet", name)
        template = read_template(template_path)
        if not table["image"].combine_chunks().equals(template.images):
            raise MienError(f"{ENSEMBLE / name}/test.parquet is not on the axis of {template_path}; run `dvc repro`")
        _, fitted = read_fitted(ENSEMBLE / name / "fitted.json")
        decided = decide(scores, thresholds_of(fitted))
        data = submission_bytes(template, decided if len(track.tasks) > 1 else decided[track.tasks[0]])
        filled = table.filter(~found)["image"].to_pylist()
        with atomic_dir(SUBMISSIONS / name) as out:
            path = out / settings.file_name
            path.write_bytes(data)
            if defects := check_file(path, template_path, None):
                raise MienError(f"{path.name} for {name}: {len(defects)} defects, first: {defects[0]}")
            write_json(out / "filled.json", {"rows": len(table), "filled": len(filled), "images": filled})
        run.log({"rows": len(table), "filled": len(filled)})
        run.artifact(SUBMISSIONS / name)
        print(f"submit {name}: {SUBMISSIONS / name / settings.file_name}, {len(table)} rows ({len(filled)} filled)")
        if len(filled) == len(table):
            what = "the template has no rows" if not len(table) else "no row shows a face, all have the neutral answer"
            print(f"warning: submit {name}: {what}", file=sys.stderr)


if __name__ == "__main__":
    run_main(lambda: submit(stage_argument(sys.argv, "TRACK")))
