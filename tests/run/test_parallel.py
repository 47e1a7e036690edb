"""Cores, and items made ahead."""

import os
import subprocess
import sys
import threading
import time

import pytest

from pipeline.core.errors import MienError
from pipeline.run import parallel
from pipeline.run.parallel import available_cores, prefetched, worker_count
from tests.workers import lives, wait_for, workers_of


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("10000 100000", 1),
        ("max 100000", 8),
        ("9000000 100000", 8),
        ("", 8),
    ],
)
def test_cores_are_those_of_the_quota(tmp_path, monkeypatch, quota, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(parallel, "CPU_QUOTA", tmp_path / "cpu.max")
    if quota:
        (tmp_path / "cpu.max").write_text(quota + "\n")
    monkeypatch.delenv("MIEN_WORKERS", raising=False)
    assert available_cores() == worker_count() == cores


def test_workers_are_what_the_user_says(monkeypatch):
    monkeypatch.setenv("MIEN_WORKERS", "5")
    assert worker_count() == 5
    monkeypatch.setenv("MIEN_WORKERS", "x")
    with pytest.raises(MienError, match="MIEN_WORKERS is 'x'; give a number of processes"):
        worker_count()


def test_items_come_in_order_and_one_ahead():
    made: list[int] = []
    third = threading.Event()

    def items():
        for number in range(5):
            made.append(number)
            if number == 2:
                third.set()
            yield number

    ahead = prefetched(items())
    assert next(ahead) == 0 and next(ahead) == 1 and third.wait(timeout=30)
    assert made == [0, 1, 2]  # and not the whole of it
    assert list(ahead) == [2, 3, 4]
    assert list(prefetched(iter([]))) == [] and list(prefetched(iter([None, None]))) == [None, None]


def test_an_error_comes_when_its_item_is_due():
    def items():
        yield 1
        raise MienError("no second item")

    ahead = prefetched(items())
    assert next(ahead) == 1
    with pytest.raises(MienError, match="no second item"):
        next(ahead)


def test_workers_do_not_outlive_a_parent_that_is_killed():
    code = "import time; from pipeline.run.parallel import run_tasks; list(run_tasks(time.sleep, [120, 121], 'sleep'))"
    parent = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"MIEN_WORKERS": "2"})
    try:
        wait_for(lambda: len(workers_of(parent.pid)) == 2)
        time.sleep(3)  # they start as interpreters, and sleep a moment later
        workers = workers_of(parent.pid)
    finally:
        parent.kill()
        parent.wait()
    wait_for(lambda: not any(map(lives, workers)))
