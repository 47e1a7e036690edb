"""Does each system's own idea pay? Every arm has the same updates, batch and seeds; only the idea is taken away.

A run's step is chosen on the validation set, as in the pipeline, and its official metric is taken on the demo's hidden
test truth (data/demo_truth), which nothing was fitted on. The difference of two arms is paired by seed; its interval is
Student's at 95 %. Runs are kept in .work/ablate by what decides them, so a killed bench goes on where it stopped.

usage: python -m bench.ablate [--seeds 0 1 2 3 4] [--only WORD]
"""

import argparse
import hashlib
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from torch import nn

from bench.hidden import truth
from bench.jobs import EVERYTHING, recipe
from pipeline.abaw.tracks import TRACKS
from pipeline.backbones.features import feature_table
from pipeline.core.code import code_digest
from pipeline.core.files import write_json
from pipeline.core.parquet import write_parquet
from pipeline.core.paths import ABLATIONS, ARTIFACTS, ENCODER, FEATURES, LABELS, PSEUDO, SYSTEMS
from pipeline.faces.crops import Crops
from pipeline.run.tracking import locked_outs
from pipeline.settings import Params, load_params
from pipeline.systems.feedback import Settings, student_extractor
from pipeline.systems.temporal import SequenceData, temporal_recipe
from pipeline.tables.features import Features
from pipeline.train.fit import Recipe, best_scores, fit, judge, seed_weights, validation_score

STORE = Path(".work/ablate")


@dataclass(frozen=True)
class Arm:
    """A system for a track with some of its params changed."""

    system: str
    track: str
    changes: dict[str, Any] = field(default_factory=dict)
    needs: Path | None = None  # labels of a teacher
    pretrained: bool = True


NO_APPEARANCE = dict.fromkeys(("landmarks", "pose", "identity", "age", "sex"), 0.0)
AUS = PSEUDO / "au" / "lsd.parquet"
DAN = SYSTEMS / "lsd" / "dan"
ARMS = {
    "au_cvt": Arm("au_cvt", "lsd", needs=AUS),
    "au_cvt, no AUs": Arm("au_cvt", "lsd", {"au_weight": 0.0}, AUS),
    "multitask": Arm("multitask", "lsd"),
    "multitask, no appearance": Arm("multitask", "lsd", {"appearance_weights": NO_APPEARANCE}),
    "emma": Arm("emma", "mtl"),
    "emma, VA from features": Arm("emma", "mtl", {"va_from": "features"}),
    "cotex": Arm("cotex", "lsd"),
    "cotex, no consistency": Arm("cotex", "lsd", {"consistency_weight": 0.0}),
    "cotex, no mask": Arm("cotex", "lsd", {"mask_ratio": 0.0}),
    "feedback": Arm("feedback", "expr"),
    "feedback, none fed back": Arm("feedback", "expr", {"spatial.feedback": False}),
    "dtm": Arm("dtm", "expr"),
    "dtm, fixed threshold": Arm("dtm", "expr", {"threshold": "fixed"}),
    "dtm, self-adaptive threshold": Arm("dtm", "expr", {"threshold": "self_adaptive"}),
    "dtm, labelled alone": Arm("dtm", "expr", {"unlabelled_weight": 0.0}),
    "vit": Arm("vit", "lsd"),
    "vit, random start": Arm("vit", "lsd", pretrained=False),
}
# idea, what stands with and without it: an arm and the name of one of its scores
COMPARISONS = [
    ("AU supervision", ("au_cvt", "lsd"), ("au_cvt, no AUs", "lsd")),
    ("appearance branch", ("multitask", "lsd"), ("multitask, no appearance", "lsd")),
    ("ensemble of networks, not one", ("multitask", "lsd"), ("multitask", "one network")),
    ("VA from scores, not features", ("emma", "va"), ("emma, VA from features", "va")),
    ("VA from scores, not features", ("emma", "mtl"), ("emma, VA from features", "mtl")),
    ("JS consistency", ("cotex", "lsd"), ("cotex, no consistency", "lsd")),
    ("masked views", ("cotex", "lsd"), ("cotex, no mask", "lsd")),
    ("feedback to the teacher", ("feedback", "expr"), ("feedback, none fed back", "expr")),
    ("temporal encoder, not frame by frame", ("feedback", "temporal"), ("feedback", "expr")),
    ("dynamic, not fixed threshold", ("dtm", "expr"), ("dtm, fixed threshold", "expr")),
    ("dynamic, not self-adaptive threshold", ("dtm", "expr"), ("dtm, self-adaptive threshold", "expr")),
    ("unlabelled faces at all", ("dtm", "expr"), ("dtm, labelled alone", "expr")),
    ("MAE pretraining", ("vit", "lsd"), ("vit, random start", "lsd")),
]


def changed(params: Params, arm: Arm, seed: int) -> Params:
    """The params of one run."""
    tree = params.model_dump()
    tree["finetune"]["seed"] = seed
    for path, value in arm.changes.items():
        *parents, last = path.split(".")
        node = tree["systems"][arm.system]
        for parent in parents:
            node = node[parent]
        if last not in node:
            raise KeyError(path)
        node[last] = value
    return Params.model_validate(tree)


