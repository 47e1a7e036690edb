"""Training steps of each system at its published size (params/affwild2.yaml), on the demo's rendered faces.

Random weights: what is measured is that the step runs, how fast, and in how much memory. Without a GPU it is one step
on a batch that fits a workstation's memory; with one, `--steps 200` and the published batch, in mixed precision
(bfloat16). Each system runs in a process of its own, so that peak memory is its own.

usage: python -m bench.full_size [--steps 1] [--only SYSTEM]
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from pipeline.core.files import write_json
from pipeline.core.paths import PSEUDO
from pipeline.settings import load_params

RESULT = Path("docs/benchmarks/full_size.json")
PARAMS = Path("params/affwild2.yaml")
# system: track, labels of a teacher that it needs, images of a batch on a CPU
SYSTEMS: dict[str, tuple[str, list[Path], int]] = {
    "vit": ("expr", [], 16),
    "au_cvt": ("lsd", [PSEUDO / "au" / "lsd.parquet"], 64),
    "multitask": ("lsd", [], 8),
    "emma": ("mtl", [], 16),
    "cotex": ("lsd", [], 32),
    "feedback": ("expr", [], 4),
    "dtm": ("expr", [], 4),
}


def measure(name: str, steps: int, results: "multiprocessing.Queue") -> None:
    """Train a few steps; seconds a step, images a second, peak memory."""
    from bench.jobs import EVERYTHING, recipe
    from models.dtm import Dtm
    from pipeline.backbones.device import device
    from pipeline.train.loop import Loop, train

    track, needs, small = SYSTEMS[name]
    on_gpu = device().type == "cuda"
    params = load_params(PARAMS)
    section: Any = params.systems[name]
    published = (section.spatial if name == "feedback" else section).train.optimise
    changes: dict[str, Any] = {"steps": steps, "warmup_steps": 0}
    if not on_gpu:
        changes |= {"batch": small, "accumulate": 1}
    params = with_batch(params, name, published.model_copy(update=changes), small, on_gpu)
    torch.manual_seed(0)
    made = recipe(name, track, params, [*EVERYTHING, *needs], pretrained=False)
    if isinstance(made.module, Dtm):
        made.module.supervised_steps = 0
    times = []

    def prepare(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        times.append(time.perf_counter())
        return made.prepare(batch)

    optimise = made.train.optimise
    with tempfile.TemporaryDirectory() as folder:
        run = Loop(name, made.module, made.batches, prepare, optimise, 0, Path(folder), lambda m, s: None)
        run.checkpoint_seconds, run.count_flops = 1e9, False
        started = time.perf_counter()
        train(run)
        seconds = (time.perf_counter() - (times[steps // 2] if steps > 1 else started)) / max(1, steps - steps // 2)
    images = optimise.batch * optimise.accumulate
    peak = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    results.put(
        {
            "system": name,
            "device": torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads",
            "precision": "bfloat16 autocast" if on_gpu else "float32",
            "pixels": made.module.pixels,
            "parameters_millions": round(sum(p.numel() for p in made.module.parameters()) / 1e6, 1),
            "labelled_batch": images,
            "published_batch": published.batch * published.accumulate,
            "steps": steps,
            "loss": run.history[-1]["loss"],
            "seconds_a_step": round(seconds, 2),
            "labelled_images_a_second": round(images / seconds, 2),
            "peak_gigabytes": round(peak / 1e9, 2),
        }
    )


def with_batch(params: Any, name: str, optimise: Any, small: int, on_gpu: bool) -> Any:
    """Params whose system trains with other settings."""
    tree = params.model_dump()
    section = tree["systems"][name]["spatial"] if name == "feedback" else tree["systems"][name]
    section["train"]["optimise"] = optimise.model_dump()
    if name == "dtm" and not on_gpu:
        section["unlabelled_batch"] = small
    return type(params).model_validate(tree)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--only", choices=SYSTEMS)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    rows = []
    for name in [arguments.only] if arguments.only else SYSTEMS:
        results: multiprocessing.Queue = context.Queue()
        process = context.Process(target=measure, args=(name, arguments.steps, results))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"{name}: failed")
        rows.append(results.get())
        print(rows[-1], flush=True)
    if not arguments.only:
        write_json(RESULT, {"systems": rows})


if __name__ == "__main__":
    main()
