"""The report's figures as inline SVG, the same bytes from the same numbers."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

# Okabe and Ito's colours: told apart by colour-blind readers too.
COLOURS = ["#8a8a8a", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#0072b2", "#56b4e9", "#000000"]
DENSITY_CELLS = 50  # a side
TIMELINE_FRAMES = 1200  # drawn of a video at most: the figure is not wider
STYLE: Any = {
    "svg.hashsalt": "mien",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "figure.constrained_layout.use": True,
}


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    plt.close(figure)
    return text.getvalue().partition("<!DOCTYPE")[2].partition(">")[2]


def confusion(labels: np.ndarray, guesses: np.ndarray, names: Sequence[str]) -> str:
    """Rows: label, columns: decision; colour is the share of the row, numbers are counts."""
    valid = labels >= 0
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (labels[valid], guesses[valid]), 1)
    share = counts / counts.sum(axis=1, keepdims=True).clip(1)
    with plt.rc_context(STYLE | {"axes.grid": False}):
        figure, axes = plt.subplots(figsize=(4.6, 4.0))
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(counts.shape):
            colour = "white" if share[row, column] > 0.55 else "#222222"
            axes.text(
                float(column),
                float(row),
                str(counts[row, column]),
                ha="center",
                va="center",
                fontsize=7.5,
                color=colour,
            )
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("decided")
        axes.set_ylabel("label")
        return _svg(figure)


def bars(names: Sequence[str], values: Sequence[float], label: str) -> str:
    """One horizontal bar a class."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(4.2, 0.27 * len(names) + 0.7))
        places = np.arange(len(names))
        axes.barh(places, values, color="#0072b2", height=0.7)
        for place, value in zip(places, values, strict=True):
            axes.text(value + 0.01, float(place), f"{value:.2f}", va="center", fontsize=7.5)
        axes.set_yticks(places, names)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.08)
        axes.set_xlabel(label)
        return _svg(figure)


def density(labels: np.ndarray, guesses: np.ndarray, names: Sequence[str]) -> str:
    """Label against prediction, one panel a dimension; shapes (rows, 2), invalid rows left out.

    How many rows lie in each cell is drawn, its colour by the logarithm: a mark a row is 65 MB for 300,000 rows, and
    one blot.
    """
    valid = (labels >= -1).all(axis=1)
    with plt.rc_context(STYLE | {"axes.grid": False}):
        figure, panels = plt.subplots(1, 2, figsize=(6.4, 3.1))
        for number, axes in enumerate(panels):
            counts, *_ = np.histogram2d(guesses[valid, number], labels[valid, number], DENSITY_CELLS, [[-1, 1]] * 2)
            shown = np.ma.masked_equal(counts, 0)
            norm = LogNorm(0.2, max(float(counts.max()), 10.0))  # from below 1, so that a single row is seen
            axes.imshow(shown, "Blues", norm=norm, extent=(-1, 1, -1, 1), origin="lower", interpolation="nearest")
            axes.plot([-1, 1], [-1, 1], color="#999999", linewidth=0.8)
            axes.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), xlabel=f"{names[number]}, label", aspect="auto")
        panels[0].set_ylabel("prediction")
        return _svg(figure)


def curves(series: dict[str, tuple[Sequence[float], Sequence[float]]], label: str, over: str = "step") -> str:
    """Lines over training steps, or what `over` says: name to (steps, values)."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(4.6, 2.7))
        for number, (name, (steps, values)) in enumerate(series.items()):
            axes.plot(steps, values, label=name, color=COLOURS[(number + 1) % len(COLOURS)], linewidth=1.4)
        axes.set_xlabel(over)
        axes.set_ylabel(label)
        if len(series) > 1:
            axes.legend(frameon=False, fontsize=8)
        return _svg(figure)


def timeline(
    frames: np.ndarray,
    expression: np.ndarray | None,
    expression_labels: np.ndarray | None,
    names: Sequence[str],
    va: np.ndarray | None,
    va_labels: np.ndarray | None,
    found: np.ndarray,
) -> str:
    """One video: stacked expression probabilities under the labels' ribbon, then valence and arousal with theirs.

    Of a long video every n-th frame is drawn, so that no more than `TIMELINE_FRAMES` are.
    """
    step = -(-len(frames) // TIMELINE_FRAMES) or 1
    frames, found = frames[::step], found[::step]
    expression, expression_labels, va, va_labels = (
        None if part is None else part[::step] for part in (expression, expression_labels, va, va_labels)
    )
    with plt.rc_context(STYLE | {"axes.grid": False}):
        rows = (expression is not None) + (va is not None) * 2
        figure, panels = plt.subplots(rows, 1, figsize=(9.2, 1.75 * rows), sharex=True, squeeze=False)
        free = iter(panels[:, 0])
        if expression is not None and expression_labels is not None:
            axes = next(free)
            axes.stackplot(frames, expression.T, colors=COLOURS, labels=names, linewidth=0)
            for index in range(len(names)):
                hit = expression_labels == index
                axes.scatter(frames[hit], np.full(hit.sum(), 1.06), marker="s", s=9, color=COLOURS[index], linewidths=0)
            axes.set(ylim=(0, 1.12), ylabel="probability\n(label on top)")
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=7.5)
        if va is not None and va_labels is not None:
            for number, name in enumerate(("valence", "arousal")):
                axes = next(free)
                valid = va_labels[:, number] >= -1
                axes.plot(frames[valid], va_labels[valid, number], color="#222222", linewidth=1, label="label")
                axes.plot(frames, va[:, number], color="#d55e00", linewidth=1.4, label="prediction")
                axes.set(ylim=(-1.05, 1.05), ylabel=name)
                axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=7.5)
        for axes in panels[:, 0]:
            for frame in frames[~found]:
                axes.axvspan(frame - step / 2, frame + step / 2, color="#000000", alpha=0.08, linewidth=0)
        panels[-1, 0].set_xlabel("frame (grey: no face found)")
        return _svg(figure)
