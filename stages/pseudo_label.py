"""Label the unlabelled faces with a teacher that has seen one track's labels and nothing else.

Reads cached features and the track's training labels; writes `artifacts/pseudo/<track>/`: labels.parquet (label, -1
where the teacher is not sure, and confidence) and metrics.json with the thresholds used. Run it with `dvc repro
pseudo_label@<track>` or `python -m stages.pseudo_label <track>`. One stage a track keeps the uni-task rule visible in
the graph.
"""

import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.abaw.tracks import AUS, EXPRESSIONS
from pipeline.base.command import run_main
from pipeline.base.params import Params, load_params
from pipeline.base.shards import read_parquet, read_shards, write_parquet
from pipeline.base.tracking import stage_run
from pipeline.errors import MienError
from pipeline.layout import EXTRA, FEATURES, LABELS, PSEUDO
from pipeline.pseudo import AuTeacher, ExpressionTeacher, au_labels, expression_labels, pseudo_table
from pipeline.publish import atomic_dir
from pipeline.rows import find_rows
from pipeline.scoring import column_array, decide, official_score, task_arrays
from pipeline.tracks import DATASET_OF, TASKS_OF


def with_features(labels: pa.Table, features: pa.Table) -> tuple[pa.Table, np.ndarray]:
    """Label rows whose frame shows a face, and their features (N, D)."""
    rows = find_rows(features, labels)
    return labels.filter(rows >= 0), column_array(features["feature"])[rows[rows >= 0]]


def teach(track: str, table: pa.Table, features: np.ndarray, regularisation: float) -> ExpressionTeacher | AuTeacher:
    """The track's teacher."""
    labels = task_arrays(track, table)
    if track == "expr":
        return ExpressionTeacher(features, labels["expression"], len(EXPRESSIONS), regularisation)
    return AuTeacher(features, labels["aus"], regularisation)


def pseudo_label(track: str, params: Params) -> None:
    """Fit the teacher, judge it on the validation set, label the pool."""
    if track not in ("expr", "au"):
        raise MienError(f"pseudo_label works for expr and au, not for {track}", exit_code=2)
    settings = params.pseudo_label
    folder = FEATURES / settings.backbone
    inputs = [folder / DATASET_OF[track], folder / EXTRA, LABELS / f"{track}.parquet"]
    with stage_run(f"pseudo_label@{track}", {"pseudo_label": settings.model_dump(), "track": track}, inputs) as run:
        labels = read_parquet(LABELS / f"{track}.parquet")
        features = read_shards(folder / DATASET_OF[track])
        parts = {
            s: with_features(labels.filter(pc.equal(labels["split"], s)), features) for s in ("train", "validation")
        }
        teacher = teach(track, *parts["train"], settings.regularisation)
        table, known = parts["validation"]
        task = TASKS_OF[track][0]
        decided = decide({task: teacher.probabilities(known)})
        score = official_score(track, task_arrays(track, table), decided)["score"]
        pool = read_shards(folder / EXTRA)
        rule = expression_labels if track == "expr" else au_labels
        answers, confidence = rule(teacher.probabilities(column_array(pool["feature"])), settings.confidence)
        classes = EXPRESSIONS if track == "expr" else AUS
        counts = (
            np.bincount(answers[answers >= 0], minlength=len(classes))
            if answers.ndim == 1
            else (answers == 1).sum(axis=0)
        )
        metrics = {
            "teacher_validation_score": score,
            "thresholds": dict.fromkeys(classes, settings.confidence),
            "faces": len(pool),
            "accepted_fraction": float((answers >= 0).mean()),
            "positives": dict(zip(classes, counts.tolist(), strict=True)),
        }
        with atomic_dir(PSEUDO / track) as out:
            write_parquet(out / "labels.parquet", pseudo_table(pool, task, answers, confidence))
            (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
        run.log({"teacher_validation_score": score, "accepted_fraction": metrics["accepted_fraction"]})
        run.artifact(PSEUDO / track / "metrics.json")
        print(f"pseudo_label {track}: teacher {score:.3f}, {metrics['accepted_fraction']:.0%} of {len(pool)} faces")


def main() -> None:
    """Read the track from the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m stages.pseudo_label TRACK")
    pseudo_label(sys.argv[1], load_params())


if __name__ == "__main__":
    run_main(main)
