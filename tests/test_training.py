"""The training loop: schedules, seeds, checkpoints, and a killed run that ends in the bits of an undisturbed one."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.backbone import vit_backbone
from models.system import Batch, Trainee
from models.vit import build_vit
from models.vit_heads import VitHeads
from pipeline.base.params import Optimise, load_params
from pipeline.errors import MienError
from pipeline.train.augmenting import augmenter
from pipeline.train.checkpoint import (
    KEEP,
    drop_checkpoints,
    load_checkpoint,
    optimizer_tensors,
    pack,
    restore_optimizer,
    save_checkpoint,
    unpack,
)
from pipeline.train.data import draw, rarity, valid_rows
from pipeline.train.encoder import load_into, save_encoder
from pipeline.train.loop import Training, make_optimizer, train
from pipeline.train.predict import predict_axis
from pipeline.train.pretrain import epoch_indices
from pipeline.train.schedule import learning_rate, set_learning_rate
from pipeline.train.seeding import seed_step, step_seed

STEPS = 12
OPTIMISE = Optimise(
    batch=256,
    steps=STEPS,
    warmup_steps=4,
    base_learning_rate=0.1,
    min_learning_rate=0.001,
    weight_decay=0.05,
    layer_decay=1.0,
    clip_norm=1.0,
    ema_decay=0.0,
)


# --- schedule and seeds ----------------------------------------------------------------------------------------------


def test_learning_rate_warms_up_peaks_and_falls():
    rates = [learning_rate(step, OPTIMISE) for step in range(STEPS + 1)]
    assert rates[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    assert rates[4] == pytest.approx(0.1)
    assert rates[8] == pytest.approx((0.1 + 0.001) / 2)  # half way down the cosine
    assert rates[STEPS] == pytest.approx(0.001)
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_learning_rate_scales_with_the_batch_and_needs_no_warm_up():
    half = OPTIMISE.model_copy(update={"batch": 128, "warmup_steps": 0})
    assert learning_rate(0, half) == pytest.approx(0.05)
    all_warm = OPTIMISE.model_copy(update={"warmup_steps": STEPS})
    assert learning_rate(STEPS - 1, all_warm) == pytest.approx(0.1)


def test_groups_keep_their_layer_decay():
    parameters = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))]
    groups = [{"params": parameters[:1], "lr_scale": 0.5}, {"params": parameters[1:]}]
    optimizer = torch.optim.AdamW(groups)
    set_learning_rate(optimizer, 0.2)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.2]


def test_layer_decay_falls_towards_the_stem():
    vit = {"image_pixels": 16, "patch_pixels": 8, "width": 16, "depth": 2, "heads": 2}
    backbone = vit_backbone(vit, readout_grid=1)
    system = VitHeads(backbone, expressions=8, aus=False, va=False, label_smoothing=0.0, pseudo_weight=1.0)
    optimizer = make_optimizer(system, OPTIMISE.model_copy(update={"layer_decay": 0.5}))
    names = {id(p): name for name, p in system.named_parameters()}
    scale = {names[id(p)]: g["lr_scale"] for g in optimizer.param_groups for p in g["params"]}
    decay = {names[id(p)]: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert set(scale) == set(names.values())
    assert scale["heads.expression.weight"] == 1.0
    encoder = "backbone.network.encoder"
    block = [scale[f"{encoder}.blocks.{i}.mlp.fc1.weight"] for i in range(2)]
    assert scale[f"{encoder}.pos_embed"] < block[0] < block[1] < 1 and block[0] / block[1] == pytest.approx(0.5)
    assert decay["heads.expression.weight"] == 0.05
    undecayed = ("heads.expression.bias", f"{encoder}.cls_token", f"{encoder}.norm.weight")
    assert [decay[n] for n in undecayed] == [0, 0, 0]


def draws(seed: int, step: int) -> list[float]:
    generator = seed_step(seed, step)
    return [generator.random(), torch.rand(()).item(), np.random.rand(), random.random()]


def test_seeds_do_not_depend_on_history():
    first = draws(3, 7)
    for _ in range(3):
        draws(3, 8)
        torch.rand(5)
    assert draws(3, 7) == first
    assert len({step_seed(seed, step) for seed in range(20) for step in range(20)}) == 400
    assert all(0 <= step_seed(seed, 2**32 - 1) < 2**63 for seed in range(20))
    assert all(a != b for a, b in zip(first, draws(3, 8), strict=True))


# --- checkpoints -----------------------------------------------------------------------------------------------------


def test_checkpoint_round_trip_keeps_two(tmp_path):
    assert load_checkpoint(tmp_path / "nowhere") is None
    for step in (1, 2, 10):
        save_checkpoint(tmp_path, step, {"x": torch.full((2,), float(step))}, {"note": step})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{step:08d}.{suffix}" for step in (2, 10) for suffix in ("json", "safetensors")
    ]
    assert KEEP == 2
    step, tensors, meta = load_checkpoint(tmp_path)
    assert (step, tensors["x"].tolist(), meta) == (10, [10, 10], {"note": 10})
    drop_checkpoints(tmp_path)
    assert load_checkpoint(tmp_path) is None


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: flip_a_byte(folder / "00000002.safetensors"),
        lambda folder: (folder / "00000002.safetensors").write_bytes(b""),
        lambda folder: (folder / "00000002.safetensors").unlink(),
        lambda folder: (folder / "00000002.json").write_text('{"step": 2'),
        lambda folder: (folder / "00000002.json").write_bytes(b"\xff\xfe"),
        lambda folder: (folder / "00000002.json").write_text("[]"),
        lambda folder: (folder / "00000002.json").write_text("{}"),
    ],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, damage):
    for step in (1, 2):
        save_checkpoint(tmp_path, step, {"x": torch.tensor([float(step)])}, {})
    damage(tmp_path)
    step, tensors, _ = load_checkpoint(tmp_path)
    assert (step, tensors["x"].item()) == (1, 1.0)


def test_optimiser_state_survives():
    module = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    other = torch.optim.AdamW(module.parameters())
    restore_optimizer(other, optimizer_tensors(optimizer))
    ours, theirs = optimizer_tensors(optimizer), optimizer_tensors(other)
    assert set(ours) == {f"{i}.{name}" for i in (0, 1) for name in ("step", "exp_avg", "exp_avg_sq")}
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_pack_and_unpack():
    flat = pack(module=nn.Linear(1, 1), best={"a/b": torch.ones(1)})
    assert set(flat) == {"module/weight", "module/bias", "best/a/b"}
    assert set(unpack(flat, "module")) == {"weight", "bias"} and set(unpack(flat, "best")) == {"a/b"}


def test_encoder_on_disk_knows_its_architecture(workspace):
    vit = load_params().vit.model_copy(update={"image_pixels": 16, "width": 16, "depth": 1, "heads": 2})
    encoder = build_vit(**vit.model_dump())
    save_encoder(Path("mae"), encoder, vit, ["lsd"])
    loaded = build_vit(**vit.model_dump())
    load_into(loaded, vit, Path("mae"))
    assert all(
        torch.equal(a, b) for a, b in zip(encoder.state_dict().values(), loaded.state_dict().values(), strict=True)
    )
    assert json.loads(Path("mae/meta.json").read_text())["trained_on"] == ["lsd"]
    with pytest.raises(MienError, match=r"mae: was trained as .*'depth': 1.*asks for.*'depth': 2"):
        load_into(loaded, vit.model_copy(update={"depth": 2}), Path("mae"))


# --- the loop --------------------------------------------------------------------------------------------------------


class Killed(Exception):
    pass


class Toy(Trainee):
    """Two layers with dropout, so that the order of random draws shows."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.BatchNorm1d(8), nn.Linear(8, 1))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"square": (self.layers(batch["x"])[:, 0] - batch["x"].sum(dim=1)).square().mean()}


