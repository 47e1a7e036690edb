"""What was predicted of a video over its time, as a picture: expressions, action units, valence and arousal."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.abaw.tracks import AUS
from pipeline.core.files import atomic_path
from pipeline.predict.table import Columns, Row

MOST_PEOPLE = 4  # columns of a picture: those who are seen longest
WIDTH, HEIGHT, DPI = 10.0, 2.6, 110  # inches of a person's column and of a panel
Panel = Callable[[Axes, np.ndarray, list[Row], Columns], None]


def draw_timeline(rows: list[Row], columns: Columns, target: Path) -> None:
    """Write a PNG of one video's rows, all of one frame or of none: a column for each person, a panel for each task.

    Frames without a face are gaps. Does nothing where there is no face, or no task.
    """
    panels = _panels(columns)
    seen = Counter(row.get("person") for row in rows if row["found"])
    people = sorted((person for person, _ in seen.most_common(MOST_PEOPLE)), key=lambda person: person or 0)
    if not people or not panels:
        return
    size = (WIDTH * len(people) ** 0.5, HEIGHT * len(panels) + 0.8)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), len(people), squeeze=False, sharex=True)
    for place, person in enumerate(people):
        times, shown = _by_frame(rows, person)
        axes[0, place].set_title(_title(rows[0]["source"], person, len(seen)), loc="left", fontsize=10)
        for panel, axis in zip(panels, axes[:, place], strict=True):
            panel(axis, times, shown, columns)
        axes[-1, place].set_xlabel("seconds" if rows[0]["seconds"] is not None else "frame")
    with atomic_path(target) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _panels(columns: Columns) -> list[Panel]:
    """One for each task that is answered."""
    asked = ((columns.expressions, _expressions), (columns.au_thresholds, _units), (columns.va, _valence_arousal))
    return [panel for there, panel in asked if there]


def _title(source: str, person: int | None, people: int) -> str:
    named = "" if person is None else f", person {person}"
    left_out = f" ({people - MOST_PEOPLE} more not shown)" if people > MOST_PEOPLE else ""
    return f"{Path(source).name}{named}{left_out}"


def _by_frame(rows: list[Row], person: int | None) -> tuple[np.ndarray, list[Row]]:
    """Time and row of every frame of the video; a frame without this person has an empty row."""
    times = {row["frame"]: row["frame"] if row["seconds"] is None else row["seconds"] for row in rows}
    own = {row["frame"]: row for row in rows if row["found"] and row.get("person") == person}
    return np.array([times[frame] for frame in sorted(times)], float), [own.get(frame, {}) for frame in sorted(times)]


def _values(rows: list[Row], names: list[str]) -> np.ndarray:
    """Scores (names, frames), NaN where there is no face."""
    return np.array([[row.get(name, np.nan) for row in rows] for name in names], float)


def _expressions(axis: Axes, times: np.ndarray, rows: list[Row], columns: Columns) -> None:
    values = _values(rows, [f"p_{name}" for name in columns.expressions])
    colours = colormaps["tab10"](np.arange(len(values)))
    axis.stackplot(times, values, labels=columns.expressions, colors=colours, linewidth=0)
    axis.set(ylim=(0, 1), ylabel="expression")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False, reverse=True)


def _units(axis: Axes, times: np.ndarray, rows: list[Row], _: Columns) -> None:
    values = _values(rows, list(AUS))
    scores = np.ma.masked_invalid(values)
    axis.pcolormesh(_borders(times), np.arange(len(AUS) + 1), scores, cmap="Blues", vmin=0, vmax=1)
    axis.set_yticks(np.arange(len(AUS)) + 0.5, AUS, fontsize=8)
    axis.invert_yaxis()
    axis.set_facecolor("0.85")  # no face: neither light nor dark
    axis.set_ylabel("action units, dark is 1")


def _borders(times: np.ndarray) -> np.ndarray:
    """Where each frame begins and the last one ends (N + 1): a frame lasts until the next."""
    last = times[-1] - times[-2] if len(times) > 1 else 1.0
    return np.append(times, times[-1] + max(last, 1e-3))


def _valence_arousal(axis: Axes, times: np.ndarray, rows: list[Row], _: Columns) -> None:
    for name, values in zip(("valence", "arousal"), _values(rows, ["valence", "arousal"]), strict=True):
        axis.plot(times, values, label=name, linewidth=1.2)
    axis.axhline(0, color="grey", linewidth=0.6)
    axis.set(ylim=(-1, 1), ylabel="valence, arousal")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
