"""One self-contained page a run: what came in, how the challengers did, and the drift with its intervals drawn."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.core.files import atomic_write_text
from pipeline.retrain.distance import QUANTITIES, Drift
from pipeline.retrain.history import Record, verdict_line
from pipeline.run.environment import STATE

PAGES = STATE / "retrain"
WIDTH, MARGIN = 180.0, 8.0  # of a drawing, in pixels


def page_of(record: Record) -> Path:
    """Where a run's page lies: by the name of its branch, or by its day where it made none."""
    return PAGES / f"{record.branch.rpartition('/')[2] or record.date[:10]}.html"


def write_page(record: Record) -> Path:
    """Publish a run's page; returns its place."""
    atomic_write_text(page_of(record), rendered(record))
    return page_of(record)


def rendered(record: Record) -> str:
    """The page's text."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    drifts: dict[str, list[dict[str, Any]]] = {}
    for drift in record.drift:
        drifts.setdefault(drift.track, []).append(_row(drift))
    verdicts = [(verdict, verdict_line(verdict)) for verdict in record.verdicts]
    return environment.get_template("page.html").render(record=record, verdicts=verdicts, drifts=drifts, width=WIDTH)


def _row(drift: Drift) -> dict[str, Any]:
    fate = "beyond" if drift.is_beyond else "open" if drift.is_open else "within"
    return {"drift": drift, "what": QUANTITIES[drift.quantity], "fate": fate, "drawn": _places(drift)}


def _places(drift: Drift) -> dict[str, float]:
    """Where zero, the bounds, the distance and the ends of its interval lie in the drawing, from the left."""
    low, high = drift.interval or (drift.distance, drift.distance)
    reach = max(1.5 * drift.bound, abs(low), abs(high), abs(drift.distance))
    named = {"low": low, "high": high, "at": drift.distance, "zero": 0.0, "left": -drift.bound, "right": drift.bound}
    scale = (WIDTH / 2 - MARGIN) / reach
    return {name: round(WIDTH / 2 + scale * value, 1) for name, value in named.items()}
