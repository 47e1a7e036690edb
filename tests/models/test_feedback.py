"""Teacher and student: the published steps, by plain gradient descent."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.feedback import Feedback
from models.system import Batch
from pipeline.train.loop import Loop, train
from pipeline.train.optimiser import learning_rate
from tests.models.parts import enliven, gradients, pictures, pixel_backbone, plain_cross_entropy
from tests.train import toys

SGD = toys.SGD.model_copy(update={"steps": 4, "warmup_steps": 0, "base_learning_rate": 0.4})


def build_feedback(**changes: Any) -> Feedback:
    settings: dict[str, Any] = {"classes": 4, "feedback": True, "temperature": 1.7, "unsupervised_weight": 0.8}
    settings |= {"ramp_steps": 3, "head_start_steps": 0, "labelled_steps": 0, "total_steps": 4}
    system = Feedback(pixel_backbone(2), pixel_backbone(2), **settings | changes)
    torch.manual_seed(1)
    enliven(system)
    return system


def feedback_batches(count: int) -> list[Batch]:
    torch.manual_seed(2)
    return [
        {
            "images": pictures(8, 2),
            "expression": torch.arange(8) % 4,
            "weak": pictures(12, 2),
            "strong": pictures(12, 2),
        }
        for _ in range(count)
    ]


Net = dict[str, Tensor]


def net_of(module: nn.Module) -> Net:
    return {name: parameter.detach().clone().requires_grad_() for name, parameter in module.named_parameters()}


def answers(net: Net, images: Tensor) -> Tensor:
    """Layer norm over the pixels and a linear classifier."""
    x = images.flatten(1).float() / 127.5 - 1
    x = (x - x.mean(dim=1, keepdim=True)) / (x.var(dim=1, keepdim=True, correction=0) + 1e-5).sqrt()
    return (x * net["norm.weight"] + net["norm.bias"]) @ net["head.weight"].T + net["head.bias"]


def descended(net: Net, loss: Tensor, rate: float) -> Net:
    grads = torch.autograd.grad(loss, list(net.values()))
    return {n: (p - rate * g).detach().requires_grad_() for (n, p), g in zip(net.items(), grads, strict=True)}


def plain_feedback(system: Feedback, batches: list[Batch], sign: float = 1.0) -> tuple[Net, Net]:
    """Teacher and student after these batches: the six steps as they are published, by plain gradient descent."""
    teacher, student = net_of(system.teacher), net_of(system.student)
    for number, batch in enumerate(batches):
        rate, labels = learning_rate(number, SGD), batch["expression"]
        if number < system.head_start_steps:
            loss = plain_cross_entropy(answers(teacher, batch["images"]), labels).mean()
            teacher = descended(teacher, loss, rate)
            continue
        if 0 < number == system.head_start_steps:
            student = teacher
        if number >= system.last_pseudo_step:
            loss = plain_cross_entropy(answers(student, batch["images"]), labels).mean()
            student = descended(student, loss, rate)
            continue
        scaled = (answers(teacher, batch["weak"]) / system.temperature).exp()
        q = (scaled / scaled.sum(dim=1, keepdim=True)).detach()
        old = plain_cross_entropy(answers(student, batch["images"]), labels).mean()
        student = descended(student, plain_cross_entropy(answers(student, batch["strong"]), q.argmax(1)).mean(), rate)
        new = plain_cross_entropy(answers(student, batch["images"]), labels).mean()
        strong = answers(teacher, batch["strong"])
        log_p = strong - strong.exp().sum(dim=1, keepdim=True).log()
        ramp = min(1.0, (number - system.head_start_steps + 1) / system.ramp_steps)
        loss = plain_cross_entropy(answers(teacher, batch["images"]), labels).mean()
        loss = loss + system.unsupervised_weight * ramp * -(q * log_p).sum(dim=1).mean()
        if system.feedback:
            h = sign * (old - new).item()
            loss = loss + h * plain_cross_entropy(strong, strong.argmax(dim=1)).mean()
        teacher = descended(teacher, loss, rate)
    return teacher, student


def distance(module: nn.Module, net: Net) -> float:
    return max(float((p - net[name]).abs().max().detach()) for name, p in module.named_parameters())


@pytest.mark.parametrize(
    "settings", [{}, {"feedback": False}, {"labelled_steps": 2}, {"head_start_steps": 1}, {"temperature": 1.0}]
)
@pytest.mark.parametrize("steps", [1, 4])
def test_feedback_steps_are_the_published_ones(tmp_path, monkeypatch, settings, steps):
    monkeypatch.setattr("pipeline.train.loop.device", lambda: torch.device("cpu"))  # on a GPU it computes in bfloat16
    system, batches = build_feedback(**settings, total_steps=steps), feedback_batches(steps)
    teacher, student = plain_feedback(system, batches)
    other_teacher, _ = plain_feedback(system, batches, sign=-1.0)
    optimise = SGD if steps == 4 else SGD.model_copy(update={"steps": 1})
    # the loop of one step begins at the same rate as that of four
    run = Loop(
        name="feedback",
        module=system,
        batches=lambda generator, step: batches[step],
        prepare=lambda batch: batch,
        optimise=optimise,
        seed=0,
        folder=tmp_path,
        log=lambda metrics, step: None,
    )
    train(run)
    assert distance(system.student, student) < 2e-5 and distance(system.teacher, teacher) < 2e-5
    pseudo_steps = steps - settings.get("labelled_steps", 0) - settings.get("head_start_steps", 0)
    told = settings.get("feedback", True) and pseudo_steps > 0
    assert (distance(system.teacher, other_teacher) > 1e-3) == told  # the sign of the gain shows


def test_feedback_measures_the_student_before_and_after_its_update():
    system, (batch,) = build_feedback(), feedback_batches(1)
    images, labels = batch["images"], batch["expression"]
    steps = system.steps(batch)
    before = plain_cross_entropy(system.student(images), labels).mean().item()
    first = next(steps)
    assert set(first) == {"student"} and not any(gradients(first["student"], system.teacher))
    nn.init.normal_(system.student.head.weight)  # stands for an update
    after = plain_cross_entropy(system.student(images), labels).mean().item()
    second = next(steps)
    assert set(second) == {"teacher", "unsupervised", "feedback"} and abs(before - after) > 0.1
    strong = system.teacher(batch["strong"])
    own = plain_cross_entropy(strong, strong.argmax(dim=1)).mean().item()
    assert second["feedback"].item() == pytest.approx((before - after) * own, rel=1e-4)
    for part in second.values():
        assert all(gradients(part, system.teacher)) and not any(gradients(part, system.student))
    assert next(steps, None) is None


def test_feedback_parts_by_step():
    """First the teacher alone; then the consistency grows over `ramp_steps`; at last the student on labels."""
    settings = {"head_start_steps": 2, "labelled_steps": 2, "total_steps": 8, "ramp_steps": 3}
    system, (batch,) = build_feedback(**settings), feedback_batches(1)
    seen = [[{n: float(v.detach()) for n, v in parts.items()} for parts in system.steps(batch)] for _ in range(9)]
    names = [[set(parts) for parts in step] for step in seen]
    both = [{"student"}, {"teacher", "unsupervised", "feedback"}]
    assert names == [[{"teacher"}]] * 2 + [both] * 4 + [[{"student_labelled"}]] * 3
    ramp = [step[1]["unsupervised"] / seen[5][1]["unsupervised"] for step in seen[2:6]]
    assert ramp == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert int(system.step) == 9
