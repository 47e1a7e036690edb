"""Every system at a tiny size: shapes, gradients, masks, learning by heart, storage."""

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from models.thresholds import DynamicThreshold, FixedThreshold, SelfAdaptiveThreshold
from pipeline.core.tensors import save_tensors
from pipeline.train.optimiser import set_learning_rate
from tests.zoo import (
    APPEARANCE,
    BUILDERS,
    CLASSES,
    batch_of,
    build_dtm,
    build_emma,
    every_system,
    pictures,
    predict,
    total,
)

# --- predictions -----------------------------------------------------------------------------------------------------


@every_system
def test_predictions_have_their_shapes_and_ranges(name):
    system = BUILDERS[name]().eval()
    scores = predict(system, batch_of(name))
    tasks = {"expression": CLASSES[name]} | ({"aus": 12, "va": 2} if name in ("vit", "emma") else {})
    rows = 30 if name == "temporal" else 6
    assert {task: tuple(values.shape) for task, values in scores.items()} == {t: (rows, n) for t, n in tasks.items()}
    torch.testing.assert_close(scores["expression"].sum(dim=1), torch.ones(rows))
    assert (scores["expression"] >= 0).all()
    if "aus" in tasks:
        assert ((scores["aus"] > 0) & (scores["aus"] < 1)).all() and (scores["va"].abs() <= 1).all()
    assert not any(values.requires_grad for values in scores.values())


@every_system
def test_a_prediction_does_not_depend_on_the_rest_of_the_batch(name):
    system, batch = BUILDERS[name]().eval(), batch_of(name)
    for head in system.modules():
        if isinstance(head, nn.Linear):
            nn.init.normal_(head.weight, std=0.3)
    whole = predict(system, batch)
    single = predict(system, {key: values[2:3] for key, values in batch.items()})
    rows = slice(10, 15) if name == "temporal" else slice(2, 3)
    for task, values in single.items():
        torch.testing.assert_close(values, whole[task][rows], atol=1e-5, rtol=1e-4)


def test_emma_cuts_valence_and_arousal():
    system = build_emma().eval()
    last = system.va_head[2]
    assert isinstance(last, nn.Linear)
    nn.init.normal_(last.weight, std=30)
    va = system(pictures(6))["va"]
    cut = system.predict({"images": pictures(6)})["va"]
    assert va.abs().max() > 1 and cut.abs().max() == 1


# --- gradients and masks ---------------------------------------------------------------------------------------------


@every_system
def test_gradients_reach_every_parameter(name):
    # in evaluation mode: in training a batch norm takes the bias before it away again
    system, batch = BUILDERS[name]().eval(), batch_of(name)
    for _ in range(8):  # from several places: some start at zero, and of two cheeks one may stay the larger
        for parameter in system.parameters():
            parameter.data += torch.randn_like(parameter) * 0.1
        for parts in system.steps(batch):
            total(parts).backward()
    trained = {n: p for n, p in system.named_parameters() if p.requires_grad}
    assert [n for n, p in trained.items() if p.grad is None or not p.grad.any()] == []
    frozen = {n for n, _ in system.named_parameters()} - set(trained)
    assert all(n.startswith("cnn.") for n in frozen) and bool(frozen) == (name == "emma")


INVALID = {"expression": -1, "aus": -1, "va": -5.0, **dict.fromkeys(APPEARANCE, float("nan"))}
ROWS = [1, 4]


@pytest.mark.parametrize("name", [name for name in BUILDERS if name != "feedback"])  # which has none such in a batch
def test_faces_without_labels_contribute_nothing(name):
    # in evaluation mode: in training a batch norm shows every face what the others look like
    system, batch = BUILDERS[name]().eval(), batch_of(name)
    seen = "features" if name == "temporal" else "images"
    for task, mark in INVALID.items():
        if task in batch:
            batch[task] = batch[task].clone()
            batch[task][ROWS] = mark

    def losses(changed: list[int]) -> dict[str, float]:
        inputs = batch[seen].clone()
        inputs[changed] = batch[seen].flip(-1)[changed]
        torch.manual_seed(3)  # the same patches are hidden
        return {part: loss.item() for part, loss in system.losses(batch | {seen: inputs}).items()}

    first = losses([])
    assert losses(ROWS) == first
    moved = losses([0])
    assert all(moved[part] != first[part] for part in first if part != "unlabelled")


