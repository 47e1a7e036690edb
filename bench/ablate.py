"""Does each system's own idea pay, and does what was trained beat what was not?

Every arm has the same updates, batch and seeds; only the idea is taken away. A run's step is chosen on the validation
set, as in the pipeline, and its official metric is taken on the demo's hidden test truth (data/demo_truth), which
nothing was fitted on. Differences are paired by seed and by test recording (`bench/paired.py`). Every system that the
demo trains stands beside the controls of its track; one that loses to any is named, and the bench exits with 1.

A run is kept in .work/ablations/ under a digest of what decides it, and within a run the loop keeps its checkpoints: a
killed bench goes on where it stopped, and a second call measures what is not there yet. `--only` measures arms whose
name has one of the words (`=NAME`: that arm alone); their rows take the place of those in the table, the others stay.

usage: python -m bench.ablate [--seeds 0 1 2 3 4] [--only WORD ...] [--jobs N]
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load_file

from bench.afterwards import GATED, OWN, fitted_answer, gated
from bench.arms import (
    ALL_SEEDS,
    ARMS,
    BUDGETED,
    COMPARISONS,
    CONTROLS,
    HALF,
    TRAINED,
    TWICE,
    WHOLE,
    changed,
    mean_tasks,
    measure,
)
from bench.hidden import truth
from bench.paired import Answers, paired_difference
from pipeline.core.code import code_digest
from pipeline.core.files import write_json
from pipeline.core.parquet import read_parquet
from pipeline.core.paths import ABLATIONS, ARTIFACTS, ENCODER, FEATURES, LABELS, PSEUDO, SYSTEMS, TEMPLATES
from pipeline.core.tensors import save_tensors
from pipeline.run.parallel import end_with_parent
from pipeline.run.tracking import input_digest, locked_outs
from pipeline.settings import Params, load_params
from pipeline.tables.scores import Tasks, official_score, recordings, task_arrays
from pipeline.train.data import judging_rows

STORE = Path(".work/ablations")
METRIC = "official, on the demo's hidden test truth"
EVERY = ARMS | CONTROLS
Table = dict[str, list[dict[str, Any]]]
Run = tuple[str, int]  # an arm and a seed


# --- runs, kept ------------------------------------------------------------------------------------------------------


def inputs_digest() -> str:
    """md5 of every artifact that the arms read, from dvc.lock."""
    read = (ARTIFACTS / "faces", LABELS.parent, ENCODER, PSEUDO / "au", SYSTEMS / "lsd/dan", FEATURES / "mae")
    outs = locked_outs()
    return json.dumps([outs[path.as_posix()] for path in read])


def key(name: str, seed: int, params: Params, inputs: str) -> str:
    """Digest of what decides a run: params, data, the code that trains this system, and that of its control."""
    arm = EVERY[name]
    settings = [part.model_dump() for part in (params.finetune, params.vit, params.systems[arm.system])]
    modules = ["bench.controls"] if arm.control else ["pipeline.train.fit", f"pipeline.systems.{arm.system}"]
    beside = [input_digest(path, locked_outs()) for path in arm.needs]
    begun = key(arm.start, seed, changed(load_params(), EVERY[arm.start], seed), inputs) if arm.start else ""
    parts = [str(arm), settings, code_digest(*modules), inputs, beside, begun]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:20]


def kept_path(name: str, seed: int, inputs: str) -> Path:
    """Where a run is kept."""
    return STORE / f"{key(name, seed, changed(load_params(), EVERY[name], seed), inputs)}.json"


def run(name: str, seed: int, path: Path) -> None:
    """Measure an arm with one seed and keep what came of it."""
    began = time.monotonic()
    found = measure(EVERY, name, changed(load_params(), EVERY[name], seed), path.with_suffix(""))
    answers = {
        which: [{task: values.tolist() for task, values in decided.items()} for decided in several]
        for which, several in found.answers.items()
    }
    told = {"arm": name, "seed": seed, "seconds": round(time.monotonic() - began), "validation": found.validation}
    scores = {f"{side} {task}": v for side, tasks in found.scores.items() for task, v in tasks.items()}
    save_tensors(path.with_suffix(".safetensors"), {name: torch.from_numpy(v) for name, v in scores.items()})
    write_json(path, told | {"answers": answers})
    shutil.rmtree(path.with_suffix(""), ignore_errors=True)


def read_run(path: Path) -> dict[str, Any]:
    """A kept run, its answers as arrays."""
    kept = json.loads(path.read_text())
    kept["answers"] = {
        which: [{task: np.array(values) for task, values in decided.items()} for decided in several]
        for which, several in kept["answers"].items()
    }
    kept["scores"] = {"judged": {}, "test": {}}
    for name, values in load_file(path.with_suffix(".safetensors")).items():
        side, task = name.split()
        kept["scores"][side][task] = values.numpy()
    return kept


def measure_all(runs: dict[Run, Path], jobs: int) -> None:
    """Measure what is not kept, `jobs` runs side by side, telling how much is left."""
    missing = {run: path for run, path in runs.items() if not path.is_file()}
    print(f"{len(runs) - len(missing)} of {len(runs)} runs are kept in {STORE}", flush=True)
    began, context = time.monotonic(), multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, end_with_parent) as pool:
        working = {pool.submit(run, *which, path): which for which, path in missing.items()}
        for done, job in enumerate(as_completed(working), 1):
            job.result()
            left = (time.monotonic() - began) / done * (len(missing) - done) / 60
            name, seed = working[job]
            kept = read_run(missing[name, seed])
            print(
                f"{name}, seed {seed}: {kept['seconds']} s; {len(missing) - done} runs left, {left:.0f} min", flush=True
            )


# --- rows ------------------------------------------------------------------------------------------------------------


class Results:
    """The kept runs of some seeds, and the hidden truth of each track."""

    def __init__(self, runs: dict[Run, Path], seeds: list[int]) -> None:
        self.runs = {which: read_run(path) for which, path in runs.items()}
        self.seeds, self.settings = seeds, load_params().ensemble
        self.fitted: dict[tuple[str, str], list[Answers]] = {}  # by arm and rule: several comparisons ask for one

    def answers(self, name: str, which: str) -> list[Answers]:
        """One for each seed, by the run itself or by a rule on its scores (`bench/afterwards.py`)."""
        runs = [self.runs[name, seed] for seed in self.seeds]
        if which in runs[0]["answers"]:
            return [run["answers"][which] for run in runs]
        if (name, which) not in self.fitted:
            self.fitted[name, which] = self.answers_afterwards(name, which, [run["scores"] for run in runs])
        return self.fitted[name, which]

    def answers_afterwards(self, name: str, which: str, sides: list[dict[str, Tasks]]) -> list[Answers]:
        """One for each seed's scores, or that of their mean as often."""
        if which == ALL_SEEDS:
            together = {side: mean_tasks([scores[side] for scores in sides]) for side in sides[0]}
            return [[self.afterwards(name, OWN, together)]] * len(sides)
        if which == GATED:
            sides = [self.behind_gate(name, seed) for seed in self.seeds]
        return [[self.afterwards(name, OWN if which == GATED else which, scores)] for scores in sides]

    def behind_gate(self, name: str, seed: int) -> dict[str, Tasks]:
        """Both sides' scores of a temporal model, those of the frame-wise one of its track where that is sure."""
        track = EVERY[name].track
        scores, gate = (self.runs[arm, seed]["scores"] for arm in (name, f"vit, {track.upper()}"))
        return gated(track, scores, gate, self.axes(track)[1])

    def axes(self, track: str) -> tuple[pa.Table, Tasks, pa.Table]:
        """The judged rows of validation with their labels, and the test list."""
        labels = read_parquet(LABELS / f"{track}.parquet")
        judged = labels.filter(pa.array(judging_rows(labels, None)))
        return judged, task_arrays(track, judged), read_parquet(TEMPLATES / f"{track}.parquet")

    def afterwards(self, name: str, rule: str, scores: dict[str, Tasks]) -> Tasks:
        """What a rule makes of scores of both sides."""
        track = EVERY[name].track
        judged, labels, test = self.axes(track)
        sides = (judged, scores["judged"]), (test, scores["test"])
        return fitted_answer(rule, track, *sides, labels, self.settings)

    def row(self, metric: str, one: tuple[str, str], other: tuple[str, str]) -> dict[str, Any]:
        """Two arms compared."""
        track = EVERY[one[0]].track
        groups = recordings(read_parquet(TEMPLATES / f"{track}.parquet"), track)
        found = paired_difference(self.answers(*one), self.answers(*other), truth(track), metric, groups)
        return {
            "track": metric,
            "with_name": _shown(*one),
            "without_name": _shown(*other),
            "seeds": len(self.seeds),
            "with_mean": round(float(np.mean(found.one)), 4),
            "without_mean": round(float(np.mean(found.other)), 4),
            "difference": round(found.mean, 4),
            "low": round(found.low, 4),
            "high": round(found.high, 4),
            "with_scores": [round(score, 4) for score in found.one],
            "without_scores": [round(score, 4) for score in found.other],
        }

    def mean_score(self, name: str) -> float:
        """The official score of an arm on the hidden truth, its mean over seeds."""
        track = EVERY[name].track
        scores = [official_score(track, truth(track), one)["score"] for (one,) in self.answers(name, WHOLE)]
        return round(float(np.mean(scores)), 4)


