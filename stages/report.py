"""Write the report: one self-contained page of every track's scores, pictures and data.

Reads metrics and predictions of all stages; writes `reports/index.html`, and the scores alone as `reports/scores.json`,
which git keeps. Run it with `dvc repro report` or `python -m stages.report`.
"""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline import report
from pipeline.core.files import atomic_write_text, write_json
from pipeline.core.graph import Graph
from pipeline.core.params import read_section
from pipeline.core.paths import REPORT, SCORES
from pipeline.release.files import Data
from pipeline.report.content import gather, scores_of
from pipeline.run.command import run_main
from pipeline.run.tracking import stage_run


def mark_figures(content: dict) -> dict:
    """Our own SVG goes into the page as it is; everything else is escaped."""
    content["pictures"] = {track: [Markup(svg) for svg in drawn] for track, drawn in content["pictures"].items()}
    for drawn in ("training", "over_updates"):
        content[drawn] = [(title, Markup(svg)) for title, svg in content[drawn]]
    if content["timeline"]:
        content["timeline"] = (content["timeline"][0], Markup(content["timeline"][1]))
    return content


def main() -> None:
    """Gather, render, publish."""
    data, graph = read_section("data", Data), read_section("graph", Graph)
    with stage_run("report", {"data": data.model_dump()}) as run:
        loader = FileSystemLoader(Path(report.__file__).parent)
        environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
        content = mark_figures(gather(graph.tracks, [Path(folder) for folder in graph.shown]))
        atomic_write_text(REPORT, environment.get_template("page.html").render(name=data.name, **content))
        write_json(SCORES, scores_of(content["tracks"]))
        run.artifact(REPORT)
        print(f"report: {REPORT}")


if __name__ == "__main__":
    run_main(main)
