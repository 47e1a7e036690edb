"""Write the report: one self-contained page of every track's scores, pictures and data.

Reads metrics and predictions of all stages; writes `reports/index.html`. Run it with `dvc repro report` or
`python -m stages.report`.
"""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline import report
from pipeline.base.command import run_main
from pipeline.base.params import load_params
from pipeline.base.tracking import stage_run
from pipeline.layout import ENSEMBLE, REPORT, SYSTEMS
from pipeline.publish import atomic_write_text
from pipeline.report.content import gather


def mark_figures(content: dict) -> dict:
    """Our own SVG goes into the page as it is; everything else is escaped."""
    content["pictures"] = {track: [Markup(svg) for svg in drawn] for track, drawn in content["pictures"].items()}
    content["training"] = [(title, Markup(svg)) for title, svg in content["training"]]
    if content["timeline"]:
        content["timeline"] = (content["timeline"][0], Markup(content["timeline"][1]))
    return content


def main() -> None:
    """Gather, render, publish."""
    params = load_params()
    tracks = [str(track) for track in params.ensemble.members]
    with stage_run("report", {"data": params.data.model_dump()}, [ENSEMBLE, SYSTEMS]) as run:
        loader = FileSystemLoader(Path(report.__file__).parent)
        environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
        page = environment.get_template("page.html").render(name=params.data.name, **mark_figures(gather(tracks)))
        atomic_write_text(REPORT, page)
        run.artifact(REPORT)
        print(f"report: {REPORT}")


if __name__ == "__main__":
    run_main(main)
