"""Label the action units of faces that have none, with a teacher that has seen the labels of AU and nothing else.

The teacher is a linear probe on cached features (`pipeline/systems/teacher.py`). It is judged on AU's validation set
and labels the unlabelled pool and the training faces of LSD. Writes `artifacts/pseudo/au/`: <dataset>.parquet (labels,
-1 where the teacher is not sure, and confidences) and metrics.json with the thresholds used. Run it with `dvc repro
pseudo_label_aus@<backbone>` or `python -m stages.pseudo_label_aus <backbone>`.
"""

import sys

import pyarrow.compute as pc

from pipeline.abaw.tracks import AUS, TRACKS
from pipeline.core.files import atomic_dir, write_json
from pipeline.core.params import read_section
from pipeline.core.parquet import read_parquet, write_parquet
from pipeline.core.paths import EXTRA, FEATURES, LABELS, PSEUDO
from pipeline.run.command import run_main, stage_argument
from pipeline.run.tracking import stage_run
from pipeline.systems.teacher import AuTeacher, PseudoLabel, au_labels, log_labels, pseudo_table, tally, with_features
from pipeline.tables.features import Features
from pipeline.tables.scores import decide, official_score, task_arrays


def label_aus(backbone: str) -> None:
    """Fit the teacher, judge it on the validation set, label the pool and LSD's faces."""
    settings = read_section("pseudo_label", PseudoLabel)
    folder = FEATURES / backbone
    with stage_run(f"pseudo_label_aus@{backbone}", {"pseudo_label": settings.model_dump()}) as run:
        labels, features = read_parquet(LABELS / "au.parquet"), Features(folder / TRACKS["au"].dataset)
        train, validation = (
            with_features(labels.filter(pc.equal(labels["split"], split)), features)
            for split in ("train", "validation")
        )
        teacher = AuTeacher(train[1], task_arrays("au", train[0])["aus"], settings.regularisation)
        decided = decide({"aus": teacher.probabilities(validation[1])})
        metrics = {
            "teacher_validation_score": official_score("au", task_arrays("au", validation[0]), decided)["score"],
            "thresholds": dict.fromkeys(AUS, settings.confidence),
            "datasets": {},
        }
        with atomic_dir(PSEUDO / "au") as out:
            for dataset in (d for d in (EXTRA, TRACKS["lsd"].dataset) if (folder / d).is_dir()):
                pool = Features(folder / dataset)
                probabilities = teacher.probabilities_of(pool)
                answers, confidence = au_labels(probabilities, settings.confidence)
                write_parquet(out / f"{dataset}.parquet", pseudo_table(pool.table, "aus", answers, confidence))
                metrics["datasets"][dataset] = tally(answers, AUS, (answers == 1).sum(axis=0))
            write_json(out / "metrics.json", metrics)
        log_labels(run.log, "aus", metrics)
        run.artifact(PSEUDO / "au" / "metrics.json")


if __name__ == "__main__":
    run_main(lambda: label_aus(stage_argument(sys.argv, "BACKBONE")))
