"""A statement held against a file and against what the audit finds in this repository: each difference a claim."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.audit.attest import PREDICATE, STATEMENT, statement
from pipeline.audit.audit import Found, case_of, look_up
from pipeline.audit.claims import Claim, broken, unchecked, verified
from pipeline.audit.exchange.envelope import Opened, check_signature, open_attestation
from pipeline.audit.exchange.keys import read_public
from pipeline.audit.history import History
from pipeline.audit.subject import forms
from pipeline.run.why import differences

ABOUT = "statement"
PROJECT = "the project"
MOST = 240  # characters of a claim's text


def check_statement(path: Path, file: Path, public: Path | None, history: History) -> Iterator[Claim]:
    """Signature, form, subject, then all that the statement says of the chain; none of the later after a broken one.

    A claim's text is one printable line, whatever a stranger wrote into the statement.
    """
    for claim in _claims(path, file, public, history):
        yield replace(claim, text="".join(c if c.isprintable() else "?" for c in claim.text)[:MOST])


def _claims(path: Path, file: Path, public: Path | None, history: History) -> Iterator[Claim]:
    opened = open_attestation(path)
    claim = check_signature(opened, read_public(public) if public else None)
    yield claim
    if claim.verdict == "broken":
        return
    said = _parsed(opened)
    if isinstance(said, Claim):
        yield said
        return
    yield (claim := _subject(said, file))
    if claim.verdict == "broken":
        return
    found = look_up(file, history)
    if found is None:
        yield broken(
            ABOUT, "subject", "no lock in this repository tells of these bytes: `mien audit` says what is near"
        )
        return
    yield from compare(said, statement(_as_told(said, found, history), []))


def _parsed(opened: Opened) -> dict[str, Any] | Claim:
    """The statement as a tree, or what is wrong with its form."""
    try:
        said = json.loads(opened.payload)
    except (ValueError, RecursionError):
        return broken(ABOUT, "form", "its payload is no JSON")
    if not isinstance(said, dict) or said.get("_type") != STATEMENT:
        told = said.get("_type") if isinstance(said, dict) else type(said).__name__
        return broken(ABOUT, "form", f"of type {str(told)[:80]!r}, not {STATEMENT}")
    if said.get("predicateType") != PREDICATE:
        return broken(ABOUT, "form", f"an unknown predicate {str(said.get('predicateType'))[:80]!r}, not {PREDICATE}")
    well_formed = (
        isinstance(said.get("subject"), list)
        and all(isinstance(one, dict) and isinstance(one.get("digest"), dict) for one in said["subject"])
        and isinstance(said.get("predicate"), dict)
        and all(isinstance(said["predicate"].get(part), dict) for part in ("buildDefinition", "runDetails"))
        and all(isinstance(one, dict) for one in _listed(said, "buildDefinition", "resolvedDependencies"))
        and all(isinstance(one, dict) for one in _listed(said, "runDetails", "byproducts"))
    )
    return said if well_formed else broken(ABOUT, "form", "parts of SLSA's provenance are missing or of another kind")


def _listed(said: dict[str, Any], part: str, name: str) -> list[Any]:
    """A list of the predicate; one wrong element where it is none."""
    listed = said["predicate"][part].get(name)
    return listed if isinstance(listed, list) else [None]


def _subject(said: dict[str, Any], file: Path) -> Claim:
    """Whether the statement is about the file's bytes, in any form that a copy may have."""
    told = [one["digest"].get("sha256") for one in said["subject"]]
    for form in forms(file):
        digest = hashlib.sha256(form.data).hexdigest()
        if digest in told:
            return verified(
                ABOUT, "subject", f"sha256 {digest[:16]} of the file" + (form.undone and f", {form.undone}")
            )
    mine = hashlib.sha256(file.read_bytes()).hexdigest()
    return broken(ABOUT, "subject", f"about other bytes: sha256 {str(told[0] if told else None)[:16]}, not {mine[:16]}")


def _as_told(said: dict[str, Any], found: Found, history: History) -> Found:
    """The case of the commit that the statement names, where a lock of it made these bytes."""
    deps = _listed(said, "buildDefinition", "resolvedDependencies")
    commit = next((_digests(one).get("gitCommit") for one in deps if one.get("name") == PROJECT), None)
    hit = next((hit for hit in found.hits if commit in hit.commits), None)
    if hit is None:
        return found
    others = tuple(other for other in hit.commits if other != commit)
    return replace(found, case=case_of(replace(hit, commits=(str(commit), *others)), history))


def _digests(resource: dict[str, Any]) -> dict[str, Any]:
    digests = resource.get("digest")
    return digests if isinstance(digests, dict) else {}


def compare(said: dict[str, Any], ours: dict[str, Any]) -> Iterator[Claim]:
    """What a statement says and what the audit of this repository says, part by part."""
    ours = json.loads(json.dumps(ours))
    theirs, mine = (tree["predicate"]["buildDefinition"] for tree in (said, ours))
    yield from _part("build", "the command that built it", theirs.get("buildType"), mine["buildType"])
    yield from _part("params", "stage and params", theirs.get("externalParameters"), mine["externalParameters"])
    yield from _part("graph", "commands and graph", theirs.get("internalParameters"), mine["internalParameters"])
    yield from _resources(theirs["resolvedDependencies"], mine["resolvedDependencies"])
    yield from _part("runs", "ids of the runs", _runs(said), _runs(ours))


def _runs(tree: dict[str, Any]) -> Any:
    products = _listed(tree, "runDetails", "byproducts")
    return next((one.get("annotations") for one in products if one.get("name") == "MLflow runs"), None)


def _part(kind: str, what: str, said: Any, ours: Any) -> Iterator[Claim]:
    wrong = [text.removeprefix("params: ").lstrip(". ") for text in differences("", said, ours)]
    yield from (broken(ABOUT, kind, f"said and found: {text}") for text in wrong)
    if not wrong:
        yield verified(ABOUT, kind, f"{what} as found here")


def _resources(said: list[dict[str, Any]], ours: list[dict[str, Any]]) -> Iterator[Claim]:
    """Each dependency by its name; a digest that one side lacks is not compared, and that is said."""
    theirs, mine = ({str(one.get("name")): one for one in side} for side in (said, ours))
    alike, half = 0, []
    if len(theirs) < len(said):
        yield broken(ABOUT, "dependency", f"{len(said) - len(theirs)} names stand twice")
    for name in sorted(theirs.keys() | mine.keys()):
        if name not in theirs or name not in mine:
            where = "the chain has it, the statement does not" if name in mine else "the chain has no such dependency"
            yield broken(ABOUT, "dependency", f"{name}: {where}")
            continue
        shared = _digests(theirs[name]).keys() & _digests(mine[name]).keys()
        if not shared:
            yield broken(ABOUT, "dependency", f"{name}: no digest of it is one that is known here")
            continue
        wrong = differences("", _facts(theirs[name], shared), _facts(mine[name], shared))
        yield from (
            broken(ABOUT, "dependency", f"{name}: said and found: {t.removeprefix('params: .')}") for t in wrong
        )
        alike += not wrong
        if len(shared) < len(_digests(theirs[name])):
            half.append(name)
    yield verified(ABOUT, "dependency", f"{alike} of {len(theirs)} with the digests found here")
    if half:
        text = f"of {len(half)} not every digest, since their bytes are not here"
        yield unchecked(ABOUT, "dependency", f"{text}: {', '.join(half[:3])}")


def _facts(resource: dict[str, Any], algorithms: set[str]) -> dict[str, Any]:
    return resource | {"digest": {name: _digests(resource)[name] for name in algorithms}}
