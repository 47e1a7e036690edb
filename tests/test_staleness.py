"""What an edit makes stale: counted on a copy of the code."""

import pytest

from bench.reach import EDITS, stage_names, stale_after

pytestmark = pytest.mark.slow


def stale(name: str) -> set[str]:
    return set(stale_after(EDITS[name]))


@pytest.mark.parametrize("name", ["a comment", "a docstring in one system's settings", "how runs are tracked"])
def test_what_changes_no_result_makes_nothing_stale(name):
    assert stale(name) == set()


def test_a_system_s_network_makes_its_own_trainings_stale():
    assert stale("one system's network") == {"finetune@cotex-lsd", "check_params"}


def test_a_shared_network_makes_those_stale_that_reach_it():
    found = stale("models/vit.py")
    assert {"pretrain_mae@mae", "cache_features@mae", "finetune@vit-au", "finetune@emma-mtl"} <= found
    assert not {
        stage for stage in found if stage.startswith(("ingest", "detect", "ensemble", "submit", "report", "syn"))
    }


def test_a_new_library_makes_those_stale_that_import_it():
    found = stale("a new torch")
    trained = {s for s in stage_names() if s.startswith(("finetune", "pretrain", "cache_features", "pseudo_label_exp"))}
    assert trained <= found
    spared = {s for s in stage_names() if s.startswith(("ingest", "detect", "ensemble", "submit", "report", "synth"))}
    assert not spared & found
