"""Expressions where a project's networks have seen rendered faces alone: a published network answers, if it is there.

What the networks of a fresh clone have learnt says little of people. mini-Xception has seen FER-2013; it takes their
place for expressions until a project is trained on other faces, and says so.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from pipeline.backbones.device import device
from pipeline.backbones.expressions import ADD, NETWORK, declared_expressions, expressions_of
from pipeline.core.params import PARAMS, read_tree
from pipeline.core.weights import DECLARATIONS, declared, named_in
from pipeline.predict.members import FrameMember, TrackModel
from pipeline.tables.fitted import Fitted

DEMO = Path("demo/dvc.yaml")  # its one stage renders all that it puts out
PLACE = Path("weights")
SEEN = "it has seen rendered faces alone"


def rendered_alone(home: Path) -> bool:
    """Whether the networks of a project have seen nothing but what the demo renders.

    Its release is an output of the demo, and what it trains names neither an external set nor a file of weights.yaml.
    """
    if not DEMO.is_file():
        return False
    outs = [out for stage in yaml.safe_load(DEMO.read_text())["stages"].values() for out in stage["outs"]]
    params = read_tree(home / PARAMS)
    trained = [params["graph"], params["systems"]]
    foreign = params["graph"]["external"] or named_in(trained, declared(home / DECLARATIONS))
    return params["data"]["root"] in outs and not foreign


def with_real_expressions(models: Sequence[TrackModel]) -> list[TrackModel]:
    """The same models; expressions by the published network where `rendered_alone`, or told how it is brought."""
    own = next((model for model in models if "expression" in model.fitted), None)
    if own is None or not rendered_alone(own.home.folder):
        return list(models)
    name = declared_expressions()
    if name is None or not (PLACE / name).is_file():
        lack = f"{SEEN}; `{ADD}` brings a network that has seen people (README, On your own faces)"
        return [replace(model, note=lack) if model is own else model for model in models]
    others = {task: how for task, how in own.fitted.items() if task != "expression"}
    left = [replace(model, fitted=others) if model is own else model for model in models]
    return [_published(name, own), *(model for model in left if model.fitted)]


def _published(name: str, own: TrackModel) -> TrackModel:
    """The published network in the place of a model: its classes, and its smoothing over a video's frames."""
    member = FrameMember(expressions_of(PLACE / name, own.track).to(device()), mirror=True)
    fitted = {"expression": Fitted((1.0,), own.fitted["expression"].half_window_frames)}
    seen = ", ".join(declared()[name].trained_on)
    note = f"trained on {seen}, in the place of {own.label}: {SEEN}"
    return TrackModel(own.track, fitted, [name], [member], replace(own.home, name=""), by=NETWORK, note=note)
