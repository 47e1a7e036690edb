"""The stage `synthesize`: render the demo data in the official layouts, and its truth beside it.

The bytes are the same on every x86-64 processor with AVX2 (`docs/LOG.md`): what libraries would choose by the processor
is fixed before they load.
"""

import os
import platform
import sys
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2

from demo.generator.film import Truth, film_recording, film_sequence, film_sitting
from demo.generator.mesh import packed_head
from demo.generator.official_files import write_lsd, write_mtl, write_videos
from demo.generator.params import Params, read_params
from demo.generator.plan import lsd_sittings, mtl_sequences, recordings, unlabelled_sittings
from demo.generator.render import Studio
from demo.generator.truth import write_table
from pipeline.core.errors import MienError
from pipeline.core.files import atomic_dir
from pipeline.run.parallel import end_with_parent, worker_count
from pipeline.run.progress import Progress

PARAMS, DATA, TRUTH, CACHE = (
    Path("demo/params.yaml"),
    Path("data/raw/demo"),
    Path("data/demo_truth"),
    Path(".work/demo"),
)
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
SAME_ROUNDING = {"OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR"}
FIXED = ONE_THREAD | (SAME_ROUNDING if platform.machine() == "x86_64" else {})

Film = Callable[[Studio, Params, Any, Path], list[Truth]]
_studio: Studio | None = None


def _start(packed: Path) -> None:
    global _studio
    end_with_parent()
    _settle_opencv()
    _studio = Studio.open(packed)


def _settle_opencv() -> None:
    """One thread, and none of the code that it has for some processors alone."""
    cv2.setNumThreads(1)
    cv2.setUseOptimized(False)


def _work(film: Film, params: Params, item: object, out: Path) -> list[Truth]:
    assert _studio is not None  # set by _start in every worker
    return film(_studio, params, item, out)


def synthesize(params: Params, data: Path, truth: Path, cache: Path, workers: int) -> None:
    """Render everything into `data` and `truth`, published whole or not at all."""
    packed = packed_head(cache)
    plan = recordings(params)
    items: list[tuple[Film, object]] = [(film_recording, recording) for recording in plan]
    items += [(film_sequence, person) for person in mtl_sequences(params)]
    items += [(film_sitting, sitting) for sitting in lsd_sittings(params) + unlabelled_sittings(params)]
    with atomic_dir(data) as out, atomic_dir(truth) as filled:
        truths = _film(params, items, packed, out, workers)
        parts = {part: [t for t in truths if t.part == part] for part in ("videos", "mtl", "lsd", "unlabelled")}
        write_videos(params, plan, parts["videos"], out, filled)
        write_mtl(params, parts["mtl"], out, filled)
        write_lsd(parts["lsd"], out, filled)
        _truncate(out / "unlabelled" / parts["unlabelled"][-1].name)
        write_table(filled / "truth.parquet", truths)


def _film(params: Params, items: list[tuple[Film, Any]], packed: Path, out: Path, workers: int) -> list[Truth]:
    """Film all items in worker processes; the truths come back in the order of the items."""
    with ProcessPoolExecutor(workers, get_context("spawn"), _start, (packed,)) as pool:
        futures = [pool.submit(_work, film, params, item, out) for film, item in items]
        try:
            return _collect(futures)
        except BrokenProcessPool:
            raise MienError("a rendering process was killed, perhaps for memory; try MIEN_WORKERS=1") from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _collect(futures: list[Future[list[Truth]]]) -> list[Truth]:
    truths: list[Truth] = []
    with Progress("synthesize", len(futures), "items") as progress:
        for future in futures:
            truths += future.result()
            progress.advance(note=f"{len(truths)} frames")
    return truths


def _truncate(path: Path) -> None:
    """Cut a JPEG in the middle, as a broken download would be."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def main() -> int:
    """Run the stage; errors are one line."""
    # numpy and its BLAS read these when they load
    if any(os.environ.get(name) != value for name, value in FIXED.items()):
        os.execve(sys.executable, [sys.executable, "-m", "demo.generator.synthesize"], os.environ | FIXED)
    _settle_opencv()
    try:
        synthesize(read_params(PARAMS), DATA, TRUTH, CACHE, worker_count())
    except MienError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