def test_unlabelled_faces_below_their_threshold_contribute_nothing():
    system, batch = build_dtm(FixedThreshold(8, 0.5)).eval(), batch_of("dtm", 16)
    nn.init.normal_(system.head.weight, std=0.15)
    _, accepted = system.pseudo_labels(batch["weak"], batch["other_weak"])
    assert 3 < accepted.sum() < 13

    def loss(changed: Tensor) -> float:
        strong = torch.where(changed[:, None, None, None], batch["strong"].flip(-1), batch["strong"])
        return system.losses(batch | {"strong": strong})["unlabelled"].item()

    nothing = torch.zeros_like(accepted)
    assert loss(~accepted) == loss(nothing) != loss(accepted)


# --- learning by heart -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@every_system
def test_a_batch_is_learnt_by_heart(name):
    steps, rows = 120 if name == "cotex" else 80, 16 if name == "dan" else 8
    system, batch = BUILDERS[name](), batch_of(name, rows)
    optimizer = torch.optim.AdamW(system.parameters(), weight_decay=0.0)
    history = []
    system.train()
    for step in range(steps):
        set_learning_rate(optimizer, 1e-2 * (1 - step / steps))  # batch statistics come to rest
        row: dict[str, float] = {}
        for parts in system.steps(batch):
            total(parts).backward()
            optimizer.step()
            optimizer.zero_grad()
            row |= {part: loss.item() for part, loss in parts.items()}
        history.append(row)
    learnt = {"vit": "expression aus va", "au_cvt": "expression aus", "emma": "expression aus va"}
    learnt |= {"feedback": "student teacher", "multitask": " ".join(["expression", *APPEARANCE])}
    for part in learnt.get(name, "expression").split():
        assert history[-1][part] < 0.4 * max(row[part] for row in history[:3]), part
    system.eval()
    scores = predict(system, batch)
    labels = batch["expression"].flatten()
    assert torch.equal(scores["expression"].argmax(dim=1)[labels >= 0], labels[labels >= 0])
    if "aus" in scores:
        assert ((scores["aus"] > 0.5) == batch["aus"]).float().mean() > 0.9


# --- storage ---------------------------------------------------------------------------------------------------------


@every_system
def test_weights_on_disk_predict_the_same(name, tmp_path):
    system, batch = BUILDERS[name](), batch_of(name)
    if name != "temporal":
        for parts in system.train().steps(batch):  # batch statistics and step counters leave their start
            del parts
    for parameter in system.parameters():
        nn.init.normal_(parameter, std=0.2)
    save_tensors(tmp_path / "weights.safetensors", system.state_dict())
    other = BUILDERS[name]()
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    first, second = (predict(module.eval(), batch) for module in (system, other))
    assert all(torch.equal(first[task], second[task]) for task in first)
    untrained = predict(BUILDERS[name]().eval(), batch)
    assert not any(torch.allclose(first[task], untrained[task], atol=1e-4) for task in first)


@pytest.mark.parametrize("threshold", [DynamicThreshold, SelfAdaptiveThreshold])
def test_thresholds_and_steps_are_stored(threshold, tmp_path):
    system, batch = build_dtm(threshold(8)), batch_of("dtm")
    system.losses(batch)
    system.threshold.update(torch.eye(8)[:4] * 0.9, torch.arange(4))
    save_tensors(tmp_path / "weights.safetensors", system.state_dict())
    other = build_dtm(threshold(8))
    assert not torch.equal(other.threshold.tau, system.threshold.tau)
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(other.threshold.tau, system.threshold.tau) and int(other.step) == 1
