"""Checkpoints: what is kept, what is damaged."""

import errno
import threading

import pytest
import torch
from torch import nn

from pipeline.train.checkpoint import (
    KEEP,
    Writer,
    drop_checkpoints,
    joined_states,
    load_checkpoint,
    optimiser_tensors,
    restore_optimiser,
    save_checkpoint,
    state_of,
)
from tests.train.toys import flip_a_byte


def test_checkpoint_round_trip_keeps_two(tmp_path):
    assert load_checkpoint(tmp_path / "nowhere") is None
    for step in (1, 2, 10):
        save_checkpoint(tmp_path, step, {"x": torch.full((2,), float(step))}, {"note": step})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{step:08d}.{suffix}" for step in (2, 10) for suffix in ("json", "safetensors")
    ]
    assert KEEP == 2
    kept = load_checkpoint(tmp_path)
    assert kept is not None
    step, tensors, meta = kept
    assert (step, tensors["x"].tolist(), meta) == (10, [10, 10], {"note": 10})
    drop_checkpoints(tmp_path)
    assert load_checkpoint(tmp_path) is None


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
    kept = load_checkpoint(tmp_path)
    assert kept is not None
    step, tensors, _ = kept
    assert (step, tensors["x"].item()) == (1, 1.0)


def test_optimiser_state_survives():
    module = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    other = torch.optim.AdamW(module.parameters())
    restore_optimiser(other, optimiser_tensors(optimizer))
    ours, theirs = optimiser_tensors(optimizer), optimiser_tensors(other)
    assert set(ours) == {f"{i}.{name}" for i in (0, 1) for name in ("step", "exp_avg", "exp_avg_sq")}
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_pack_and_unpack():
    flat = joined_states(module=nn.Linear(1, 1), best={"a/b": torch.ones(1)})
    assert set(flat) == {"module/weight", "module/bias", "best/a/b"}
    assert set(state_of(flat, "module")) == {"weight", "bias"} and set(state_of(flat, "best")) == {"a/b"}


# --- written beside the training -------------------------------------------------------------------------------------


def test_what_is_written_is_what_was_there_when_it_was_asked_for(tmp_path, monkeypatch):
    """The optimiser moves the weights on while a slow disk takes the last ones; one checkpoint is under way at most."""
    may_write, begun = threading.Event(), []

    def slow(folder, step, tensors, meta):
        begun.append(step)
        assert may_write.wait(timeout=60)
        save_checkpoint(folder, step, tensors, meta)

    monkeypatch.setattr("pipeline.train.checkpoint.save_checkpoint", slow)
    weights, writer = torch.zeros(3), Writer()
    writer.write(tmp_path, 1, {"x": weights}, {})
    weights += 1
    second = threading.Thread(target=writer.write, args=(tmp_path, 2, {"x": weights}, {}))
    second.start()
    second.join(timeout=0.2)
    assert second.is_alive() and begun in ([], [1]) and load_checkpoint(tmp_path) is None
    may_write.set()
    second.join()
    writer.close()
    assert begun == [1, 2]
    for step, value in ((2, 1.0), (1, 0.0)):
        found = load_checkpoint(tmp_path)
        assert found is not None and found[0] == step and found[1]["x"].tolist() == [value] * 3
        (tmp_path / f"{step:08d}.json").unlink()


@pytest.mark.parametrize("end", ["write", "close"])
def test_an_error_of_the_disk_comes_with_the_next_checkpoint_or_the_end(tmp_path, monkeypatch, end):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pipeline.train.checkpoint.save_checkpoint", full)
    writer = Writer()
    writer.write(tmp_path, 1, {}, {})
    with pytest.raises(OSError, match="No space left"):
        writer.write(tmp_path, 2, {}, {}) if end == "write" else writer.close()
    writer.close()
