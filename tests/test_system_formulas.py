"""The systems' formulas against values worked out by hand and against slow, plain formulations."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.au_cvt import REGIONS, AuBranch, AuCvt
from models.augment import grey, mirrored, move_points, random_affine, strengthen, warp
from models.backbone import Backbone, face_backbone, timm_backbone, vit_backbone
from models.cotex import CoTex
from models.dan import DanNet
from models.dtm import Dtm
from models.emma import Emma
from models.face_resnet import IRStem, IRUnit
from models.feedback import Feedback
from models.losses import au_sum_loss, expression_loss, jensen_shannon
from models.masking import put_back
from models.multitask import Exchange, Multitask, appearance_loss
from models.system import Batch
from models.temporal import TemporalEncoder, sincos_positions, window_starts
from models.thresholds import DynamicThreshold, FixedThreshold, SelfAdaptiveThreshold
from models.vit import normalise, read_tokens, readout_width
from pipeline.base.params import Augment, Optimise
from pipeline.faces.pose import FACE, yaw_and_pitch
from pipeline.train.augmenting import augmenter
from pipeline.train.loop import Training, train
from pipeline.train.schedule import learning_rate

VIT = {"image_pixels": 16, "patch_pixels": 4, "width": 16, "depth": 2, "heads": 2}  # 16 patches


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def pictures(batch: int, pixels: int = 16) -> Tensor:
    return torch.randint(0, 256, (batch, 3, pixels, pixels), dtype=torch.uint8)


def pixel_backbone(pixels: int) -> Backbone:
    """Features are the pixels themselves, in [-1, 1]."""
    return Backbone(nn.Flatten(), 3 * pixels**2, pixels, [0.5] * 3, [0.5] * 3)


def enliven(module: nn.Module, size: float = 0.5) -> None:
    """Parameters far from their small start, so that every part of a formula shows."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=size)


def plain_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Each row's, from the definition."""
    return torch.stack([row.exp().sum().log() - row[label] for row, label in zip(logits, labels, strict=True)])


def gradients(loss: Tensor, module: nn.Module) -> list[bool]:
    """Whether the loss reaches each parameter."""
    found = torch.autograd.grad(loss, list(module.parameters()), retain_graph=True, allow_unused=True)
    return [grad is not None and bool(grad.any()) for grad in found]


# --- losses ----------------------------------------------------------------------------------------------------------


def test_jensen_shannon_is_averaged_over_batch_and_classes():
    first, second = torch.tensor([[1.0, 0.0], [0.5, 0.5]]), torch.tensor([[0.0, 1.0], [0.5, 0.5]])
    # first row: each view is log 2 from the middle; second row: no difference; two rows of two classes
    assert jensen_shannon([first, second]).item() == pytest.approx(math.log(2) / 4, rel=1e-6)
    assert jensen_shannon([first, first, first]).item() == 0


def test_jensen_shannon_takes_logarithms_of_no_less_than_a_ten_thousandth():
    first, second = torch.tensor([[0.99984, 0.00016]]), torch.tensor([[1.0, 0.0]])
    middle = math.log((1 + 0.99984) / 2)  # and 0.00008, which counts as 0.0001
    views = [0.99984 * (math.log(0.99984) - middle) + 0.00016 * math.log(1.6), -middle]
    assert jensen_shannon([first, second]).item() == pytest.approx(sum(views) / 2 / 2, rel=2e-3)
    assert jensen_shannon([first, second], least=1e-3).item() != jensen_shannon([first, second]).item()


@pytest.mark.parametrize("views", [1, 2, 5])
def test_jensen_shannon_of_many_views(views):
    p = torch.randn(views, 7, 6).mul(4).softmax(-1).double()
    total = 0.0
    for view in range(views):
        for row in range(7):
            for c in range(6):
                own, mean = float(p[view, row, c]), float(p[:, row, c].sum()) / views
                total += own * (math.log(max(own, 1e-4)) - math.log(max(mean, 1e-4)))
    assert jensen_shannon(list(p)).item() == pytest.approx(total / views / 7 / 6, abs=1e-12)


def test_jensen_shannon_of_certain_views_has_a_gradient():
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    jensen_shannon([logits.softmax(-1), logits.flip(0).softmax(-1)]).backward()
    assert torch.isfinite(logits.grad).all()


def test_au_sum_loss_by_hand():
    logits = torch.tensor([[0.0, math.log(3)], [0.0, 0.0], [7.0, -7.0]])
    labels = torch.tensor([[1, 0], [-1, 1], [-1, -1]])
    # summed over valid units, divided by all three frames
    plain = (math.log(2) + math.log(4) + math.log(2)) / 3
    assert au_sum_loss(logits, labels, torch.ones(2)).item() == pytest.approx(plain, rel=1e-6)
    heavier = (5 * math.log(2) + math.log(4) + 0.25 * math.log(2)) / 3  # inactive units have no weight
    assert au_sum_loss(logits, labels, torch.tensor([5.0, 0.25])).item() == pytest.approx(heavier, rel=1e-6)


# --- thresholds ------------------------------------------------------------------------------------------------------


def rows_of(*answers: tuple[int, float], classes: int = 4) -> Tensor:
    """Probabilities (rows, classes) that give one class so much and the others the same."""
    rows = torch.tensor([[(1 - p) / (classes - 1)] * classes for _, p in answers])
    for row, (guess, p) in zip(rows, answers, strict=True):
        row[guess] = p
    return rows


def test_dynamic_threshold_by_hand():
    threshold = DynamicThreshold(4, floor=0.8, momentum=0.9)
    threshold.tau.copy_(torch.tensor([0.8, 0.9, 0.95, 0.85]))
    answers = rows_of((0, 0.9), (0, 1.0), (1, 0.99), (1, 0.7), (1, 0.8), (2, 0.99), (3, 0.97), (3, 0.5))
    labels = torch.tensor([0, 0, 2, 1, 1, 3, 3, -1])
    threshold.update(answers, labels)
    # class 0: both right, mean 0.95; class 1: mean 0.75 is below the floor; class 2: its one sample is taken for class
    # 1; class 3: the right one has 0.97, the unlabelled one does not count
    assert threshold.tau.tolist() == pytest.approx([0.9 * 0.8 + 0.1 * 0.95, 0.8, 0.8, 0.9 * 0.85 + 0.1 * 0.97])


