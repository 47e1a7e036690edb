"""The chain as an SVG: a row a stage, the raw data at the top, arcs from inputs to what was made of them.

One column, so that its text keeps its size on a narrow screen.
"""

from collections.abc import Mapping
from html import escape

ROW, LEFT, WIDTH = 30, 112, 372  # pixels: a row's height, where names begin, all
STEP, NEAR = 9, 16  # pixels that an arc reaches further out a row that it spans, and the least
COLOURS = {"verified": "#1a7f37", "unchecked": "#9a6700", "broken": "#cf222e"}


def inputs_first(graph: Mapping[str, list[str]]) -> list[str]:
    """The stages of a graph (each with those that it reads from), every one behind all that it reads."""
    order: list[str] = []

    def visit(name: str) -> None:
        for source in graph[name]:
            if source not in order:
                visit(source)
        if name not in order:
            order.append(name)

    for name in graph:
        visit(name)
    return order


def draw(graph: Mapping[str, list[str]], verdicts: Mapping[str, str], anchors: Mapping[str, str]) -> str:
    """SVG text; `verdicts` colour the stages, `anchors` are the ids on the page that they lead to."""
    rows = {name: place for place, name in enumerate(inputs_first(graph))}
    height = ROW * len(rows)
    arcs = [_arc(rows[source], rows[name], verdicts[source]) for name in graph for source in graph[name]]
    nodes = [_node(name, row, verdicts[name], anchors[name]) for name, row in rows.items()]
    label = f"{len(rows)} stages, inputs at the top"
    head = f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-label="{label}">'
    return "\n".join([head, *arcs, *nodes, "</svg>"])


def _middle(row: int) -> float:
    return ROW * (row + 0.5)


def _arc(start: int, end: int, verdict: str) -> str:
    """A curve on the left of the names, the further out the more rows it spans."""
    reach = LEFT - 12 - min(NEAR + STEP * (end - start - 1), LEFT - 16)
    first, last, x = _middle(start), _middle(end), LEFT - 12
    colour = COLOURS["broken"] if verdict == "broken" else "#8c959f"
    path = f"M{x} {first} C{reach} {first} {reach} {last} {x} {last}"
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.3"/>'


def _node(name: str, row: int, verdict: str, anchor: str) -> str:
    y = _middle(row)
    dot = f'<circle cx="{LEFT - 12}" cy="{y}" r="6" fill="{COLOURS[verdict]}"/>'
    weight = ' font-weight="700"' if verdict == "broken" else ""
    text = f'<text x="{LEFT}" y="{y + 5}" font-size="14"{weight} fill="currentColor">{escape(name)}</text>'
    return f'<a href="#{escape(anchor)}">{dot}{text}</a>'
