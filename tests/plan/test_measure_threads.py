"""A measurement has the threads that a stage has: two that wait for each other tell another time."""

import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from pipeline.plan import cost_command


@pytest.mark.parametrize(("asked", "given"), [(None, "1"), ("4", "4")])
def test_threads_are_those_of_a_stage(workspace: Path, monkeypatch: pytest.MonkeyPatch, asked, given) -> None:
    if asked:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    else:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    seen = []

    def run(command: list[str], cwd: Path, env: dict[str, str], **_: bool) -> CompletedProcess[str]:
        seen.append(env["OMP_NUM_THREADS"])
        figures = {"update_seconds": 1.0, "rows_a_second": 2.0, "memory_bytes": 3, "gpu_bytes": 4}
        (cwd / command[-1]).write_text(json.dumps(figures))
        return CompletedProcess(command, 0)

    monkeypatch.setattr(cost_command.subprocess, "run", run)
    assert cost_command._measured("finetune@x", workspace).memory_bytes == 3
    assert seen == [given]
