"""Label faces that have no label with a teacher that has seen one track's labels and nothing else.

`au`: a linear probe on cached features labels the unlabelled pool and the training faces of LSD. `expr`: the `dtm`
system labels the pool under its learnt thresholds. Writes `artifacts/pseudo/<task>/`: <dataset>.parquet (label, -1
where the teacher is not sure, and confidence), metrics.json with the thresholds used, and for `expr` the thresholds'
history, thresholds.csv. Run it with `dvc repro pseudo_label@<track>` or `python -m stages.pseudo_label <track>`.
"""

import json
import sys
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from safetensors.torch import load_file

from models.dtm import Dtm
from pipeline.abaw.tracks import AUS, EXPRESSIONS
from pipeline.base.command import run_main
from pipeline.base.curves import read_curve, write_curve
from pipeline.base.params import Params, load_params
from pipeline.base.shards import read_parquet, read_shards, write_parquet
from pipeline.base.tracking import Run, stage_run
from pipeline.crops import Crops
from pipeline.errors import MienError
from pipeline.layout import EXTRA, FACES, FEATURES, LABELS, PSEUDO, SYSTEMS
from pipeline.pseudo import AuTeacher, au_labels, expression_labels, pseudo_table
from pipeline.publish import atomic_dir
from pipeline.rows import find_rows
from pipeline.scoring import column_array, decide, official_score, task_arrays
from pipeline.tracks import DATASET_OF
from pipeline.train.loop import device
from pipeline.train.predict import predict_axis
from pipeline.train.systems import build_system

DTM = SYSTEMS / "expr" / "dtm"


def with_features(labels: pa.Table, features: pa.Table) -> tuple[pa.Table, np.ndarray]:
    """Label rows whose frame shows a face, and their features (N, D)."""
    rows = find_rows(features, labels)
    return labels.filter(rows >= 0), column_array(features["feature"])[rows[rows >= 0]]


def label_aus(params: Params) -> None:
    """Fit the AU teacher, judge it on the validation set, label the pool and LSD's faces."""
    settings = params.pseudo_label
    folder = FEATURES / settings.backbone
    sources = (EXTRA, DATASET_OF["lsd"])
    inputs = [*(folder / dataset for dataset in (DATASET_OF["au"], *sources)), LABELS / "au.parquet"]
    with stage_run("pseudo_label@au", {"pseudo_label": settings.model_dump()}, inputs) as run:
        labels, features = read_parquet(LABELS / "au.parquet"), read_shards(folder / DATASET_OF["au"])
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
            for dataset in sources:
                pool = read_shards(folder / dataset)
                probabilities = teacher.probabilities(column_array(pool["feature"]))
                answers, confidence = au_labels(probabilities, settings.confidence)
                write_parquet(out / f"{dataset}.parquet", pseudo_table(pool, "aus", answers, confidence))
                metrics["datasets"][dataset] = tally(answers, AUS, (answers == 1).sum(axis=0))
            (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
        finish(run, "au", metrics)


def label_expressions(params: Params) -> None:
    """The pool's expressions as the `dtm` system sees them at its best step."""
    inputs = [DTM, FACES / EXTRA]
    logged = {"vit": params.vit.model_dump(), "system": params.systems.dtm.model_dump()}
    with stage_run("pseudo_label@expr", logged, inputs) as run:
        system = cast(Dtm, build_system("dtm", "expr", params, pretrained=False))
        system.load_state_dict(load_file(DTM / "weights.safetensors"))
        system.eval().to(device())
        crops = Crops(EXTRA)
        places = np.arange(len(crops))
        scores = predict_axis(system, crops, places, system.pixels, params.finetune.evaluate_batch)["expression"]
        thresholds = system.threshold.tau.double().cpu().numpy()
        answers, confidence = expression_labels(scores, thresholds)
        counts = np.bincount(answers[answers >= 0], minlength=len(EXPRESSIONS))
        metrics = {
            "teacher_validation_score": json.loads((DTM / "metrics.json").read_text())["score"],
            "thresholds": dict(zip(EXPRESSIONS, thresholds.round(6).tolist(), strict=True)),
            "datasets": {EXTRA: tally(answers, EXPRESSIONS, counts)},
        }
        with atomic_dir(PSEUDO / "expr") as out:
            table = pseudo_table(crops.table, "expression", answers, confidence)
            write_parquet(out / f"{EXTRA}.parquet", table)
            write_curve(out / "thresholds.csv", threshold_history(DTM / "curve.csv"))
            (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
        finish(run, "expr", metrics)


def threshold_history(curve: Path) -> list[dict[str, float]]:
    """The rows of a training curve that tell each class's threshold: step and thresholds."""
    told = [row for row in read_curve(curve) if f"threshold_{EXPRESSIONS[0]}" in row]
    return [{"step": int(row["step"])} | {name: row[f"threshold_{name}"] for name in EXPRESSIONS} for row in told]


def tally(answers: np.ndarray, classes: tuple[str, ...], positives: np.ndarray) -> dict:
    """How many faces, how many of the answers counted, and how often each class was the answer."""
    return {
        "faces": len(answers),
        "accepted_fraction": float((answers >= 0).mean()) if len(answers) else 0.0,
        "positives": dict(zip(classes, positives.tolist(), strict=True)),
    }


def finish(run: Run, task: str, metrics: dict) -> None:
    """Log and tell."""
    accepted = {f"accepted_{dataset}": facts["accepted_fraction"] for dataset, facts in metrics["datasets"].items()}
    run.log({"teacher_validation_score": metrics["teacher_validation_score"]} | accepted)
    run.artifact(PSEUDO / task / "metrics.json")
    shares = ", ".join(f"{d}: {f['accepted_fraction']:.0%} of {f['faces']}" for d, f in metrics["datasets"].items())
    print(f"pseudo_label {task}: teacher {metrics['teacher_validation_score']:.3f}; {shares}")


def main() -> None:
    """Read the track from the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m stages.pseudo_label TRACK")
    labellers = {"au": label_aus, "expr": label_expressions}
    if sys.argv[1] not in labellers:
        raise MienError(f"pseudo_label works for expr and au, not for {sys.argv[1]}", exit_code=2)
    labellers[sys.argv[1]](load_params())


if __name__ == "__main__":
    run_main(main)
