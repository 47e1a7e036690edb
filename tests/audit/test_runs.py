"""What the audit holds against the run of a stage."""

from pipeline.audit.check.runs import _param_faults
from pipeline.audit.locks import Stage


def test_a_line_of_the_graph_stands_in_place_of_params():
    line = {"system": "vit", "seed": 7, "balance": 0.0}
    params = {"graph.trainings.vit-va": line, "systems.vit": {"train": {"balance": 0.5}}, "finetune": {"seed": 0}}
    stage = Stage("finetune@vit-va", "", (), (), {"params.yaml": params})
    assert not list(_param_faults(stage, {"system.train.balance": "0.0", "finetune.seed": "7"}))
    assert list(_param_faults(stage, {"system.train.balance": "0.5", "finetune.seed": "0"})) == [
        "param systems.vit.train.balance is 0.5, the lock has 0.0",
        "param finetune.seed is 0, the lock has 7",
    ]