def measure(name: str, seed: int, folder: Path) -> dict[str, float]:
    """Train one arm with one seed; scores on the test truth by name, and the validation score."""
    arm = ARMS[name]
    params = changed(load_params(), arm, seed)
    settings = params.finetune
    seed_weights(settings)
    made = recipe(arm.system, arm.track, params, [*EVERYTHING, *([arm.needs] if arm.needs else [])], arm.pretrained)
    system, _ = fit(f"{name} seed {seed}", made, settings, folder, lambda metrics, step: None)
    labels = truth(arm.track)
    score = judge(arm.track, made.data.test, labels, made.scores(system, made.data.test))
    found = {arm.track: score["score"], "validation": validation_score(made, best_scores(made, system))["score"]}
    if arm.track == "mtl":
        found |= {task: score[task]["score"] for task in ("va", "expr", "au")}
    if arm.system == "multitask":
        found["one network"] = single_networks(system, made, labels)
    if name == "feedback":
        found["temporal"] = temporal(system, params, folder / "temporal")
    return found


def single_networks(system: Any, made: Recipe, labels: dict[str, np.ndarray]) -> float:
    """Mean score of the ensemble's networks, each by itself."""
    every, scores = list(system.networks), []
    for network in every:
        system.networks = nn.ModuleList([network])
        scores.append(judge("lsd", made.data.test, labels, made.scores(system, made.data.test))["score"])
    system.networks = nn.ModuleList(every)
    return float(np.mean(scores))


def temporal(system: Any, params: Params, folder: Path) -> float:
    """Score of the temporal encoder on this run's student."""
    crops = Crops(TRACKS["expr"].dataset)
    extractor = student_extractor(system.student.eval())
    shard = folder / "features.parquet"
    write_parquet(shard, feature_table(crops, extractor, params.cache_features.batch))
    seed_weights(params.finetune)
    settings = params.systems["feedback"]
    assert isinstance(settings, Settings)
    made = temporal_recipe(SequenceData("expr", settings.temporal, Features(shard)))
    encoder, _ = fit("temporal encoder", made, params.finetune, folder, lambda metrics, step: None)
    return judge("expr", made.data.test, truth("expr"), made.scores(encoder, made.data.test))["score"]


def key(name: str, seed: int, inputs: str) -> str:
    """Digest of what decides a run: params, data, and the code that trains this system."""
    arm = ARMS[name]
    params = changed(load_params(), arm, seed)
    settings = [part.model_dump() for part in (params.finetune, params.vit, params.systems[arm.system])]
    code = code_digest("pipeline.train.fit", f"pipeline.systems.{arm.system}")
    return hashlib.sha256(repr([str(arm), settings, code, inputs]).encode()).hexdigest()[:20]


def kept(name: str, seed: int, inputs: str) -> dict[str, float]:
    """The run's scores, measured now unless they are in the store."""
    path = STORE / f"{key(name, seed, inputs)}.json"
    if not path.is_file():
        scores = measure(name, seed, path.with_suffix(""))
        write_json(path, {"arm": name, "seed": seed, "scores": scores})
    return json.loads(path.read_text())["scores"]


def compare(idea: str, one: tuple[str, str], other: tuple[str, str], results: dict, seeds: list[int]) -> dict[str, Any]:
    """A row of the table."""
    a, b = (np.array([results[name, seed][score] for seed in seeds]) for name, score in (one, other))
    gain = a - b
    half = stats.t.ppf(0.975, len(seeds) - 1) * gain.std(ddof=1) / np.sqrt(len(seeds)) if len(seeds) > 1 else np.nan
    return {
        "idea": idea,
        "track": {"one network": "lsd", "temporal": "expr"}.get(one[1], one[1]),
        "with_name": one[0] if one[1] != "temporal" else f"{one[0]}, temporal",
        "without_name": other[0] if other[1] != "one network" else f"{other[0]}, one network",
        "seeds": len(seeds),
        "with_mean": round(float(a.mean()), 4),
        "without_mean": round(float(b.mean()), 4),
        "difference": round(float(gain.mean()), 4),
        "low": round(float(gain.mean() - half), 4),
        "high": round(float(gain.mean() + half), 4),
        "with_scores": a.round(4).tolist(),
        "without_scores": b.round(4).tolist(),
    }


def inputs_digest() -> str:
    """md5 of every artifact that the arms read, from dvc.lock."""
    read = (ARTIFACTS / "faces", LABELS.parent, ENCODER, AUS.parent, DAN, FEATURES / "mae")
    outs = locked_outs()
    return json.dumps([outs[path.as_posix()] for path in read])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # one run a core
    inputs = inputs_digest()
    names = [name for name in ARMS if arguments.only in name]
    results: dict[tuple[str, int], dict[str, float]] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=context) as pool:
        jobs = {pool.submit(kept, name, seed, inputs): (name, seed) for seed in arguments.seeds for name in names}
        for job in as_completed(jobs):
            results[jobs[job]] = job.result()
            name, seed = jobs[job]
            print(f"{len(results)}/{len(jobs)} {name}, seed {seed}: {job.result()}", flush=True)
    wanted = [c for c in COMPARISONS if c[1][0] in names and c[2][0] in names]
    rows = [compare(*comparison, results, arguments.seeds) for comparison in wanted]
    for row in rows:
        shown = (row[k] for k in ("idea", "track", "with_mean", "without_mean", "difference", "low", "high"))
        print("{:38s} {:5s} {:.3f} {:.3f} {:+.3f} [{:+.3f}, {:+.3f}]".format(*shown))
    if not arguments.only:
        content = {"seeds": arguments.seeds, "metric": "official, on the demo's hidden test truth", "comparisons": rows}
        write_json(ABLATIONS, content)


if __name__ == "__main__":
    main()
