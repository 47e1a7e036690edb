"""Label the expressions of the unlabelled pool as the dynamic-threshold system does at its best step.

An export for the report and for other programs: no training here reads these labels, since the system labels the pool
anew at every step of its own training. With `pseudo_label.second_teacher`, a published network, a label counts where
both say the same. Writes `artifacts/pseudo/<track>/`: extra.parquet (label, -1 where its class's
threshold is not reached, and confidence), thresholds.csv (their history) and metrics.json. Run it with `dvc repro
pseudo_label_expressions@<track>` or `python -m stages.pseudo_label_expressions <track>`.
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.torch import load_file

from models.system import System
from pipeline.abaw.tracks import trained_track
from pipeline.backbones.device import device
from pipeline.backbones.encoder import Vit
from pipeline.backbones.expressions import expressions_of
from pipeline.core.files import atomic_dir, write_json
from pipeline.core.graph import Graph, Needs
from pipeline.core.params import read_section
from pipeline.core.parquet import write_parquet
from pipeline.core.paths import EXTRA, PSEUDO, SYSTEMS
from pipeline.faces.crops import Crops
from pipeline.run.command import run_main, stage_argument
from pipeline.run.tracking import stage_run
from pipeline.systems import dtm
from pipeline.systems.teacher import (
    PseudoLabel,
    agreed,
    expression_labels,
    log_labels,
    pseudo_table,
    tally,
    threshold_history,
)
from pipeline.tables.curves import write_curve
from pipeline.train.fit import Finetune, Job
from pipeline.train.infer import predict_axis


def label_expressions(name: str) -> None:
    """Label the pool under the thresholds that a track's member has learnt."""
    member, settings = read_section("graph", Graph).pool_labellers[name], read_section("systems.dtm", dtm.Settings)
    vit, common = read_section("vit", Vit), read_section("finetune", Finetune)
    second = read_section("pseudo_label", PseudoLabel).second_teacher
    track = trained_track(name)
    folder = SYSTEMS / name / member
    logged = {"vit": vit.model_dump(), "system": settings.model_dump(), "second_teacher": second}
    with stage_run(f"pseudo_label_expressions@{name}", logged) as run:
        job = Job(track, vit, Needs(name, ()), common.evaluate_batch, pretrained=False)
        system = dtm.build(settings, job)
        system.load_state_dict(load_file(folder / "weights.safetensors"))
        crops = Crops(EXTRA)
        scores = _scores(system, crops, common.evaluate_batch)
        thresholds = system.threshold.tau.double().cpu().numpy()
        answers, confidence = expression_labels(scores, thresholds)
        agreement: dict[str, str | float] = {}
        if second:
            sure = int((answers >= 0).sum())
            answers = agreed(answers, _scores(expressions_of(Path(second), track), crops, common.evaluate_batch))
            agreement = {"second_teacher": second, "agreed_fraction": int((answers >= 0).sum()) / max(sure, 1)}
        counts = np.bincount(answers[answers >= 0], minlength=len(track.classes))
        metrics = {
            "teacher_validation_score": json.loads((folder / "metrics.json").read_text())["score"],
            "thresholds": dict(zip(track.classes, thresholds.round(6).tolist(), strict=True)),
            **agreement,
            "datasets": {EXTRA: tally(answers, track.classes, counts)},
        }
        with atomic_dir(PSEUDO / name) as out:
            write_parquet(out / f"{EXTRA}.parquet", pseudo_table(crops.table, "expression", answers, confidence))
            write_curve(out / "thresholds.csv", threshold_history(folder / "curve.csv", track.classes))
            write_json(out / "metrics.json", metrics)
        log_labels(run.log, "expressions", metrics)
        run.artifact(PSEUDO / name / "metrics.json")


def _scores(teacher: System, crops: Crops, batch: int) -> np.ndarray:
    """Expression probabilities (N, classes) of all crops."""
    teacher.eval().to(device())
    return predict_axis(teacher, crops, np.arange(len(crops)), teacher.pixels, batch)["expression"]


if __name__ == "__main__":
    run_main(lambda: label_expressions(stage_argument(sys.argv, "TRACK")))