def test_dynamic_threshold_converges_on_the_mean_confidence_and_falls_at_once():
    threshold = DynamicThreshold(4)
    assert threshold.tau.tolist() == pytest.approx([0.8] * 4)
    for epoch in range(1, 6):
        threshold.update(rows_of((2, 0.96), (2, 0.94)), torch.tensor([2, 2]))
        assert threshold.tau[2].item() == pytest.approx(0.95 - 0.15 * 0.9**epoch)
    threshold.update(rows_of((2, 0.79)), torch.tensor([2]))
    assert threshold.tau.tolist() == pytest.approx([0.8] * 4)


def test_dynamic_threshold_keeps_to_its_own_floor_and_momentum():
    threshold = DynamicThreshold(4, floor=0.6, momentum=0.5)
    threshold.update(rows_of((0, 0.7), (1, 0.55)), torch.tensor([0, 1]))
    assert threshold.tau.tolist() == pytest.approx([0.65, 0.6, 0.6, 0.6])


def test_an_answer_counts_from_the_threshold_of_its_own_class():
    threshold = FixedThreshold(4, 0.5)
    threshold.tau.copy_(torch.tensor([0.5, 0.625, 0.75, 0.875]))
    answers = rows_of((0, 0.5), (0, 0.49), (1, 0.61), (1, 0.63), (2, 0.75), (3, 0.86), (3, 0.9))
    assert threshold.accept(answers).tolist() == [True, False, False, True, True, False, True]


def test_fixed_threshold_learns_nothing():
    threshold = FixedThreshold(4, 0.95)
    threshold.observe(rows_of((0, 0.3), (1, 0.99)))
    threshold.update(rows_of((0, 0.3), (1, 0.99)), torch.tensor([0, 1]))
    assert threshold.tau.tolist() == pytest.approx([0.95] * 4)


def test_self_adaptive_threshold_by_hand():
    threshold = SelfAdaptiveThreshold(3, momentum=0.75)
    assert threshold.tau.tolist() == pytest.approx([1 / 3] * 3)
    batches = [[[0.6, 0.3, 0.1], [0.2, 0.8, 0.0]], [[0.9, 0.05, 0.05]]]
    time_p, p_model = 1 / 3, np.full(3, 1 / 3)
    for batch, highest in zip(batches, (0.7, 0.9), strict=True):
        threshold.observe(torch.tensor(batch))
        time_p = 0.75 * time_p + 0.25 * highest
        p_model = 0.75 * p_model + 0.25 * np.mean(batch, axis=0)
        assert threshold.tau.tolist() == pytest.approx((time_p * p_model / p_model.max()).tolist())
    assert time_p == pytest.approx(0.75 * (0.25 + 0.175) + 0.225)
    tau = threshold.tau.clone()
    threshold.update(rows_of((0, 0.9), classes=3), torch.tensor([0]))
    assert torch.equal(threshold.tau, tau)


# --- dynamic threshold module ----------------------------------------------------------------------------------------


def build_dtm(threshold: FixedThreshold, **changes: Any) -> Dtm:
    settings: dict[str, Any] = {"classes": 4, "scale": 3.0, "unlabelled_weight": 0.5, "supervised_steps": 0}
    system = Dtm(pixel_backbone(2), threshold, **settings | changes)
    enliven(system, 0.7)
    return system


def dtm_batch() -> Batch:
    weak = pictures(40, 2)
    other = (weak.float() + torch.randn(weak.shape) * 60).clamp(0, 255).byte()
    batch = {"images": pictures(6, 2), "expression": torch.tensor([0, 1, 2, 3, -1, 1])}
    return batch | {"weak": weak, "other_weak": other, "strong": pictures(40, 2)}


def dtm_logits(system: Dtm, images: Tensor) -> Tensor:
    x = (images.flatten(1).double() / 255 - 0.5) / 0.5
    x = x / x.square().sum(dim=1, keepdim=True).sqrt()
    return system.scale * x @ system.head.weight.double().T + system.head.bias.double()


def test_dtm_loss_by_hand():
    threshold = FixedThreshold(4, 0.5)
    threshold.tau.copy_(torch.tensor([0.7, 0.5, 0.6, 0.8]))
    system, batch = build_dtm(threshold), dtm_batch()
    views = [dtm_logits(system, batch[name]).exp() for name in ("weak", "other_weak")]
    weak, other = (view / view.sum(dim=1, keepdim=True) for view in views)
    each = plain_cross_entropy(dtm_logits(system, batch["strong"]), ((weak + other) / 2).argmax(dim=1))
    total, accepted = 0.0, 0
    for mean, loss in zip(((weak + other) / 2).tolist(), each.tolist(), strict=True):
        guess = int(np.argmax(mean))
        if mean[guess] >= threshold.tau[guess]:
            total, accepted = total + loss, accepted + 1
    assert 5 < accepted < 35
    assert not torch.equal(weak.argmax(dim=1), ((weak + other) / 2).argmax(dim=1))  # the second view has a say
    parts = system.losses(batch)
    assert parts["unlabelled"].item() == pytest.approx(0.5 * total / 40, rel=1e-5)
    kept = [0, 1, 2, 3, 5]
    labelled = plain_cross_entropy(dtm_logits(system, batch["images"][kept]), batch["expression"][kept])
    assert parts["expression"].item() == pytest.approx(labelled.mean().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("weight", "steps", "unlabelled"), [(0.5, 2, [0, 0, 1, 1]), (0.5, 0, [1] * 4), (0.0, 0, [0] * 4)]
)
def test_dtm_begins_with_labelled_faces_alone(weight, steps, unlabelled):
    system, batch = build_dtm(FixedThreshold(4, 0.0), unlabelled_weight=weight, supervised_steps=steps), dtm_batch()
    assert ["unlabelled" in system.losses(batch) for _ in unlabelled] == unlabelled
    assert int(system.step) == 4


def test_dtm_thresholds_see_a_batch_before_they_judge_it():
    system, batch = build_dtm(SelfAdaptiveThreshold(4, momentum=0.0)), dtm_batch()
    guess, accepted = system.pseudo_labels(batch["weak"], batch["other_weak"])
    mean = (dtm_logits(system, batch["weak"]).softmax(-1) + dtm_logits(system, batch["other_weak"]).softmax(-1)) / 2
    classes = mean.mean(dim=0)
    tau = mean.max(dim=1).values.mean() * classes / classes.max()
    assert torch.equal(guess, mean.argmax(dim=1))
    assert torch.equal(accepted, mean.max(dim=1).values >= tau[guess]) and 0 < accepted.sum() < 40


