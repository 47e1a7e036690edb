"""The answer as one page: the graph drawn, every stage to open, what is broken in sight; nothing is fetched."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.audit.audit import Found
from pipeline.audit.case import Case
from pipeline.audit.claims import WORDS, Claim, counted
from pipeline.audit.drawing import draw, inputs_first
from pipeline.audit.locks import Stage
from pipeline.audit.node import stage_facts
from pipeline.audit.text import tell_found
from pipeline.core.files import atomic_write_text


def write_page(target: Path, found: Found, claims: list[Claim]) -> None:
    """Publish the page."""
    atomic_write_text(target, rendered(found, claims))


def rendered(found: Found, claims: list[Claim]) -> str:
    """The page's text."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html").render(**_content(found, claims))


def _content(found: Found, claims: list[Claim]) -> dict[str, Any]:
    case = found.case
    order = inputs_first(case.hit.stages)
    anchors = {name: f"stage-{place}" for place, name in enumerate(order)}
    own = {name: _of_stage(case, case.lock.stages[name], claims) for name in order}
    verdicts = {name: _worst(of_stage) for name, of_stage in own.items()}
    told = {claim for of_stage in own.values() for claim in of_stage}
    nodes = [
        stage_facts(case, case.lock.stages[name])
        | {"anchor": anchors[name], "verdict": verdicts[name], "claims": _sorted(own[name])}
        for name in reversed(order)
    ]
    return {
        "file": found.path.name,
        "where": tell_found(found)[1:],
        "item": case.hit.item,
        "drawing": Markup(draw(case.hit.stages, verdicts, anchors)),
        "nodes": nodes,
        "broken": [(anchors.get(_home(own, claim), ""), claim) for claim in claims if claim.verdict == "broken"],
        "others": _sorted([claim for claim in claims if claim not in told]),
        "counts": counted(claims),
        "words": WORDS,
    }


def _of_stage(case: Case, stage: Stage, claims: list[Claim]) -> list[Claim]:
    """Claims on a stage, on what it made, and on data that it reads and no stage makes."""
    paths = {item.path for item in stage.outs} | {dep.path for dep in stage.deps if dep.path in case.data}
    return [claim for claim in claims if claim.about == stage.name or claim.about in paths]


def _home(own: dict[str, list[Claim]], claim: Claim) -> str:
    return next((name for name, of_stage in own.items() if claim in of_stage), "")


def _worst(claims: list[Claim]) -> str:
    verdicts = {claim.verdict for claim in claims}
    return next((verdict for verdict in ("broken", "unchecked") if verdict in verdicts), "verified")


def _sorted(claims: list[Claim]) -> list[Claim]:
    """The broken ones first, then what cannot be checked."""
    return sorted(claims, key=lambda claim: ("broken", "unchecked", "verified").index(claim.verdict))
