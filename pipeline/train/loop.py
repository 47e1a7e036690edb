"""The one training loop, for pretraining and for every system.

A trainee is a module with `losses(batch)`: named parts whose sum is minimised; one that takes several optimiser steps
a batch yields the parts of each (`steps`). Randomness is a function of (seed, step) and the state after a step lies in
`.work/`, so a killed run ends in the same bytes as an undisturbed one. Several devices share each batch
(`distributed.py`): every rank runs this loop on its rows, and rank 0 alone logs, judges and keeps checkpoints.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from models.across import alone, average, own_draws
from models.system import Batch, Trainee
from pipeline.backbones.device import device, limit_threads
from pipeline.core.errors import MienError
from pipeline.run.parallel import prefetched
from pipeline.run.progress import Progress
from pipeline.run.ranks import ranks
from pipeline.train import distributed
from pipeline.train.checkpoint import (
    Writer,
    joined_states,
    load_checkpoint,
    optimiser_tensors,
    restore_optimiser,
    state_of,
)
from pipeline.train.flops import achieved, step_flops
from pipeline.train.memory import keep_freed_memory
from pipeline.train.optimiser import Optimise, learning_rate, make_optimiser, set_learning_rate
from pipeline.train.randomness import batch_generator, deterministic, seed_step, step_seed
from pipeline.train.speed import Speed, arranged, hasten

LOG_EVERY = 10
OFFICIAL = "score"  # the score that decides, among those of an evaluation


@dataclass
class Loop:
    """One training run: what to train, on which batches, and how to judge it.

    `batches(generator, step)` gives the batch of a step, made by a thread while the step before it runs: it must draw
    from `generator` alone. `prepare` changes a batch on the device (augmentation). `evaluate(module)` returns scores by
    name, higher is better: `score`, the official metric, and others whose best steps are wanted too; it is None where
    the last step is the result. `keep` is called when `score` was the best so far; `bests` has the weights of each
    score's best step in the end.
    `log` receives metrics and their step. Every `epoch_steps` steps `after_epoch(module, averaged)` may change buffers
    of both, and what it returns is logged. After `patience` evaluations without a better score training stops (0:
    never). `count_flops` costs the two passes of one batch, on a copy.
    """

    name: str
    module: Trainee
    batches: Callable[[np.random.Generator, int], Batch]
    prepare: Callable[[Batch], Batch]
    optimise: Optimise
    seed: int
    folder: Path
    log: Callable[[dict[str, float], int], None]
    evaluate: Callable[[Trainee], dict[str, float]] | None = None
    keep: Callable[[], None] = lambda: None
    evaluate_every: int = 0
    patience: int = 0
    after_epoch: Callable[[Trainee, Trainee], dict[str, float]] | None = None
    epoch_steps: int = 0
    checkpoint_seconds: float = 60.0
    speed: Speed = field(default_factory=Speed)
    count_flops: bool = True
    history: list[dict[str, float]] = field(default_factory=list)
    bests: dict[str, dict[str, Tensor]] = field(default_factory=dict)


def train(run: Loop) -> Trainee:
    """Train to the end, resuming where a killed run stopped; returns the best module (EMA weights where EMA is on).

    `run.history` holds a row for each logged step and each evaluation.
    """
    deterministic()
    limit_threads()
    keep_freed_memory()
    state = _State(run)
    run.log({"resumed_at_step": state.step}, state.step)
    began = time.monotonic()
    progress = Progress(run.name, run.optimise.steps, "steps", done=state.step)
    with contextlib.closing(state.batches), contextlib.closing(state.writer), progress:
        for step in range(state.step, run.optimise.steps):
            if state.finished:
                state.checkpoint(step)
                break
            state.update(step)
            if run.after_epoch and (step + 1) % run.epoch_steps == 0:
                state.end_epoch(step + 1)
            if run.evaluate and ((step + 1) % run.evaluate_every == 0 or step + 1 == run.optimise.steps):
                state.judge(step + 1)
            state.checkpoint_if_due(step + 1)
            progress.advance(note=_standing(run.history))
    seconds, processes = time.monotonic() - began, ranks()
    distributed.leave()
    state.take_best()
    _tell_shares(run, state, seconds, processes)
    return state.averaged


def _tell_shares(run: Loop, state: "_State", seconds: float, processes: int) -> None:
    """Log and print which shares of the time went into judging and into waiting for batches, and how fast it was."""
    shares = {"judging_share": state.judging_seconds / seconds, "input_wait_share": state.waiting_seconds / seconds}
    run.log(shares, run.optimise.steps)
    told = f"judging {shares['judging_share']:.0%}, waiting for batches {shares['input_wait_share']:.0%}"
    if state.flops:
        rates, phrase = achieved(state.flops * processes, max(seconds - state.judging_seconds, 1e-9), processes)
        run.log(rates, run.optimise.steps)
        told += f"; {phrase}"
    print(f"{run.name}: {seconds:.0f} s of training, of which {told}", flush=True)


def _standing(history: list[dict[str, float]]) -> str:
    """The newest loss and score in a few words."""
    newest = {name: next((row[name] for row in reversed(history) if name in row), None) for name in ("loss", "score")}
    return ", ".join(f"{name} {value:.3f}" for name, value in newest.items() if value is not None)


class _State:
    """Everything that changes while training."""

    def __init__(self, run: Loop) -> None:
        self.run = run
        self.module: Trainee = run.module.to(device())
        self._join()
        self.optimiser = make_optimiser(self.module, run.optimise)
        self.ema = ModelEmaV3(self.module, decay=run.optimise.ema_decay) if run.optimise.ema_decay else None
        self.best_scores: dict[str, float] = {}
        self.step = 0
        self.loss = torch.zeros(())
        self.judging_seconds = self.waiting_seconds = 0.0
        self.flops, self.flops_of = 0, dict[frozenset[str], int]()
        self.writer = Writer()
        self._saved = time.monotonic()
        hasten(run.name, self.module, run.speed)  # before resuming: the optimiser's moments lie as the weights do
        self._resume()
        distributed.check_same(self.step, run.name)
        self.finished = self._out_of_patience()
        self.batches = prefetched(self._drawn())

    @property
    def averaged(self) -> Trainee:
        """The module that is judged and kept."""
        return self.ema.module if self.ema else self.module

    def _join(self) -> None:
        """Share the training with other ranks, where there are some."""
        if ranks() > 1:
            first = self.run.batches(batch_generator(self.run.seed, 0), 0)
            distributed.join(self.run.name, self.module, first)
            distributed.take_first(self.module.state_dict().values())

    def _drawn(self) -> Iterator[Batch]:
        """The batches of every step that is left, in order, `accumulate` a step, in memory that a GPU copies from."""
        for step in range(self.step, self.run.optimise.steps):
            generator = batch_generator(self.run.seed, step)
            for _ in range(self.run.optimise.accumulate):
                batch = self.run.batches(generator, step)
                pinned = device().type == "cuda"
                yield {name: tensor.pin_memory() if pinned else tensor for name, tensor in batch.items()}

    def _next_batch(self) -> Batch:
        """The next batch on the device; in the common case it has been made already."""
        began = time.monotonic()
        batch = next(self.batches)
        self.waiting_seconds += time.monotonic() - began
        return {name: tensor.to(device(), non_blocking=True) for name, tensor in batch.items()}

    def update(self, step: int) -> None:
        """The optimiser steps of one batch, whose gradient may be gathered in several passes (trainees of one step)."""
        run, params = self.run, self.run.optimise

        # 1. every draw of this step is a function of (seed, step): a resumed run draws what this one would
        seed_step(run.seed, step)
        rate = learning_rate(step, params)
        set_learning_rate(self.optimiser, rate)
        self.module.train()

        # 2. gather the gradient over `accumulate` batches, drawn one after the other from the step's own generator
        seen: dict[str, Tensor] = {}
        for number in range(params.accumulate):
            phase: set[str] = set()
            batch = self._next_batch()
            with torch.no_grad():
                batch = arranged(distributed.own_part(run.prepare(batch)), run.speed)
            # 3. a trainee may take several optimiser steps on one batch (the feedback system: student, then teacher)
            with own_draws(step_seed(run.seed, step) + number, device()):
                for parts in self._phases(batch):
                    (torch.stack(list(parts.values())).sum() / params.accumulate).backward()
                    phase |= parts.keys()
                    for name, part in parts.items():
                        seen[name] = seen.get(name, 0) + part.detach() / params.accumulate
                    self._undivide()
                    if number + 1 == params.accumulate:
                        norm = self._step()
                    else:
                        self._step_constant()
            self._count(batch, frozenset(phase))

        # 4. the running average is what gets judged; losses stay on the device unless this step is logged
        if self.ema:
            self.ema.update(self.module, step=step)
        self.loss = torch.stack(list(seen.values())).sum()
        if step % LOG_EVERY == 0 or step + 1 == params.steps:
            self.loss = average(self.loss)
            parts = {f"loss_{name}": average(part) for name, part in seen.items()}
            self._log(step, {"loss": self.loss, **parts, "gradient_norm": norm}, rate)

    def _count(self, batch: Batch, phase: frozenset[str]) -> None:
        """Add the operations of a batch: those of the first whose losses had the same names."""
        if self.run.count_flops and phase not in self.flops_of:
            self.flops_of[phase] = step_flops(self.module, batch) or 0
        self.flops += self.flops_of.get(phase, 0)

    def _phases(self, batch: Batch) -> Iterator[dict[str, Tensor]]:
        """The trainee's steps, each computed in mixed precision where there is a GPU."""
        steps = self.module.steps(batch)
        while True:
            with torch.autocast(device().type, torch.bfloat16, enabled=device().type == "cuda"):
                parts = next(steps, None)
            if parts is None:
                return
            yield parts

    def _step(self) -> Tensor:
        """Clip, step and clear; returns the norm of the gradient before clipping."""
        distributed.average_gradients(self.module.parameters())
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.run.optimise.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return norm.detach()

    def _step_constant(self) -> None:
        """Step the children with a constant rate (EMMA's head) after a pass, as published; the others gather on."""
        groups = self.optimiser.param_groups
        self.optimiser.param_groups = self._constant_groups()
        if self.optimiser.param_groups:
            distributed.average_gradients(p for group in self.optimiser.param_groups for p in group["params"])
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
        self.optimiser.param_groups = groups

    def _constant_groups(self) -> list[dict[str, Any]]:
        return [group for group in self.optimiser.param_groups if "constant_rate" in group]

    def _undivide(self) -> None:
        """Give the children with a constant rate the pass's own gradient, not its share of a gathered one."""
        for parameter in (p for group in self._constant_groups() for p in group["params"] if p.grad is not None):
            parameter.grad *= self.run.optimise.accumulate

    def end_epoch(self, step: int) -> None:
        """Let the run change what it changes once an epoch."""
        assert self.run.after_epoch
        if distributed.is_first():
            with alone():
                row = self.run.after_epoch(self.module, self.averaged.eval())
            self.run.history.append({"step": step, **row})
            self.run.log(row, step)
        distributed.take_first([*self.module.buffers(), *self.averaged.buffers()])

    def _out_of_patience(self) -> bool:
        """Whether the last evaluations brought nothing better."""
        scores = [row["score"] for row in self.run.history if "score" in row]
        return bool(self.run.patience and scores) and scores.index(max(scores)) + self.run.patience < len(scores)

    def _log(self, step: int, tensors: dict[str, Tensor], rate: float) -> None:
        self.check_loss(step)
        row = {name: round(float(tensor.detach()), 6) for name, tensor in tensors.items()} | {"learning_rate": rate}
        self.run.history.append({"step": step, **row})
        self.run.log(row, step)

    def check_loss(self, step: int) -> None:
        """Stop on a loss that is not finite, before it is logged or kept in a checkpoint."""
        if not torch.isfinite(self.loss):
            found = float(self.loss)
            raise MienError(
                f"{self.run.name}: the loss is {found} at step {step}; lower the learning rate in params.yaml"
            )

    def judge(self, step: int) -> None:
        """Measure the official metric; the best step's weights are kept, of each score that is asked for."""
        if distributed.is_first():
            with alone():
                self._judge(step)
        self.finished = bool(distributed.agreed(self._out_of_patience()))

    def _judge(self, step: int) -> None:
        assert self.run.evaluate
        began = time.monotonic()
        scores = self.run.evaluate(self.averaged.eval())
        self.judging_seconds += time.monotonic() - began
        self.run.history.append({"step": step, **scores})
        self.run.log(scores, step)
        better = [name for name, score in scores.items() if score > self.best_scores.get(name, float("-inf"))]
        if OFFICIAL in better:
            self.run.keep()
        for name in better:
            self.best_scores[name] = scores[name]
            self.run.bests[name] = {key: tensor.detach().clone() for key, tensor in self.averaged.state_dict().items()}

    def take_best(self) -> None:
        """Load the weights of the best step."""
        if self.run.bests:
            self.averaged.load_state_dict(self.run.bests[OFFICIAL])
        self.averaged.eval()

    def checkpoint_if_due(self, step: int) -> None:
        """Write a checkpoint every `checkpoint_seconds`, and one at the end for what the stage does next."""
        if time.monotonic() - self._saved >= self.run.checkpoint_seconds or step == self.run.optimise.steps:
            self.checkpoint(step)

    def checkpoint(self, step: int) -> None:
        """Write the state after `step` steps."""
        if not distributed.is_first():
            return
        self.check_loss(step)
        parts: dict[str, Any] = {
            "module": self.module,
            "optimizer": optimiser_tensors(self.optimiser),
            **{f"best {name}": state for name, state in self.run.bests.items()},
        }
        if self.ema:
            parts["ema"] = self.ema.module
        meta = {"best_scores": dict(self.best_scores), "history": list(self.run.history)}
        self.writer.write(self.run.folder, step, joined_states(**parts), meta)
        self._saved = time.monotonic()

    def _resume(self) -> None:
        found = load_checkpoint(self.run.folder)
        if found is None:
            return
        self.step, tensors, meta = found
        self.module.load_state_dict(state_of(tensors, "module"))
        restore_optimiser(self.optimiser, state_of(tensors, "optimizer"))
        if self.ema:
            self.ema.module.load_state_dict(state_of(tensors, "ema"))
        self.best_scores = meta["best_scores"]
        self.run.bests |= {name: state_of(tensors, f"best {name}") for name in self.best_scores}
        self.run.history[:] = meta["history"]
        print(f"{self.run.name}: resumed after step {self.step}", flush=True)
