"""Detection on a Dask cluster: the bytes of one process, a killed worker's shard made elsewhere, others refused."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import distributed
import pytest

from pipeline.core.errors import MienError
from pipeline.core.files import file_digest, sizes_digest
from pipeline.faces.detector import DetectAlign
from pipeline.faces.shards import detection_facts, extract_all
from pipeline.run import cluster
from pipeline.run.parallel import run_tasks
from pipeline.tables.manifest import MediaItem
from tests.faces.pictures import GREY, write_video

pytestmark = pytest.mark.slow
VIDEOS = ("1", "2", "3", "4")


def start(workers: int, **more: Any) -> distributed.LocalCluster:
    given = {"threads_per_worker": 1, "processes": True, "dashboard_address": None, "host": "127.0.0.1"} | more
    return distributed.LocalCluster(n_workers=workers, **given)


@pytest.fixture
def two(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[distributed.LocalCluster]:
    """Two workers in the project's folder."""
    with start(2) as made:
        monkeypatch.setenv("MIEN_DASK", made.scheduler_address)
        yield made


def present() -> dict[str, str]:
    return {"code": "here"}


# --- shards ----------------------------------------------------------------------------------------------------------


def shards(params: DetectAlign, stage: str) -> dict[str, str]:
    items = [MediaItem("aff-wild2", v, v, "", 0, 0, "video", (f"{v}.avi",), 4) for v in VIDEOS]
    return {shard.item.video: file_digest(shard.path) for shard in extract_all(items, Path("raw"), params, stage)}


def test_the_bytes_do_not_depend_on_who_makes_them(workspace, two, params, astronaut, monkeypatch):
    for video in VIDEOS:
        write_video(workspace / f"raw/{video}.avi", [astronaut] * (int(video) % 3 + 1) + [GREY])
    by_two = shards(params, "two")
    assert sorted(by_two) == list(VIDEOS) and len(set(by_two.values())) == len(VIDEOS)
    with start(8) as eight:
        monkeypatch.setenv("MIEN_DASK", eight.scheduler_address)
        assert shards(params, "eight") == by_two
    monkeypatch.delenv("MIEN_DASK")
    monkeypatch.setenv("MIEN_WORKERS", "1")
    assert shards(params, "one") == by_two


def killing(task: tuple[int, str]) -> tuple[int, int]:
    """Ends the first worker that takes task 3."""
    number, marker = task
    if number == 3 and not Path(marker).exists():
        Path(marker).write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return number, os.getpid()


def test_a_killed_worker_costs_its_task_alone(two, tmp_path):
    tasks = [(number, str(tmp_path / "killed")) for number in range(8)]
    found = list(run_tasks(killing, tasks, "x", present))
    assert [number for number, _ in found] == list(range(8)) and (tmp_path / "killed").exists()
    assert os.getpid() not in {process for _, process in found}


def suicidal(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_workers_that_all_die_are_told(two):
    with pytest.raises(MienError, match=r"MIEN_DASK: (all workers have died|one task killed several workers)"):
        list(run_tasks(suicidal, [1, 2, 3], "x", present))


# --- who is refused --------------------------------------------------------------------------------------------------


def elsewhere() -> dict[str, str]:
    """Facts of a process: those of the workers are others than those of the test."""
    return {"code": "here" if multiprocessing.parent_process() is None else "another"}


def test_a_worker_with_other_code_is_refused_by_name(two, capfd):
    with pytest.raises(MienError, match="none of its 2 workers can be used"):
        list(run_tasks(abs, [-1, 2], "x", elsewhere))
    told = capfd.readouterr().err
    for worker in two.workers.values():
        assert f"MIEN_DASK: worker {worker.worker_address} is refused: its code is not the one here; bring both" in told


def test_a_worker_outside_the_project_is_refused_and_the_others_go_on(two, workspace, tmp_path_factory, capfd):
    away = tmp_path_factory.mktemp("away")

    def leave(dask_worker: distributed.Worker) -> None:
        os.chdir(away)

    chosen = two.workers[0].worker_address
    with distributed.Client(two.scheduler_address, set_as_default=False) as client:
        client.run(leave, workers=[chosen])
    assert list(run_tasks(abs, [-1, 2, -3], "x", present)) == [1, 2, 3]
    told = [line for line in capfd.readouterr().err.splitlines() if "refused" in line]
    assert len(told) == 1 and f"worker {chosen} is refused: it does not see the .work/ of this project" in told[0]


@pytest.mark.parametrize(
    ("said", "threads", "why"),
    [
        ({"code": "a"}, 1, ""),
        ({"code": "b"}, 1, "its code is not the one here"),
        ({}, 1, "its code is not the one here"),
        ("det.onnx is missing", 1, "det.onnx is missing"),
        (ModuleNotFoundError("no pipeline"), 1, r"it cannot run this code \(ModuleNotFoundError: no pipeline\)"),
        ({"code": "a"}, 4, "it has 4 threads; start it with --nthreads 1"),
    ],
)
def test_each_reason_has_its_words(said, threads, why):
    found = cluster._refusal(said, {"code": "a"}, threads)
    assert (found == "") if not why else found.startswith(why.replace("\\", ""))


def test_absent_or_shorter_data_are_other_facts(workspace, params, astronaut):
    write_video(workspace / "raw/1.avi", [astronaut, GREY])
    here = detection_facts(Path("raw"), ["1.avi"], params)
    assert set(here) == {"code", "weights", "data"}
    (workspace / "raw/1.avi").write_bytes((workspace / "raw/1.avi").read_bytes()[:-1])
    cut = detection_facts(Path("raw"), ["1.avi"], params)
    (workspace / "raw/1.avi").unlink()
    gone = detection_facts(Path("raw"), ["1.avi"], params)
    assert len({here["data"], cut["data"], gone["data"]}) == 3 and here["code"] == gone["code"]
    assert sizes_digest([Path("raw")]) != sizes_digest([Path("nowhere")])


def test_a_scheduler_that_is_away_is_told(workspace, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    for address in ("tcp://127.0.0.1:9", "nonsense://x"):
        monkeypatch.setenv("MIEN_DASK", address)
        with pytest.raises(MienError, match=f"MIEN_DASK is '{address}': no scheduler answers .* start one or unset it"):
            list(run_tasks(abs, [1], "x", present))