def toy_batch(generator: np.random.Generator, step: int) -> Batch:
    return {"x": torch.from_numpy(generator.random((16, 4), np.float32)) + step * 0.01}


def killed_at(step_of_death: int) -> Callable[[np.random.Generator, int], Batch]:
    def batches(generator: np.random.Generator, step: int) -> Batch:
        if step == step_of_death:
            raise Killed
        return toy_batch(generator, step)

    return batches


def jitter(batch: Batch) -> Batch:
    return {"x": batch["x"] + torch.rand_like(batch["x"]) * 0.1}


@torch.no_grad()
def evaluate(module: Trainee) -> float:
    assert not module.training
    return -float(module.losses({"x": torch.ones(4, 4) * 0.5})["square"])


def training(folder: Path, **changes: Any) -> Training:
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "name": "toy",
        "module": Toy(),
        "batches": toy_batch,
        "prepare": jitter,
        "optimise": OPTIMISE,
        "seed": 5,
        "folder": folder,
        "log": lambda metrics, step: None,
        "checkpoint_seconds": 1e-9,
    }
    return Training(**settings | changes)


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(m == n and torch.equal(x, y) for (m, x), (n, y) in pairs)


SETTINGS = {
    "plain": {},
    "ema": {"optimise": OPTIMISE.model_copy(update={"ema_decay": 0.8})},
    "best": {"evaluate": evaluate, "evaluate_every": 2},
    "ema and best": {
        "optimise": OPTIMISE.model_copy(update={"ema_decay": 0.8}),
        "evaluate": evaluate,
        "evaluate_every": 3,
    },
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("death", [1, 5, STEPS - 1])
def test_a_killed_run_ends_in_the_same_bits(tmp_path, settings, death, capsys):
    undisturbed = training(tmp_path / "a", **settings)
    expected = train(undisturbed)
    with pytest.raises(Killed):
        train(training(tmp_path / "b", **settings | {"batches": killed_at(death)}))
    resumed = training(tmp_path / "b", **settings)
    torch.rand(17)  # another history of draws
    assert same(train(resumed), expected)
    assert f"toy: resumed after step {death}" in capsys.readouterr().out
    assert resumed.history == undisturbed.history


def test_a_killed_run_with_its_last_checkpoint_damaged_ends_in_the_same_bits(tmp_path):
    expected = train(training(tmp_path / "a"))
    with pytest.raises(Killed):
        train(training(tmp_path / "b", batches=killed_at(7)))
    flip_a_byte(tmp_path / "b" / "00000007.safetensors")
    assert same(train(training(tmp_path / "b")), expected)


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = train(training(tmp_path, checkpoint_seconds=1e9))  # the end is always kept
    second = training(tmp_path, batches=killed_at(0), checkpoint_seconds=1e9)
    assert same(train(second), first) and second.history[-1]["step"] == STEPS - 1


def test_a_run_without_time_for_checkpoints_starts_anew(tmp_path):
    with pytest.raises(Killed):
        train(training(tmp_path, batches=killed_at(6), checkpoint_seconds=1e9))
    assert load_checkpoint(tmp_path) is None


def test_training_depends_on_the_seed_and_learns(tmp_path):
    longer = OPTIMISE.model_copy(update={"steps": 60})
    first = training(tmp_path / "a", optimise=longer, checkpoint_seconds=1e9)
    module = train(first)
    losses = [row["loss"] for row in first.history]
    assert losses[-1] < 0.5 * losses[0] and first.history[-1]["step"] == 59
    assert not module.training
    other = train(training(tmp_path / "b", seed=6, optimise=longer, checkpoint_seconds=1e9))
    assert not same(module, other)


def test_the_best_step_is_returned(tmp_path):
    scores = iter([0.1, 0.7, 0.7, 0.3])
    seen: list[dict[str, Tensor]] = []

    def judge(module: Trainee) -> float:
        seen.append({name: tensor.clone() for name, tensor in module.state_dict().items()})
        return next(scores)

    run = training(tmp_path, evaluate=judge, evaluate_every=3)
    state = train(run).state_dict()
    assert [row["score"] for row in run.history if "score" in row] == [0.1, 0.7, 0.7, 0.3]
    assert [row["step"] for row in run.history if "score" in row] == [3, 6, 9, 12]
    matches = [all(torch.equal(step[name], state[name]) for name in state) for step in seen]
    assert matches == [False, True, False, False]  # the first of equals


def test_the_average_is_what_is_judged_and_kept(tmp_path):
    """With a decay near 1 the averaged weights hardly leave their start, the trained ones do."""
    slow = OPTIMISE.model_copy(update={"ema_decay": 0.999})
    average = train(training(tmp_path / "a", optimise=slow)).layers[0].weight
    trained = train(training(tmp_path / "b")).layers[0].weight
    start = training(tmp_path / "c").module.layers[0].weight
    assert (average - start).norm() < 0.5 * (trained - start).norm()


@pytest.mark.parametrize("step_of_nan", [0, 6])
def test_a_loss_that_is_no_number_is_told(tmp_path, step_of_nan):
    def batches(generator: np.random.Generator, step: int) -> Batch:
        batch = toy_batch(generator, step)
        return {"x": batch["x"] * float("nan")} if step == step_of_nan else batch

    with pytest.raises(MienError, match=r"toy: the loss is nan at step \d+; lower the learning rate"):
        train(training(tmp_path, batches=batches))


def test_metrics_are_logged_with_their_steps(tmp_path):
    logged: list[tuple[int, set[str]]] = []
    run = training(tmp_path, log=lambda metrics, step: logged.append((step, set(metrics))))
    train(run)
    names = {"loss", "loss_square", "gradient_norm", "learning_rate"}
    assert logged == [(0, names), (10, names), (11, names)]
    assert run.history[0]["learning_rate"] == pytest.approx(0.025)


def test_augmenter_changes_the_images_alone(root):
    change = load_params(root / "params.yaml").systems.vit.train.augment
    batch = {"images": torch.randint(0, 256, (3, 3, 20, 20), dtype=torch.uint8), "expression": torch.arange(3)}
    changed = augmenter(change, 16)(batch)
    assert changed["images"].shape == (3, 3, 16, 16) and changed["images"].dtype == torch.uint8
    assert changed["expression"] is batch["expression"] and batch["images"].shape[-1] == 20


# --- sampling --------------------------------------------------------------------------------------------------------


def frequencies(labels: dict[str, np.ndarray], balance: float, size: int = 20000) -> np.ndarray:
    chosen = draw(np.random.default_rng(0), np.cumsum(rarity(labels, balance)), size)
    return np.bincount(labels["expression"][chosen], minlength=4) / size


def test_balance_makes_classes_equally_frequent():
    labels = {"expression": np.repeat([0, 1, 3], [900, 90, 10])}
    assert frequencies(labels, 1.0) == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3], abs=0.02)
    assert frequencies(labels, 0.0) == pytest.approx([0.9, 0.09, 0, 0.01], abs=0.01)
    between = frequencies(labels, 0.5)  # in proportion to the root of the counts
    assert between == pytest.approx(np.sqrt([900, 90, 0, 10]) / np.sqrt([900, 90, 10]).sum(), abs=0.02)


