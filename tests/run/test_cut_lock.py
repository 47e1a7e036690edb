"""A lock that was cut short is put right, wherever it was cut; any other is left alone."""

from pathlib import Path

import pytest

from pipeline.core.code import ROOT
from pipeline.run.cut_lock import KEPT, LOCK, keep_lock, mend_lock
from pipeline.run.lock import lock_stages

WHOLE = (ROOT / "dvc.lock").read_text()
BEFORE_STAGES = {WHOLE.index(f"\n  {name}:") + 1 for name in lock_stages(WHOLE, "dvc.lock")}  # told apart by nothing


@pytest.fixture
def kept(workspace: Path) -> None:
    LOCK.write_text(WHOLE)
    keep_lock()
    assert KEPT.read_text() == WHOLE


def test_a_cut_lock_is_put_right(kept: None) -> None:
    for place in {*range(0, len(WHOLE), 4999), len(WHOLE) - 12, *range(8192, len(WHOLE), 8192)} - BEFORE_STAGES:
        LOCK.write_text(WHOLE[:place])
        keep_lock()  # as beside a stage that is writing it
        assert KEPT.read_text() == WHOLE, place
        assert mend_lock().startswith("dvc.lock was cut short"), place
        assert LOCK.read_text() == WHOLE and not mend_lock()


@pytest.mark.parametrize("change", [("  size: 1", "  size: 2"), ("stages:", "<<<<<<< HEAD\nstages:")])
def test_another_lock_is_left_alone(kept: None, change: tuple[str, str]) -> None:
    text = WHOLE.replace(*change)
    assert text != WHOLE
    LOCK.write_text(text)
    assert mend_lock() == "" and LOCK.read_text() == text


def test_an_older_lock_of_fewer_stages_is_left_alone_and_kept(kept: None) -> None:
    older = WHOLE[: sorted(BEFORE_STAGES)[5]]
    LOCK.write_text(older)
    assert mend_lock() == "" and LOCK.read_text() == KEPT.read_text() == older


def test_without_a_copy_nothing_is_done(workspace: Path) -> None:
    assert mend_lock() == ""
    LOCK.write_text(WHOLE[:5000])
    assert mend_lock() == "" and LOCK.read_text() == WHOLE[:5000]
