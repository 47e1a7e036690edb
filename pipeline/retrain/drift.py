"""Whether new recordings are like those that a champion was trained on, each quantity with a 95 % interval.

Numbers: the difference of means over the old standard deviation (Glass, 1976); the share of frames without a face as a
plain difference. Kinds (labels, decisions): the Jensen-Shannon distance, to base 2 (Lin, 1991; Endres and Schindelin,
2003), over variables the root of their mean divergence.

The interval is a basic bootstrap one (Davison and Hinkley, 1997) over whole recordings. What is drawn is the champion's
own data: as many of its recordings as are new, against all of them drawn anew, show how far apart two draws of the same
data lie. That is known for one new recording too, where its own spread is not: the interval is wide, and no breach.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.core.errors import MienError
from pipeline.core.retrain import Retrain
from pipeline.retrain.distance import QUANTITIES, Drift
from pipeline.retrain.measured import Measured, Rows, scorer_of

FEWEST = 5  # recordings of the champion's, below which draws of them tell nothing
MOST = 2000  # recordings that are drawn from; LSD's pictures, each its own, are hundreds of thousands
TINY = 1e-12


def drift_of(track: str, project: Path, champion: Path, settings: Retrain, bring: Callable[[], None]) -> list[Drift]:
    """Every quantity of a track that has a bound: what `project` holds beyond what `champion` holds, against that.

    Both are roots with faces and labels; `bring` puts the champion's ensemble there, and the params that it was trained
    at. Where that cannot answer with today's code, its answers are left out, and this is told.
    """
    rows, own = Rows(project, track), Rows(champion, track)
    now, before = rows.measured(), own.measured()
    new = now.take(now.beyond(before))
    if not len(new.names):
        return []
    drifts = compared(track, before, new, settings)
    if settings.drift.predictions is None and settings.drift.confidence is None:
        return drifts
    bring()
    try:
        scorer, thresholds = scorer_of(track, champion)
    except MienError as error:
        print(f"{track}: drift of the champion's answers is left out: {error}")
        return drifts
    held_out = before.take(before.held_out)  # of what it was trained on it is too sure
    before = own.answers(scorer, thresholds, held_out.fewer(MOST).names)
    return drifts + compared(track, before, rows.answers(scorer, thresholds, new.fewer(MOST).names), settings)


def compared(track: str, old: Measured, new: Measured, settings: Retrain) -> list[Drift]:
    """Every quantity that both have and a bound is set for."""
    bounds, old, new = settings.drift.model_dump(), old.fewer(MOST), new.fewer(MOST)
    shared = [name for name in QUANTITIES if name in old.sums and name in new.sums and bounds[name] is not None]
    return [_compared(track, name, old.sums[name], new.sums[name], bounds[name], settings) for name in shared]


def _compared(track: str, name: str, old: np.ndarray, new: np.ndarray, bound: float, settings: Retrain) -> Drift:
    old, new = (sums[sums.reshape(len(sums), -1).any(axis=1)] for sums in (old, new))
    are_kinds = old.ndim == 3
    measure = divergence if are_kinds else shift(old, plain=name == "without_face")
    found = float(measure(old.sum(axis=0)[None], new.sum(axis=0)[None])[0])
    chance = measure(*draws(old, len(new), settings))
    low, middle, high = (found - float(np.quantile(chance, share)) for share in (0.975, 0.5, 0.025))
    if are_kinds:  # a divergence is never below zero, and chance adds to it
        low, found, high = (max(0.0, value) ** 0.5 for value in (low, middle, high))
    return Drift(
        track=track,
        quantity=name,
        distance=found,
        interval=(low, high) if len(old) >= FEWEST else None,
        bound=bound,
        recordings=len(new),
        of=len(old),
        old=None if are_kinds else mean(old),
        new=None if are_kinds else mean(new),
    )


def mean(sums: np.ndarray) -> float:
    """The mean over all rows of some recordings."""
    return float(sums[:, 1].sum() / sums[:, 0].sum())


def draws(old: np.ndarray, count: int, settings: Retrain) -> tuple[np.ndarray, np.ndarray]:
    """Sums (draws, ...) of all old recordings drawn anew, and of `count` of them."""
    generator = np.random.default_rng(settings.seed)
    even = np.full(len(old), 1 / len(old))
    whole, part = (generator.multinomial(size, even, settings.draws) for size in (len(old), count))
    return np.tensordot(whole, old, 1), np.tensordot(part, old, 1)


def shift(old: np.ndarray, plain: bool) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The difference of means of sums (draws, 3), in standard deviations of the old rows, or as it is."""
    rows, total, squares = old.sum(axis=0)
    spread = 1.0 if plain else max(float(squares / rows - (total / rows) ** 2), TINY) ** 0.5
    return lambda before, after: (after[:, 1] / after[:, 0] - before[:, 1] / before[:, 0]) / spread


def divergence(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence, in bits, of counts (draws, V, C): the mean over V; nothing where one side is empty."""
    left, right = (counts / np.maximum(counts.sum(axis=2, keepdims=True), 1) for counts in (before, after))
    middle = np.maximum((left + right) / 2, TINY)
    parts = [side * np.log2(np.maximum(side, TINY) / middle) for side in (left, right)]
    both = (before.sum(axis=2) > 0) & (after.sum(axis=2) > 0)
    return np.where(both, sum(parts).sum(axis=2) / 2, 0).mean(axis=1)