def test_rarity_of_valence_and_arousal_counts_cells():
    va = np.array([[0.0, 0.0]] * 8 + [[0.9, 0.9]] * 2)
    weights = rarity({"va": va}, 1.0)
    assert weights == pytest.approx([10 / 8] * 8 + [10 / 2] * 2)
    assert rarity({"va": np.array([[1.0, 1.0], [-1.0, -1.0], [-5.0, 0.3]])}, 1.0) == pytest.approx([3, 3, 3])


def test_rarity_of_units_favours_the_rare_ones():
    aus = np.zeros((100, 12), int)
    aus[:50, 0] = 1
    aus[50:55, 1] = 1
    weights = rarity({"aus": aus}, 1.0)
    assert weights[0] == pytest.approx(2) and weights[50] == pytest.approx(20) and weights[99] == 1
    assert rarity({"aus": aus}, 0.0) == pytest.approx(np.ones(100))
    aus[60] = -1  # invalid is not active
    assert rarity({"aus": aus}, 1.0)[60] == 1


def test_draw_follows_the_weights_and_never_takes_a_row_of_none():
    chosen = draw(np.random.default_rng(0), np.cumsum([0.0, 3.0, 0.0, 1.0, 0.0]), 8000)
    counts = np.bincount(chosen, minlength=5) / 8000
    assert counts == pytest.approx([0, 0.75, 0, 0.25, 0], abs=0.02) and counts[[0, 2, 4]].sum() == 0


