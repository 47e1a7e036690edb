"""A submission as a Provenance Run Crate, for whoever reads research objects rather than Mien.

https://www.researchobject.org/workflow-run-crate/profiles/provenance_run_crate/ (0.5), RO-Crate 1.1. dvc.yaml is the
workflow, each stage a step and each of its runs an action. Data, faces, features and weights are named by digest and
never copied in. No agent is named: nothing here knows who pressed the key.
"""

import json
from pathlib import Path, PurePosixPath
from typing import Any

from rocrate.model.contextentity import ContextEntity
from rocrate.model.data_entity import DataEntity
from rocrate.rocrate import ROCrate

from pipeline.audit.attest import statement
from pipeline.audit.audit import Found
from pipeline.audit.case import Case
from pipeline.audit.claims import Claim, counted
from pipeline.audit.exchange.contents import report_of
from pipeline.audit.exchange.croissant import croissant, lists_of
from pipeline.audit.exchange.package import Member, write_package
from pipeline.audit.exchange.run_graph import WORKFLOW, Entity, RunGraph, ref
from pipeline.audit.states import Commit, git_bytes
from pipeline.core.paths import REPORT

METADATA = "ro-crate-metadata.json"
STATEMENT, CROISSANT = "statement.intoto.json", "croissant.json"
TRACKED = (WORKFLOW, "dvc.lock", "params.yaml", "weights.yaml", "requirements.lock")
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
WFRUN = "https://w3id.org/ro/terms/workflow-run#"
TERMS_USED = {
    term: f"{WFRUN}{term}" for term in ("md5", "sha256", "resourceUsage")
}  # written out: one context to fetch
TERMS = "#terms"
FORMATS = {".yaml": "application/yaml", ".json": "application/json", ".html": "text/html"}


def write_crate(target: Path, found: Found, claims: list[Claim]) -> None:
    """Publish the crate as a folder, or as a zip file where the name ends so."""
    case = found.case
    published = _published(case)
    lists = lists_of(case)
    report = report_of(case)
    members = {
        PurePosixPath(case.hit.item.path).name: Member(found.form.data),
        **{name: Member(data) for name in TRACKED if (data := case.state.read(name)) is not None},
        STATEMENT: _json(statement(found, claims)),
        CROISSANT: _json(croissant(case, published, lists)),
        **lists,
        **({REPORT.name: Member(report)} if report else {}),
    }
    members[METADATA] = _json(_metadata(case, members, published, claims))
    write_package(target, members)


def _json(tree: Any) -> Member:
    return Member((json.dumps(tree, indent=1) + "\n").encode())


def _published(case: Case) -> str:
    """The date of the commit, so that the same crate has the same bytes; the epoch where there is none."""
    if not isinstance(case.state, Commit):
        return "1970-01-01T00:00:00+00:00"
    return git_bytes("show", "--no-patch", "--format=%cI", case.state.name).decode().strip()


def _metadata(case: Case, members: dict[str, Member], published: str, claims: list[Claim]) -> dict[str, Any]:
    graph = RunGraph(case)
    crate = ROCrate(gen_preview=False, version="1.1")
    crate.metadata.extra_terms.update(TERMS_USED)
    for entity in [*_files(case, members, graph), *graph.data.values()]:
        crate.add(DataEntity(crate, entity["@id"], _single(entity)))
    for entity in [*_profiles(), *graph.context.values()]:
        crate.add(ContextEntity(crate, entity["@id"], _single(entity)))
    crate.update_jsonld({"@id": "./", **_root(case, published, claims), "mentions": [ref(a) for a in graph.actions]})
    return dict(crate.metadata.generate())


def _single(entity: Entity) -> Entity:
    """An entity as RO-Crate likes it: a list of one is that one."""
    return {key: value[0] if isinstance(value, list) and len(value) == 1 else value for key, value in entity.items()}


def _root(case: Case, published: str, claims: list[Claim]) -> Entity:
    counts = ", ".join(f"{count} {verdict}" for verdict, count in counted(claims).items())
    where = f"commit {case.hit.commits[0]}" if case.hit.commits else "a lock that is not committed"
    return {
        "name": f"Submission of the track {case.track}, {case.hit.item.path}",
        "description": f"How {case.hit.item.path} was made, by {where}. What `mien audit` said of it: {counts}.",
        "datePublished": published,
        "license": ref(TERMS),
        "conformsTo": [ref(profile) for profile in PROFILES],
        "mainEntity": ref(WORKFLOW),
    }


def _profiles() -> list[Entity]:
    profiles: list[Entity] = [
        {"@id": url, "@type": "CreativeWork", "name": name, "version": url.rpartition("/")[2]}
        for url, name in PROFILES.items()
    ]
    text = "Code under its own licence; data and what shows them under the terms of whoever released them."
    return [*profiles, {"@id": TERMS, "@type": "CreativeWork", "name": "Terms", "description": text}]


def _files(case: Case, members: dict[str, Member], graph: RunGraph) -> list[Entity]:
    """The files that are in the crate."""
    about: dict[str, Entity] = {
        WORKFLOW: graph.workflow(),
        PurePosixPath(case.hit.item.path).name: {"exampleOfWork": ref(graph.result)},
        STATEMENT: {
            "name": "in-toto statement with SLSA provenance",
            "conformsTo": ref("https://slsa.dev/provenance/v1"),
        },
        CROISSANT: {"name": "Croissant metadata of the data", "conformsTo": ref("http://mlcommons.org/croissant/1.0")},
    }
    return [
        {
            "@id": name,
            "@type": "File",
            "name": name,
            "contentSize": str(len(member.data)),
            "encodingFormat": FORMATS.get(PurePosixPath(name).suffix, "text/plain"),
            **about.get(name, {}),
        }
        for name, member in members.items()
    ]
