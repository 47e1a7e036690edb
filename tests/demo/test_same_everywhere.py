"""The rendered bytes do not depend on the processor: one digest, on every x86-64 machine with AVX2."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from demo.generator.synthesize import DATA, TRUTH
from pipeline.core.code import ROOT
from tests.demo.small import TINY

RENDERED = "36d607673250c1d8fe4ce936863182ef"
FLAGS = Path("/proc/cpuinfo")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FLAGS.exists() or " avx2 " not in FLAGS.read_text(), reason="not an x86-64 with AVX2"),
]


def test_a_tiny_release_has_its_known_bytes(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "params.yaml").write_text(yaml.safe_dump(TINY))
    free = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}  # the stage sets what it needs
    command = [sys.executable, "-m", "demo.generator.synthesize"]
    subprocess.run(command, cwd=tmp_path, env=free | {"PYTHONPATH": str(ROOT)}, check=True)
    files = sorted(path for root in (DATA, TRUTH) for path in (tmp_path / root).rglob("*") if path.is_file())
    lines = [f"{hashlib.md5(path.read_bytes()).hexdigest()} {path.relative_to(tmp_path)}\n" for path in files]
    assert hashlib.md5("".join(lines).encode()).hexdigest() == RENDERED, "".join(lines)[:2000]
