"""Six days before the deadline the test list comes: what was trained predicts it, and nothing is trained anew."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.run.outputs import folder_members
from tests.audit.finished import make_finished
from tests.clones import once, run_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STAGE, OUT = "finetune@vit-au", "artifacts/systems/au/vit"
LISTS = "data/raw/demo/test_release"


def shorten_the_test_list(clone: Path) -> None:
    """The last image of AU's template goes, as if the organisers had released another list."""
    path = next(
        path for path in (clone / LISTS).rglob("*") if "AU" in path.name and path.suffix == ".txt" and _rows(path)
    )
    lines = path.read_text().splitlines(keepends=True)
    path.unlink()
    path.write_text("".join(lines[:-1]))


def _rows(path: Path) -> bool:
    return path.read_text().startswith("image")


def rows(clone: Path) -> int:
    return pq.read_metadata(clone / OUT / "test.parquet").num_rows


def test_a_new_test_list_costs_no_training(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    made = once(tmp_path_factory, "finished", make_finished)
    clone = Path(shutil.copytree(made, tmp_path / "clone", symlinks=True))
    before, listed = folder_members(clone / OUT), rows(clone)
    shorten_the_test_list(clone)
    run_in(clone, "dvc", "repro", "--single-item", "ingest")
    run_in(clone, "dvc", "repro", "--single-item", STAGE)
    after = folder_members(clone / OUT)
    assert rows(clone) == listed - 1
    assert {name for name in before if before[name] != after[name]} == {"test.parquet"}
    metrics = _metrics(clone)
    assert metrics["resumed_at_step"] == metrics["last_step"]

    shutil.rmtree(clone / ".work" / STAGE)  # trained from nothing with the new list: the same bytes
    run_in(clone, "dvc", "repro", "--single-item", "--force", STAGE)
    assert folder_members(clone / OUT) == after
    assert _metrics(clone)["resumed_at_step"] == 0


def _metrics(clone: Path) -> dict[str, float]:
    """Where the last run began, and the last step that any run has logged."""
    import sqlite3
    from contextlib import closing

    run_id = json.loads((clone / f"artifacts/runs/{STAGE}/run.json").read_text())["run_id"]
    with closing(sqlite3.connect(clone / ".mien/mlflow.db")) as store:
        ((resumed,),) = store.execute(
            "select value from metrics where key = 'resumed_at_step' and run_uuid = ?", [run_id]
        )
        ((last,),) = store.execute("select max(step) from metrics where key = 'judging_share'")
    return {"resumed_at_step": resumed, "last_step": last}