def _shown(name: str, which: str) -> str:
    return name if which == WHOLE else f"{name}, {which}"


def comparisons(results: Results, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """A row for each idea whose arms there are."""
    for idea, metric, one, other in COMPARISONS:
        if one[0] in names and other[0] in names:
            yield {"idea": idea, **results.row(metric, one, other)}


def against_controls(results: Results, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """A row for each trained system beside each control of its track; `loses` where its mean is below the control's."""
    for name, which in TRAINED:
        track = EVERY[name].track
        for control in (c for c in CONTROLS if CONTROLS[c].track == track):
            if name in names and control in names:
                row = results.row(track, (name, which), (control, WHOLE))
                yield row | {"loses": row["difference"] < 0}


def over_updates(results: Results, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The score of each system of `BUDGETED` after half, all and twice the demo's updates, and its frozen controls'."""
    for name in BUDGETED:
        arms = [f"{name}, {HALF}", name, f"{name}, {TWICE}"]
        controls = [c for c in CONTROLS if CONTROLS[c].track == EVERY[name].track and CONTROLS[c].control == "frozen"]
        if set(arms + controls) <= set(names):
            scores = {one: results.mean_score(one) for one in arms + controls}
            yield {
                "name": name,
                "track": EVERY[name].track,
                "updates": [steps_of(arm) for arm in arms],
                "scores": [scores[arm] for arm in arms],
                "controls": {control.rpartition(",")[0]: scores[control] for control in controls},
            }


def steps_of(name: str) -> int:
    """How many updates an arm has."""
    settings: Any = changed(load_params(), EVERY[name], 0).systems[EVERY[name].system]
    return settings.train.optimise.steps


def told(row: dict[str, Any], label: str) -> str:
    """A row for the terminal."""
    figures = "{track:5s} {with_mean:.3f} {without_mean:.3f} {difference:+.3f} [{low:+.3f}, {high:+.3f}]"
    return f"{label:46s} {figures.format(**row)}" + (" LOSES" if row.get("loses") else "")


def chosen_names(words: list[str]) -> list[str]:
    """Arms and controls whose name has one of the words, or is `=NAME`; all where there is none."""
    return [name for name in EVERY if not words or any(word in name or word == f"={name}" for word in words)]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # one run a core
    kept = json.loads(ABLATIONS.read_text()) if arguments.only else {}
    if kept and kept["seeds"] != arguments.seeds:
        parser.error(f"{ABLATIONS} has the seeds {kept['seeds']}: --only needs the same")
    names, inputs = chosen_names(arguments.only), inputs_digest()
    runs = {(name, seed): kept_path(name, seed, inputs) for seed in arguments.seeds for name in names}
    measure_all(runs, arguments.jobs)
    results = Results(runs, arguments.seeds)
    rows, beside = list(comparisons(results, names)), list(against_controls(results, names))
    for row in rows:
        print(told(row, row["idea"]))
    for row in beside:
        print(told(row, f"{row['with_name']} against {row['without_name'].split(',')[0]}"))
    found = {"comparisons": rows, "controls": beside, "over_updates": list(over_updates(results, names))}
    if arguments.only:
        found = among_kept(found, kept)
    write_json(ABLATIONS, {"seeds": arguments.seeds, "metric": METRIC, **found})
    return verdict(found["controls"])


def among_kept(found: Table, kept: dict[str, Any]) -> Table:
    """Rows of some arms in the place of those of before, the others as they were."""
    merged = {}
    for part, rows in found.items():
        mine = {row_name(row): row for row in rows}
        former = {row_name(row): row for row in kept.get(part, [])}
        merged[part] = list((former | mine).values())
    return merged


def row_name(row: dict[str, Any]) -> tuple[str, ...]:
    """What a row is about."""
    return tuple(row.get(name, "") for name in ("idea", "track", "with_name", "without_name", "name"))


def verdict(beside: list[dict[str, Any]]) -> int:
    """1 where a trained system loses to a control, each such pair named; else 0."""
    losing = [row for row in beside if row["loses"]]
    for row in losing:
        print(f"{row['with_name']} loses to {row['without_name']}: {row['difference']:+.3f}", file=sys.stderr)
    return 1 if losing else 0


if __name__ == "__main__":
    sys.exit(main())