# --- feedback --------------------------------------------------------------------------------------------------------

SGD = Optimise(
    optimizer="sgd",
    batch=256,
    steps=4,
    warmup_steps=0,
    base_learning_rate=0.4,
    min_learning_rate=0.01,
    momentum=0.0,
    weight_decay=0.0,
    layer_decay=1.0,
    clip_norm=1e9,
    ema_decay=0.0,
)


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
    run = Training(
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


# --- masked CoTEX ----------------------------------------------------------------------------------------------------


def build_cotex(**changes: Any) -> CoTex:
    settings: dict[str, Any] = {"classes": 6, "views": 2, "mask_ratio": 0.0, "consistency_weight": 100.0}
    settings |= {"readout_grid": 0, "drop_path": 0.0}
    system = CoTex(VIT, **settings | changes)
    for view in system.views:
        enliven(view.head)
    return system


@pytest.mark.parametrize(("ratio", "kept"), [(0.0, 16), (0.5, 8), (0.75, 4), (0.7, 4), (0.9, 1)])
def test_cotex_blocks_see_the_class_token_and_the_kept_patches(ratio, kept):
    system, shapes = build_cotex(mask_ratio=ratio), []
    for view in system.views:
        view.encoder.blocks[0].register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    system.losses({"images": pictures(5), "expression": torch.arange(5)})
    system.predict({"images": pictures(3)})
    assert shapes == [(5, 1 + kept, 16)] * 2 + [(3, 17, 16)] * 2


def test_cotex_views_draw_masks_of_their_own():
    system, tokens = build_cotex(mask_ratio=0.75), []
    system.views[1].load_state_dict(system.views[0].state_dict())
    for view in system.views:
        view.encoder.blocks[0].register_forward_pre_hook(lambda _, inputs: tokens.append(inputs[0]))
    system.losses({"images": pictures(5), "expression": torch.arange(5)})
    first, second = (sorted(view[0, 1:, 0].tolist()) for view in tokens)
    assert first != second and torch.equal(tokens[0][:, 0], tokens[1][:, 0])


@pytest.mark.parametrize("ratio", [0.0, 0.5])
def test_cotex_reads_the_class_token(ratio):
    system, seen = build_cotex(), []
    view = system.views[0].eval()
    view.encoder.norm.register_forward_hook(lambda module, inputs, output: seen.append(output))
    logits = view(pictures(4), ratio)
    torch.testing.assert_close(logits, seen[0][:, 0] @ view.head.weight.T + view.head.bias)


def test_cotex_cells_that_were_hidden_are_zero_and_the_others_stand_for_them():
    tokens, kept = torch.randn(2, 5, 3), torch.tensor([[6, 0, 15, 3], [1, 2, 14, 7]])
    full = put_back(tokens, kept, 16)
    expected = torch.zeros(2, 17, 3)
    for row in range(2):
        expected[row, 0] = tokens[row, 0]
        for number, place in enumerate(kept[row].tolist()):
            expected[row, 1 + place] = 4 * tokens[row, 1 + number]
    torch.testing.assert_close(full, expected)
    every = torch.arange(4).expand(2, -1)
    assert torch.equal(put_back(tokens, every, 4), tokens)


def test_cotex_may_read_cells_instead():
    view = build_cotex(readout_grid=2).views[0].eval()
    images, read = pictures(3), []
    view.head.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    view(images, 0.0)
    tokens = view.encoder.forward_features(normalise(images))
    torch.testing.assert_close(read[0], read_tokens(tokens, 2))
    view(images, 0.9)  # one patch of sixteen is seen: one cell of the four, a quarter of sixteen times its token
    cells = read[1].unflatten(1, (16, 4)).transpose(1, 2)
    assert (cells.abs().sum(dim=2) > 0).sum(dim=1).tolist() == [1, 1, 1]
    lengths = cells.sum(dim=1).square().mean(dim=1).sqrt()  # a token leaves the layer norm with length 1
    torch.testing.assert_close(lengths, torch.full((3,), 4.0), atol=1e-3, rtol=0)


def test_tokens_are_read_in_reading_order():
    tokens = torch.arange(17.0)[None, :, None]
    assert read_tokens(tokens, 0).tolist() == [[0]]
    assert read_tokens(tokens, 1).tolist() == [[8.5]]
    assert read_tokens(tokens, 2).tolist() == [[3.5, 5.5, 11.5, 13.5]]
    assert read_tokens(tokens, 4).tolist() == [list(range(1, 17))]
    assert [readout_width(3, grid) for grid in (0, 1, 4)] == [3, 3, 48]


def test_cotex_loss_and_prediction_by_hand():
    system, labels = build_cotex(views=3).eval(), torch.tensor([0, 5, -1, 2])
    images, kept = pictures(4), [0, 1, 3]
    logits = [view(images, 0.0) for view in system.views]
    parts = system.losses({"images": images, "expression": labels})
    entropy = sum(plain_cross_entropy(z[kept], labels[kept]).mean() for z in logits) / 3
    assert parts["expression"].item() == pytest.approx(entropy.item(), rel=1e-5)
    divergence = 100 * jensen_shannon([z[kept].softmax(-1) for z in logits])
    assert parts["consistency"].item() == pytest.approx(divergence.item(), rel=1e-5) and divergence > 0.01
    summed = sum(logits).softmax(-1)
    torch.testing.assert_close(system.predict({"images": images})["expression"], summed)
    mean = torch.stack([z.softmax(-1) for z in logits]).mean(dim=0)
    assert not torch.allclose(summed, mean, atol=1e-2)


def test_cotex_without_consistency_or_labels_has_one_part():
    batch = {"images": pictures(2), "expression": torch.tensor([1, 2])}
    assert set(build_cotex(consistency_weight=0.0).losses(batch)) == {"expression"}
    assert set(build_cotex().losses(batch | {"expression": torch.tensor([-1, -1])})) == {"expression"}


# --- EMMA ------------------------------------------------------------------------------------------------------------


def build_emma(**changes: Any) -> Emma:
    cnn = DanNet(channels=[4, 4, 8, 16], layers=[1, 1, 1, 1], attention_heads=2, classes=6)
    settings: dict[str, Any] = {"hidden": 16, "va_hidden": 8, "va_from": "scores", "va_rate": 1e-3, "drop_path": 0.0}
    settings |= {"readout_grid": 0, "au_pos_weight": [float(unit + 1) for unit in range(12)]}
    return Emma(VIT, cnn, 6, **settings | changes)


def mtl_batch(rows: int = 6) -> Batch:
    return {
        "images": pictures(rows),
        "expression": torch.arange(rows) % 8,
        "aus": torch.randint(0, 2, (rows, 12)),
        "va": torch.rand(rows, 2) * 2 - 1,
    }


def test_emma_head_sees_the_networks_scores_the_expressions_and_the_units():
    system, images = build_emma().eval(), pictures(4)
    inputs, scores, tokens = [], [], []
    system.va_head[0].register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    system.head.register_forward_hook(lambda module, given, output: scores.append((given[0], output)))
    system.encoder.norm.register_forward_hook(lambda module, given, output: tokens.append(output))
    out = system(images)
    assert inputs[0].shape == (4, 26) and out["expression"].shape == (4, 8) and out["aus"].shape == (4, 12)
    assert torch.equal(inputs[0], torch.cat([system.cnn(images), out["expression"], out["aus"]], dim=1))
    assert torch.equal(scores[0][1], torch.cat([out["expression"], out["aus"]], dim=1))
    assert torch.equal(scores[0][0], tokens[0][:, 0])


def test_emma_gradient_of_valence_and_arousal_reaches_the_vit_but_not_the_network():
    system = build_emma()
    part = system.losses(mtl_batch())["va"]
    assert all(gradients(part, system.head)) and all(gradients(part, system.encoder))
    assert not any(parameter.requires_grad for parameter in system.cnn.parameters())


@pytest.mark.parametrize(("va_from", "reached"), [("scores", True), ("features", False)])
def test_emma_valence_may_come_from_the_class_token_alone(va_from, reached):
    system = build_emma(va_from=va_from)
    part = system.losses(mtl_batch())["va"]
    assert all(gradients(part, system.encoder)) and any(gradients(part, system.head)) == reached
    assert system.va_head[0].in_features == (26 if reached else 16)
    assert build_emma(va_from=va_from, readout_grid=2).va_head[0].in_features == (26 if reached else 64)


def test_emma_network_stays_as_it_is_in_training():
    system = build_emma().train()
    assert system.training and system.encoder.training
    assert not any(module.training for module in system.cnn.modules())
    before = {name: tensor.clone() for name, tensor in system.cnn.state_dict().items()}
    for _ in range(3):
        sum(system.losses(mtl_batch()).values()).backward()
    assert all(torch.equal(before[name], tensor) for name, tensor in system.cnn.state_dict().items())
    assert all(parameter.grad is None for parameter in system.cnn.parameters())


@pytest.mark.parametrize(("task", "invalid"), [("expression", -1), ("aus", -1), ("va", -5)])
def test_emma_masks_each_task_by_itself(task, invalid):
    system, batch = build_emma().eval(), mtl_batch()
    labels = batch[task].clone()
    labels[[1, 4]] = invalid
    whole, masked = system.losses(batch), system.losses(batch | {task: labels})
    assert {name for name in whole if whole[name] != masked[name]} == {task}
    kept = {name: tensor[[0, 2, 3, 5]] for name, tensor in batch.items()}
    scale = 4 / 6 if task == "aus" else 1  # the sum over units is divided by all frames
    assert masked[task].item() == pytest.approx(scale * system.losses(kept)[task].item(), rel=1e-5)


def test_emma_weighs_the_units():
    batch = mtl_batch()
    system = build_emma().eval()
    logits = system(batch["images"])["aus"].double()
    active, odds = batch["aus"].double(), torch.arange(1.0, 13.0)
    each = odds * active * (1 + (-logits).exp()).log() + (1 - active) * (1 + logits.exp()).log()
    assert system.losses(batch)["aus"].item() == pytest.approx(each.sum().item() / 6, rel=1e-5)


# --- AU-CVT ----------------------------------------------------------------------------------------------------------

# first and past-the-last row and column of the part of the map that each AU is read from
TOP, BOTTOM, LEFT, RIGHT = (
    {14: (0, 7, 0, 14), 8: (0, 4, 0, 8)},
    {14: (6, 14, 0, 14), 8: (3, 8, 0, 8)},
    {14: (5, 12, 0, 6), 8: (2, 7, 0, 4)},
    {14: (5, 12, 8, 14), 8: (2, 7, 4, 8)},
)
AU6 = 3
OF_THE_TWELVE = {**dict.fromkeys((0, 1, 2, 4), TOP), **dict.fromkeys(range(5, 12), BOTTOM)}
UPPER, LOWER = {14: (0, 8, 0, 14), 8: (0, 5, 0, 8)}, BOTTOM
OF_OPENFACE = {**dict.fromkeys(range(7), UPPER), **dict.fromkeys(range(7, 16), LOWER)}


def field_of(branch: AuBranch, maps: Tensor, unit: int) -> tuple[int, int, int, int]:
    """The rectangle of cells that move a unit's logit; all cells in it must."""
    maps = maps.clone().requires_grad_()
    branch(maps)[0, unit].backward()
    moved = maps.grad[0].any(dim=0)
    rows, columns = (torch.nonzero(moved.any(dim=dim)).flatten().tolist() for dim in (1, 0))
    assert moved.sum() == len(rows) * len(columns)
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


@pytest.mark.parametrize("side", [14, 8])
@pytest.mark.parametrize(("regions", "fields"), [("abaw", OF_THE_TWELVE), ("openface", OF_OPENFACE)])
def test_each_unit_is_read_from_its_part_of_the_map(regions, fields, side):
    branch = AuBranch(REGIONS[regions], 8)
    maps = torch.randn(1, 8, side, side)
    assert branch(maps).shape == (1, len(fields) + (regions == "abaw"))
    for unit, field in fields.items():
        assert field_of(branch, maps, unit) == field[side], unit


@pytest.mark.parametrize("side", [14, 8])
def test_the_cheek_that_shows_more_tells_of_au6(side):
    branch, maps = AuBranch(REGIONS["abaw"], 8), torch.randn(5, 8, side, side)
    logits = []
    for number, field in ((1, LEFT[side]), (2, RIGHT[side])):
        cells = maps[:, :, field[0] : field[1], field[2] : field[3]].mean(dim=(2, 3))
        normed = (cells - cells.mean(1, keepdim=True)) / (cells.var(1, keepdim=True, correction=0) + 1e-6).sqrt()
        logits.append((normed @ branch.heads[number].weight.T + branch.heads[number].bias)[:, 0])
    torch.testing.assert_close(branch(maps)[:, AU6], torch.maximum(*logits))
    for number, field in ((1, LEFT), (2, RIGHT)):
        branch.heads[number].bias.data += 100 * number
        assert field_of(branch, maps[:1], AU6) == field[side]


def build_au_cvt(**changes: Any) -> AuCvt:
    settings: dict[str, Any] = {"image_pixels": 32, "classes": 6, "channels": [4, 8], "units": [1, 1], "width": 16}
    settings |= {"heads": 2, "blocks_before": 2, "blocks_after": 1, "regions": "abaw", "au_weight": 0.5}
    return AuCvt(**settings | changes)


def test_units_are_read_between_the_two_stages():
    system, images = build_au_cvt().eval(), pictures(3, 32)
    expression, aus = system(images)
    enliven(system.stage_b)
    later, same = system(images)
    assert torch.equal(aus, same) and not torch.allclose(expression, later, atol=1e-3)
    enliven(system.stage_a)
    assert not torch.allclose(system(images)[1], aus, atol=1e-3)
    assert [len(stage) for stage in (system.stage_a, system.stage_b)] == [2, 1]


def test_the_map_keeps_its_rows_and_columns():
    system, images, seen = build_au_cvt(blocks_before=1), torch.zeros(1, 3, 32, 32, dtype=torch.uint8), []
    system.eval().au_branch.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    changed = images.clone()
    changed[:, :, 8:12, 20:24] = 255  # the cell in row 2, column 5
    system(torch.cat([images, changed]))
    difference = (seen[0][1] - seen[0][0]).norm(dim=0)
    row, column = divmod(int(difference.argmax()), 8)
    assert abs(row - 2) <= 1 and abs(column - 5) <= 1  # convolutions spread it


def test_au_cvt_loss_by_hand():
    images, labels = pictures(4, 32), torch.tensor([1, 5, -1, -1])
    aus = torch.randint(0, 2, (4, 12))
    aus[0], aus[3, 7] = -1, -1
    system = build_au_cvt(au_weight=0.25).eval()
    parts = system.losses({"images": images, "expression": labels, "aus": aus})
    expression, logits = system(images)
    entropy = plain_cross_entropy(expression[:2], labels[:2]).mean()
    assert parts["expression"].item() == pytest.approx(entropy.item(), rel=1e-5)
    each = [
        math.log(1 + math.exp(-z if active else z))
        for z, active in zip(logits[aus >= 0].tolist(), aus[aus >= 0].tolist(), strict=True)
    ]
    assert len(each) == 35 and parts["aus"].item() == pytest.approx(0.25 * sum(each) / 35, rel=1e-5)
    assert set(build_au_cvt(au_weight=0.0).losses({"images": images, "expression": labels})) == {"expression"}


def test_au_cvt_expression_is_the_mean_over_the_map():
    system, seen = build_au_cvt().eval(), []
    system.stage_b.register_forward_hook(lambda module, inputs, output: seen.append(output))
    expression, _ = system(pictures(3, 32))
    mean = seen[0].mean(dim=1)
    assert seen[0].shape == (3, 64, 16)
    normed = (mean - mean.mean(1, keepdim=True)) / (mean.var(1, keepdim=True, correction=0) + 1e-6).sqrt()
    torch.testing.assert_close(expression, normed @ system.head.weight.T + system.head.bias, atol=1e-5, rtol=1e-4)


# --- the face-recognition stem ---------------------------------------------------------------------------------------

CHANNELS, UNITS = [64, 128, 256], [3, 4, 14]


def published_unit(number: int, widened: bool) -> set[str]:
    """Tensor names of one unit of the published IR-50: norm, convolution, PReLU, convolution, norm."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = {f"res_layer.{place}.{part}" for place in (0, 4) for part in norm}
    names |= {f"res_layer.{place}.weight" for place in (1, 2, 3)}
    if widened:
        names |= {"shortcut_layer.0.weight"} | {f"shortcut_layer.1.{part}" for part in norm}
    return {f"body.{number}.{name}" for name in names}


def test_stem_is_the_first_twenty_one_units_of_ir_50():
    stem = IRStem(CHANNELS, UNITS)
    names = set(stem.state_dict())
    assert {name for name in names if not name.startswith("body.")} == {
        *(f"input_layer.{name}" for name in ("0.weight", "2.weight")),
        *(f"input_layer.1.{n}" for n in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
    }
    # the first units of the stages of 128 and 256 channels are the only ones that widen
    bodies = [published_unit(number, number in (3, 7)) for number in range(21)]
    assert {name for name in names if name.startswith("body.")} == set().union(*bodies)
    total = 3 * 64 * 9 + 2 * 64 + 64
    for number in range(21):
        outputs = 64 if number < 3 else 128 if number < 7 else 256
        inputs = outputs // 2 if number in (3, 7) else outputs
        total += 2 * inputs + 9 * inputs * outputs + outputs + 9 * outputs**2 + 2 * outputs
        total += inputs * outputs + 2 * outputs if number in (3, 7) else 0
    assert sum(parameter.numel() for parameter in stem.parameters()) == total


def test_stem_gives_a_map_of_fourteen_cells_a_side():
    with torch.no_grad():
        assert IRStem(CHANNELS, UNITS).eval()(torch.randn(1, 3, 112, 112)).shape == (1, 256, 14, 14)


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(4, 4, 1), (4, 4, 2), (4, 8, 2)])
def test_stem_unit_is_the_plain_formulation(inputs, outputs, stride):
    unit = IRUnit(inputs, outputs, stride).eval()
    for tensor in unit.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.1, 0.9)

    def norm(layer: nn.Module, x: Tensor) -> Tensor:
        shape = (1, -1, 1, 1)
        x = (x - layer.running_mean.view(shape)) / (layer.running_var.view(shape) + layer.eps).sqrt()
        return x * layer.weight.view(shape) + layer.bias.view(shape)

    x = torch.randn(2, inputs, 6, 6)
    first, convolution, slopes, strided, last = unit.res_layer
    y = F.conv2d(norm(first, x), convolution.weight, padding=1)
    y = torch.where(y > 0, y, slopes.weight.view(1, -1, 1, 1) * y)
    y = norm(last, F.conv2d(y, strided.weight, stride=stride, padding=1))
    shortcut = x[:, :, ::stride, ::stride]
    if inputs != outputs:
        shortcut = norm(unit.shortcut_layer[1], F.conv2d(x, unit.shortcut_layer[0].weight, stride=stride))
    torch.testing.assert_close(unit(x), y + shortcut, atol=1e-4, rtol=1e-4)


# --- multi-task networks ---------------------------------------------------------------------------------------------

NAN = float("nan")


def test_appearance_losses_by_hand_leave_unknown_targets_out():
    output = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 5.0]])
    target = torch.tensor([[0.0, 4.0], [NAN, 4.0], [NAN, NAN]])  # known in part is not known
    assert appearance_loss("pose", output, target).item() == pytest.approx((1 + 4) / 2)
    assert appearance_loss("landmarks", output, target).item() == pytest.approx((1 + 4) / 2)
    cosine = (1 * 0 + 2 * 4) / (math.sqrt(5) * 4)
    assert appearance_loss("identity", output, target).item() == pytest.approx(1 - cosine, rel=1e-6)
    logits, sex = torch.tensor([[math.log(3)], [0.0], [9.0]]), torch.tensor([[1.0], [0.0], [NAN]])
    expected = (math.log(4 / 3) + math.log(2)) / 2
    assert appearance_loss("sex", logits, sex).item() == pytest.approx(expected, rel=1e-6)
    assert appearance_loss("age", logits[:1], torch.tensor([[0.0]])).item() == pytest.approx(math.log(3) ** 2)


@pytest.mark.parametrize("name", ["landmarks", "pose", "identity", "age", "sex"])
def test_unknown_appearance_gives_no_gradient(name):
    output = torch.randn(3, 1, requires_grad=True)
    target = torch.tensor([[NAN], [1.0], [NAN]])
    appearance_loss(name, output, target).backward()
    assert torch.isfinite(output.grad).all() and not output.grad[[0, 2]].any()
    value = appearance_loss(name, output, torch.full((3, 1), NAN))
    assert value.item() == 0 and not torch.autograd.grad(value, output)[0].any()


def test_exchange_adds_a_gated_view_of_the_other_branch():
    exchange = Exchange(3)
    enliven(exchange)
    emotion, appearance = torch.randn(2, 5, 3)

    def told(number: int, other: Tensor) -> Tensor:
        value, gate = exchange.values[number], exchange.gates[number]
        return (other @ value.weight.T + value.bias) / (1 + (-(other @ gate.weight.T + gate.bias)).exp())

    first, second = exchange(emotion, appearance)
    torch.testing.assert_close(first, emotion + told(0, appearance))
    torch.testing.assert_close(second, appearance + told(1, emotion))


def build_multitask(networks: int = 2, **weights: float) -> Multitask:
    weights = {"landmarks": 0.5, "pose": 2.0, "identity": 0.0, "age": 0.0, "sex": 0.0} | weights
    backbones = [vit_backbone(VIT, 1 + number) for number in range(networks)]
    return Multitask(backbones, width=8, classes=6, appearance_weights=weights, identity_width=4)


def multitask_batch() -> Batch:
    batch = {"images": pictures(5), "expression": torch.tensor([0, 1, -1, 3, 4])}
    return batch | {"landmarks": torch.rand(5, 10), "pose": torch.rand(5, 2), "identity": torch.randn(5, 4)}


def test_multitask_loss_is_the_weighted_sum_over_networks():
    system, batch = build_multitask(identity=3.0), multitask_batch()
    expected = dict.fromkeys(("expression", "landmarks", "pose", "identity"), 0.0)
    for network in system.networks:
        logits, outputs = network(batch["images"])
        assert set(outputs) == {"landmarks", "pose", "identity"}
        expected["expression"] += expression_loss(logits, batch["expression"], torch.ones(5)).item()
        for name, weight in (("landmarks", 0.5), ("pose", 2.0), ("identity", 3.0)):
            expected[name] += weight * appearance_loss(name, outputs[name], batch[name]).item()
    parts = system.losses(batch)
    assert {name: part.item() for name, part in parts.items()} == pytest.approx(expected, rel=1e-5)


def test_a_target_of_no_weight_has_no_head():
    system = build_multitask(pose=0.0)
    assert all(set(network.appearance_heads) == {"landmarks"} for network in system.networks)
    batch = multitask_batch()
    assert set(system.losses({name: batch[name] for name in ("images", "expression", "landmarks")})) == {
        "expression",
        "landmarks",
    }


def test_multitask_networks_learn_apart_and_their_probabilities_are_averaged():
    system, batch = build_multitask(), multitask_batch()
    for network in system.networks:
        enliven(network.head)
    single = build_multitask(1)
    single.networks[0].load_state_dict(system.networks[0].state_dict())
    for module in (system, single):
        sum(module.losses(batch).values()).backward()
    for a, b in zip(system.networks[0].parameters(), single.networks[0].parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    views = torch.stack([network(batch["images"])[0].softmax(-1) for network in system.networks])
    assert not torch.allclose(views[0], views[1], atol=1e-2)
    torch.testing.assert_close(system.predict(batch)["expression"], views.mean(dim=0))


def test_appearance_tells_the_emotion_branch():
    """Both branches share face information: an appearance target moves the emotion branch, and expression the other."""
    network = build_multitask(1).networks[0]
    logits, outputs = network(pictures(4))
    assert all(gradients(outputs["pose"].sum(), network.emotion))
    assert all(gradients(logits.square().sum(), network.appearance))


# --- backbones -------------------------------------------------------------------------------------------------------


def test_a_timm_backbone_sees_images_normalised_its_own_way():
    backbone, images = timm_backbone("test_efficientnet").eval(), pictures(2, 32)
    mean, std = (torch.tensor(x).view(-1, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = backbone.network((images.float() / 255 - mean) / std)
    assert expected.shape == (2, backbone.width)
    torch.testing.assert_close(backbone(images), expected, atol=1e-4, rtol=1e-4)


def test_our_backbone_sees_images_as_the_encoder_was_pretrained():
    backbone, images = vit_backbone(VIT, 1).eval(), pictures(2)
    torch.testing.assert_close(backbone(images), backbone.network.encoder(normalise(images)), atol=1e-5, rtol=1e-5)


def test_a_convolutional_backbone_is_read_cell_by_cell():
    backbone, images = face_backbone([4, 8], [1, 1], 2, 32).eval(), pictures(2, 32)
    maps = backbone.network.stem(normalise(images))
    assert maps.shape == (2, 8, 8, 8) and backbone.width == 32
    cells = backbone(images).view(2, 8, 2, 2)
    torch.testing.assert_close(cells[:, :, 1, 0], maps[:, :, 4:, :4].mean(dim=(2, 3)), atol=1e-5, rtol=1e-4)


# --- temporal encoder ------------------------------------------------------------------------------------------------


def build_temporal(window: int = 6, **changes: Any) -> TemporalEncoder:
    settings: dict[str, Any] = {"width": 8, "layers": 2, "heads": 2, "feedforward": 16, "dropout": 0.0}
    return TemporalEncoder(5, classes=4, window_frames=window, **settings | changes)


def plain_starts(length: int, window: int, stride: int) -> Iterator[int]:
    start = 0
    while start + window < length:
        yield start
        start += stride
    yield max(0, length - window)


@pytest.mark.parametrize("window", [1, 2, 7])
@pytest.mark.parametrize("length", range(1, 24))
def test_windows_cover_every_frame(length, window):
    for stride in range(1, window + 1):
        starts = window_starts(length, window, stride)
        covered = [frame for start in starts for frame in range(start, start + min(window, length))]
        assert set(covered) == set(range(length))
        assert starts == list(plain_starts(length, window, stride))


def test_windows_by_hand():
    assert window_starts(10, 4, 2) == [0, 2, 4, 6]
    assert window_starts(11, 4, 2) == [0, 2, 4, 6, 7]
    assert window_starts(4, 4, 2) == window_starts(3, 4, 2) == [0]


@pytest.mark.parametrize(("length", "stride"), [(17, 4), (17, 1), (18, 6), (6, 3), (4, 2), (1, 1)])
def test_logits_of_overlapping_windows_are_averaged(length, stride):
    system = build_temporal().eval()
    features, present = torch.randn(length, 5) * 3, torch.rand(length) < 0.7
    total, count = torch.zeros(length, 4), torch.zeros(length, 1)
    with torch.no_grad():
        for start in plain_starts(length, 6, stride):
            span = slice(start, start + 6)
            total[span] += system(features[None, span], present[None, span])[0]
            count[span] += 1
    found = system.predict_video(features, present, stride)
    torch.testing.assert_close(found, (total / count).softmax(-1))


@pytest.mark.parametrize("mode", ["training", "evaluation"])  # torch computes them by different code
def test_frames_that_are_not_present_influence_nobody(mode):
    system = build_temporal().train(mode == "training")
    features, present = torch.randn(3, 6, 5), torch.tensor([[1, 1, 0, 1, 0, 0], [0, 1, 1, 1, 1, 1], [1] * 6]).bool()
    other = torch.where(present[..., None], features, torch.randn(3, 6, 5) * 50)
    moved = features.clone()
    moved[0, 0] += 3 * torch.randn(5)
    with torch.set_grad_enabled(mode == "training"):
        first, second, third = (system(x, present) for x in (features, other, moved))
        shorter = system(features[:1, :4], present[:1, :4])
    torch.testing.assert_close(first[present], second[present])
    assert not torch.allclose(first[0, 1], third[0, 1], atol=1e-3)  # one that is does
    torch.testing.assert_close(first[0, [0, 1, 3]], shorter[0, [0, 1, 3]])  # nor does the padding of a short video


def test_frames_that_are_not_present_or_not_labelled_cost_nothing():
    system = build_temporal()
    features, labels = torch.randn(2, 6, 5), torch.tensor([[0, 1, -1, 3, 2, 1], [3, -1, 0, 0, 1, 2]])
    present = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 1, 1]]).bool()
    kept = present & (labels >= 0)
    expected = plain_cross_entropy(system(features, present)[kept], labels[kept]).mean()
    batch = {"features": features, "present": present, "expression": labels}
    assert system.losses(batch)["expression"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_window_without_any_frame_gives_no_nan():
    system = build_temporal()
    features, labels = torch.randn(2, 6, 5), torch.zeros(2, 6, dtype=torch.int64)
    present = torch.tensor([[False] * 6, [True] * 6])
    loss = system.losses({"features": features, "present": present, "expression": labels})["expression"]
    loss.backward()
    assert torch.isfinite(loss) and all(torch.isfinite(p.grad).all() for p in system.parameters())
    for video in (present[0], torch.cat([present[0], present[1], present[0]])):
        found = system.eval().predict_video(torch.randn(len(video), 5), video, 3)
        assert torch.isfinite(found).all()


def test_positions_by_hand():
    positions = sincos_positions(7, 6)
    assert positions.shape == (7, 6)
    for place in (0, 1, 6):
        for pair in range(3):
            angle = place / 10000 ** (2 * pair / 6)
            assert positions[place, 2 * pair].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert positions[place, 2 * pair + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_temporal_encoder_knows_the_order_of_frames():
    system, features = build_temporal().eval(), torch.randn(1, 6, 5)
    every, order = torch.ones(1, 6, dtype=torch.bool), torch.tensor([5, 3, 1, 0, 2, 4])
    straight, shuffled = system(features, every), system(features[:, order], every)
    assert not torch.allclose(straight[:, order], shuffled, atol=1e-3)
    system.positions.zero_()
    torch.testing.assert_close(system(features, every)[:, order], system(features[:, order], every))


# --- augmentation ----------------------------------------------------------------------------------------------------

LANDMARKS = torch.tensor([[-0.35, -0.3], [0.3, -0.25], [0.05, 0.1], [-0.25, 0.4], [0.2, 0.45]])
SWAPPED = [1, 0, 2, 4, 3]


def dots(pixels: int) -> Tensor:
    """Five images (5, 3, P, P), each with a bright spot at one landmark."""
    axis = (torch.arange(pixels) + 0.5) / pixels * 2 - 1
    squares = (axis[None, None] - LANDMARKS[:, 0, None, None]) ** 2 + (axis[:, None] - LANDMARKS[:, 1, None, None]) ** 2
    return ((-squares / 0.004).exp() * 255).byte()[:, None].expand(-1, 3, -1, -1)


def places(images: Tensor) -> Tensor:
    """Centre of what is bright (B, 2), in [-1, 1]."""
    axis = (torch.arange(images.shape[-1]) + 0.5) / images.shape[-1] * 2 - 1
    weight = images[:, 0] / images[:, 0].sum(dim=(1, 2), keepdim=True)
    return torch.stack([(weight.sum(dim=1) * axis).sum(dim=1), (weight.sum(dim=2) * axis).sum(dim=1)], dim=1)


def test_landmarks_go_where_the_warp_takes_what_they_mark():
    affine = random_affine(16, 0.1, 0.2, 25.0, torch.device("cpu"))
    turned = mirrored(affine)
    assert 2 < turned.sum() < 14
    moved = move_points(LANDMARKS.expand(16, -1, -1), affine)
    spots = dots(96)
    for number in range(5):
        found = places(warp(spots[number : number + 1].expand(16, -1, -1, -1), affine, 64))
        expected = torch.where(turned[:, None], moved[:, SWAPPED[number]], moved[:, number])
        torch.testing.assert_close(found, expected, atol=0.01, rtol=0)
    assert (moved[:, 0, 0] < moved[:, 1, 0]).all() and (moved[:, 3, 0] < moved[:, 4, 0]).all()
    assert (moved - LANDMARKS).abs().max() > 0.2


def test_a_mirror_swaps_left_and_right():
    mirror = torch.tensor([[[-1.0, 0, 0], [0, 1, 0]], [[1, 0, 0], [0, 1, 0]]])
    assert mirrored(mirror).tolist() == [True, False]
    moved = move_points(LANDMARKS.expand(2, -1, -1), mirror)
    torch.testing.assert_close(moved[0], LANDMARKS[SWAPPED] * torch.tensor([-1.0, 1.0]))
    torch.testing.assert_close(moved[1], LANDMARKS)


def test_targets_move_with_their_images():
    still = dict.fromkeys(Augment.model_fields, 0.0)
    spots = dots(64).repeat(8, 1, 1, 1)
    batch = {
        "images": spots,
        "landmarks": LANDMARKS.flatten().expand(40, -1),
        "pose": torch.tensor([[0.3, -0.2]]).expand(40, -1),
    }
    changed = augmenter(Augment(**still | {"shift_fraction": 0.1}), 64)(batch)
    turned = changed["pose"][:, 0] < 0
    assert 8 < turned.sum() < 32
    torch.testing.assert_close(changed["pose"].abs(), batch["pose"].abs())
    assert (changed["pose"][:, 1] < 0).all()
    found, moved = places(changed["images"].float()), changed["landmarks"].unflatten(1, (5, 2))
    number = torch.arange(40) % 5
    mark = torch.where(turned, torch.tensor(SWAPPED)[number], number)
    torch.testing.assert_close(found, moved[torch.arange(40), mark], atol=0.01, rtol=0)


def test_grey_is_the_mean_of_the_colours():
    images = torch.rand(20, 3, 4, 4)
    mean = (images[:, :1] + images[:, 1:2] + images[:, 2:]) / 3
    assert torch.equal(grey(images, 0.0), images)
    torch.testing.assert_close(grey(images, 1.0), mean.expand_as(images))


def test_strong_views_follow_the_seed():
    images, made = pictures(8, 32), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(strengthen(images, 2, 0.3))
    assert made[0].dtype == torch.uint8 and made[0].shape == images.shape
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])
    assert not torch.equal(made[0], images)
    assert torch.equal(strengthen(images, 0, 0.0), images)


def test_strong_views_lose_a_square():
    changed = strengthen(torch.zeros(200, 3, 40, 40, dtype=torch.uint8), 0, 0.5)
    assert set(changed.unique().tolist()) == {0, 128}
    sides = torch.stack([(changed[:, 0] > 0).any(dim=dim).sum(dim=1) for dim in (1, 2)])
    assert sides.max() <= 20 and (sides == 20).any() and (sides.amin(dim=0) > 0).float().mean() > 0.9


# --- head pose -------------------------------------------------------------------------------------------------------


def turned_face(yaw: float, pitch: float) -> np.ndarray:
    """Landmarks (5, 2) of the model after a turn by `pitch` and then `yaw`."""
    sine, cosine = np.sin([yaw, pitch]), np.cos([yaw, pitch])
    around_y = np.array([[cosine[0], 0, -sine[0]], [0, 1, 0], [sine[0], 0, cosine[0]]])
    around_x = np.array([[1, 0, 0], [0, cosine[1], -sine[1]], [0, sine[1], cosine[1]]])
    return (FACE @ (around_y @ around_x).T)[:, :2]


@pytest.mark.parametrize("scale", [1.0, 43.0])
@pytest.mark.parametrize("angle", [-1.2, -0.4, 0.0, 0.1, 0.7])
def test_pose_of_the_turned_model(angle, scale):
    to_the_side, down = (turned_face(*angles) * scale + [120, 80] for angles in ((angle, 0), (0, angle)))
    found = yaw_and_pitch(np.stack([to_the_side, down]))
    assert found == pytest.approx(np.array([[angle, 0], [0, angle]]), abs=1e-9)


@pytest.mark.parametrize("angles", [(0.5, -0.3), (0.8, 0.5), (-1.0, 0.4)])
def test_pose_of_a_model_turned_twice(angles):
    assert yaw_and_pitch(turned_face(*angles)[None])[0] == pytest.approx(angles, abs=1e-6)


def test_pose_has_the_signs_of_the_image():
    faces = np.stack([FACE[:, :2]] * 3)
    faces[0, 2, 0] += 0.1  # the nose to the image's right
    faces[1, 2, 1] += 0.1  # the nose down
    found = yaw_and_pitch(faces)
    assert found[0, 0] > 0.1 and found[1, 1] > 0.1 and found[2] == pytest.approx([0, 0], abs=1e-9)
    mirror = faces[0][SWAPPED] * [-1, 1]
    assert yaw_and_pitch(mirror[None])[0] == pytest.approx(found[0] * [-1, 1])


def test_pose_of_unknown_landmarks_is_unknown():
    faces = np.stack([turned_face(0.2, 0.1)] * 2)
    faces[0, 3] = np.nan
    found = yaw_and_pitch(faces)
    assert np.isnan(found[0]).all() and np.isfinite(found[1]).all()
