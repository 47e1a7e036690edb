"""Freed memory is kept."""

import ctypes
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.train.memory import keep_freed_memory

PAGES_TAKEN = """
import ctypes, resource, sys
from pipeline.train.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.mallopt(-2, 0)  # no padding at the top: what malloc may give back, it gives back
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    block = libc.malloc(8 << 20)
    ctypes.memset(block, 1, 8 << 20)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc has this setting")
def test_freed_memory_is_kept_for_the_next_update():
    """50 blocks of 2,048 pages: new ones each time, or the first one's again."""
    root = Path(__file__).parents[2]
    taken = {
        kind: int(
            subprocess.run([sys.executable, "-c", PAGES_TAKEN, kind], cwd=root, capture_output=True, check=True).stdout
        )
        for kind in ("plain", "kept")
    }
    assert taken["kept"] < 5_000 < 50_000 < taken["plain"]


def test_keeping_memory_asks_nothing_of_other_libraries(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    keep_freed_memory()
