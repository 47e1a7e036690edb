"""How an expression unfolds: onset, apex, offset, with blinks and a slowly moving head."""

from dataclasses import dataclass

import numpy as np

from demo.generator.expressions import Expression, sample_expression, sample_mix
from demo.generator.render import Moment

EPISODE_FRAMES = (19, 27)  # one expression from neutral to neutral
BLINK_EVERY_FRAMES = 45
BLINK = (0.5, 1.0, 0.6)


@dataclass(frozen=True)
class Instant:
    """A frame of a clip before rendering: what is expressed and how the head stands."""

    expression: Expression
    moment: Moment


def unfold(rng: np.random.Generator, kinds: list[int], frames: int) -> list[Instant]:
    """A clip of `frames` instants: one episode after another, of the classes in `kinds`, over and over."""
    expressions: list[Expression] = []
    number = 0
    while len(expressions) < frames:
        expressions += _episode(rng, kinds[number % len(kinds)])
        number += 1
    blinks = _blinks(rng, frames)
    yaw, pitch, roll = _drift(rng, frames, 13, 8), _drift(rng, frames, 7, 4), _drift(rng, frames, 5, 3)
    gaze = np.deg2rad(rng.normal(0, 5, 2))
    return [
        Instant(e, Moment(e.rendered_aus(), yaw[t], pitch[t], roll[t], (gaze[0], gaze[1]), blinks[t]))
        for t, e in enumerate(expressions[:frames])
    ]


def still(rng: np.random.Generator, kind: int | None, spread: float = 1.0) -> Instant:
    """One moment near the apex of class `kind`, None a random mix of AUs; `spread` scales how far the head turns."""
    if kind is None:
        expression = sample_mix(rng)
    else:
        full = sample_expression(rng, kind)
        expression = Expression(kind, full.aus, float(rng.uniform(0.6, 1.1)))
    yaw, pitch, roll = (float(spread * rng.normal(0, degrees)) for degrees in (18, 9, 7))
    gaze = np.deg2rad(rng.normal(0, 6, 2))
    blink = float(rng.uniform(0.6, 1.0)) if rng.random() < 0.04 else 0.0
    return Instant(expression, Moment(expression.rendered_aus(), yaw, pitch, roll, (gaze[0], gaze[1]), blink))


def _episode(rng: np.random.Generator, kind: int) -> list[Expression]:
    """Neutral, then onset, apex and offset along smooth steps."""
    length = int(rng.integers(*EPISODE_FRAMES))
    rest, onset, offset = int(rng.integers(3, 6)), int(rng.integers(4, 8)), int(rng.integers(4, 8))
    full = sample_expression(rng, kind)
    peak = float(rng.uniform(0.75, 1.1))
    apex = length - rest - onset - offset
    rise = _smoothstep(np.arange(1, onset + 1) / (onset + 1))
    fall = _smoothstep(np.arange(offset, 0, -1) / (offset + 1))
    curve = np.concatenate([np.zeros(rest), rise, np.ones(apex), fall]) * peak
    return [Expression(kind, full.aus, float(intensity)) for intensity in curve]


def _smoothstep(t: np.ndarray) -> np.ndarray:
    return t * t * (3 - 2 * t)


def _drift(rng: np.random.Generator, frames: int, centre: float, swing: float) -> list[float]:
    """A slow sway in degrees about a random resting angle."""
    middle, phase, speed = rng.normal(0, centre), rng.uniform(0, 2 * np.pi), rng.uniform(0.04, 0.08)
    return [float(middle + swing * np.sin(t * speed + phase)) for t in range(frames)]


def _blinks(rng: np.random.Generator, frames: int) -> list[float]:
    closed = [0.0] * (frames + len(BLINK))
    start = int(rng.integers(5, BLINK_EVERY_FRAMES))
    while start < frames:
        closed[start : start + len(BLINK)] = BLINK
        start += int(rng.integers(BLINK_EVERY_FRAMES // 2, BLINK_EVERY_FRAMES * 3 // 2))
    return closed[:frames]