def test_valid_rows():
    assert valid_rows({"expression": np.array([-1, 0, 7])}).tolist() == [False, True, True]
    assert valid_rows({"va": np.array([[-5.0, -5.0], [0.1, 0.2]])}).tolist() == [False, True]
    aus = np.full((3, 12), -1)
    aus[1, 3] = 0
    assert valid_rows({"aus": aus}).tolist() == [False, True, False]
    assert valid_rows({"aus": aus, "expression": np.array([2, -1, -1])}).tolist() == [True, True, False]


@pytest.mark.parametrize(("size", "batch"), [(10, 4), (7, 7), (5, 12), (9, 1), (1, 3)])
def test_every_crop_is_seen_once_a_pass(size, batch):
    steps = 3 * size
    stream = np.concatenate([epoch_indices(size, batch, 0, step) for step in range(steps)])
    assert len(stream) == steps * batch
    passes = stream[: len(stream) // size * size].reshape(-1, size)
    assert (np.sort(passes, axis=1) == np.arange(size)).all()
    if size > 4:
        assert len({tuple(order) for order in passes}) > 1  # shuffled anew
    assert (
        not np.array_equal(stream, np.concatenate([epoch_indices(size, batch, 1, s) for s in range(steps)]))
        or size == 1
    )


# --- prediction ------------------------------------------------------------------------------------------------------


class Brightness:
    """Stands for a system: its score is the crop's mean, and it counts what it is shown."""

    def __init__(self) -> None:
        self.shown = 0

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        self.shown += len(batch["images"])
        mean = batch["images"].float().mean(dim=(1, 2, 3))
        return {"va": torch.stack([mean, -mean], dim=1)}


class GreyCrops:
    """Crop i is grey of level i."""

    def images(self, rows: np.ndarray, pixels: int) -> np.ndarray:
        return np.ones((len(rows), 3, pixels, pixels), np.uint8) * rows[:, None, None, None].astype(np.uint8)


def test_predict_axis_keeps_the_order_and_leaves_gaps():
    system, places = Brightness(), np.array([7, -1, 3, 7, 9, -1])
    scores = predict_axis(system, GreyCrops(), places, 4, batch=2)["va"]  # type: ignore[arg-type]
    assert scores[:, 0] == pytest.approx([7, np.nan, 3, 7, 9, np.nan], nan_ok=True)
    assert scores[:, 1] == pytest.approx(-scores[:, 0], nan_ok=True)
    assert system.shown == 3  # a crop named by two rows is seen once
