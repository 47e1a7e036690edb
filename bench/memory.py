"""The training loop with and without `keep_freed_memory`: the demo's plain ViT on random crops.

Each side runs in a process of its own, three times in turn, since malloc's settings cannot be taken back; the losses of
all must be the same bits.

usage: python -m bench.memory
"""

import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch

from bench.jobs import build_system
from models.system import Batch
from pipeline.core.files import write_json
from pipeline.settings import load_params
from pipeline.systems.vit import Settings
from pipeline.train import loop
from pipeline.train.views import augmenter

RESULT = Path("docs/benchmarks/memory.json")
UPDATES, TURNS = 60, 3


def run(keep: bool) -> tuple[float, float, list[float]]:
    """Milliseconds of an update (median over tens of them), peak MB, losses."""
    if not keep:
        loop.keep_freed_memory = lambda: None
    params = load_params()
    section = params.systems["vit"]
    assert isinstance(section, Settings)
    settings = section.train
    torch.manual_seed(0)
    system = build_system("vit", "va", params, pretrained=False)
    times, losses = [], []

    def batches(generator: np.random.Generator, step: int) -> Batch:
        size, pixels = settings.optimise.batch, system.pixels
        images = torch.from_numpy(generator.integers(0, 256, (size, 3, pixels, pixels), np.uint8))
        labels = torch.from_numpy(generator.uniform(-1, 1, (size, 2)).astype(np.float32))
        return {"images": images, "va": labels, "pseudo": torch.zeros(size, dtype=torch.bool)}

    def log(metrics: dict[str, float], step: int) -> None:
        times.append(time.perf_counter())
        losses.append(metrics["loss"])

    with tempfile.TemporaryDirectory() as folder:
        training = loop.Loop(
            name="kept" if keep else "plain",
            module=system,
            batches=batches,
            prepare=augmenter(settings.augment, system.pixels),
            optimise=settings.optimise.model_copy(update={"steps": UPDATES + 1}),
            seed=0,
            folder=Path(folder),
            log=log,
        )
        loop.train(training)
    between = np.diff(times)[1:] / loop.LOG_EVERY * 1000
    return float(np.median(between)), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, losses


def main() -> None:
    context = multiprocessing.get_context("spawn")
    found: dict[bool, list[tuple[float, float, list[float]]]] = {False: [], True: []}
    for _ in range(TURNS):
        for keep, results in found.items():
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                results.append(pool.submit(run, keep).result())
    losses = [result[2] for results in found.values() for result in results]
    middle = {keep: statistics.median(result[0] for result in results) for keep, results in found.items()}
    content = {
        "updates": UPDATES,
        "plain_ms": [round(result[0], 1) for result in found[False]],
        "kept_ms": [round(result[0], 1) for result in found[True]],
        "ratio": round(middle[False] / middle[True], 3),
        "plain_peak_mb": round(max(result[1] for result in found[False])),
        "kept_peak_mb": round(max(result[1] for result in found[True])),
        "same_losses": all(other == losses[0] for other in losses),
    }
    write_json(RESULT, content)
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
