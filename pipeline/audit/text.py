"""The answer for a person: where the bytes were found, the chain as a tree, and what does not hold."""

import textwrap
from collections.abc import Iterator
from typing import Any

from pipeline.audit.audit import Found
from pipeline.audit.claims import WORDS, Claim, counted
from pipeline.audit.node import stage_facts

WIDTH = 110
CODE_INPUT = "artifacts/code/"


def tell_found(found: Found) -> list[str]:
    """Where the bytes were found."""
    hit = found.case.hit
    lines = [f"{found.path}: {hit.item.path} of stage {hit.stage}, md5 {hit.item.md5}, {len(found.form.data)} bytes"]
    if found.form.undone:
        lines.append(f"not byte for byte: found after {found.form.undone}")
    lines += [f"beside it, also made by Mien: {other}; unpack it to ask about it" for other in found.beside]
    if hit.commits:
        more = f", the first of {len(hit.commits)} commits with this lock" if len(hit.commits) > 1 else ""
        tried = f"; experiments of DVC: {', '.join(found.experiments)}" if found.experiments else ""
        branches = ", ".join(found.branches) or "none"
        lines.append(f"in dvc.lock of commit {hit.commits[0]}{more}; branches: {branches}{tried}")
    else:
        lines.append("in dvc.lock of the workspace, which is not committed yet: nobody else can see it")
    for other in found.other_chains:
        where = f"commit {other.commits[0][:12]}" if other.commits else "the workspace"
        lines.append(f"the same bytes also came out of other inputs: dvc.lock of {where}")
    return lines


def tell_tree(found: Found) -> Iterator[str]:
    """The chain as a tree, each stage once with all that is known of it."""
    yield from _branch(found, found.case.hit.stage, "", "", set())


def _branch(found: Found, name: str, first: str, rest: str, told: set[str]) -> Iterator[str]:
    """A stage's lines: `first` stands before its name, `rest` before all others."""
    if name in told:
        yield f"{first}{name} (above)"
        return
    told.add(name)
    yield f"{first}{name}"
    below = found.case.hit.stages[name]
    bar = f"{rest}{'│ ' if below else '  '}"
    for line in _facts(stage_facts(found.case, found.case.lock.stages[name])):
        yield from textwrap.wrap(line, WIDTH, initial_indent=f"{bar}  ", subsequent_indent=f"{bar}    ")
    for place, source in enumerate(below):
        last = place == len(below) - 1
        yield from _branch(
            found, source, f"{rest}{'└─ ' if last else '├─ '}", f"{rest}{'   ' if last else '│  '}", told
        )


def _facts(facts: dict[str, Any]) -> Iterator[str]:
    for file, values in facts["params"].items():
        yield f"{file}: {', '.join(f'{name}={value}' for name, value in values.items())}"
    for item in facts["inputs"]:
        if not item["path"].startswith(CODE_INPUT):
            yield f"read {_data(item)}, of {', '.join(item['from'])}"
    for item in facts["outputs"]:
        yield f"made {_data(item)}"
    for item in facts["inputs"]:
        if item["path"].startswith(CODE_INPUT):
            libraries = ", ".join(f"{name} {version}" for name, version in facts["libraries"].items())
            yield f"code {item['path']} {item['md5']}: {len(facts['code'])} files; {libraries or 'not here'}"
    for name, entry in facts["weights"].items():
        seen = f"{entry['licence']}, trained on {', '.join(entry['trained_on'])}" if entry else "not declared"
        yield f"weights {name}: {seen}"
    if run := facts["run"]:
        dirty = ", uncommitted changes" if run.get("git_dirty") else ""
        where = f"{run.get('hardware', 'machine not told')}, {run['seconds']:.0f} s"
        yield f"run {run['run_id']} at commit {str(run.get('git_commit'))[:12]}{dirty}; {where}"


def _data(item: dict[str, Any]) -> str:
    files = f", {item['files']} files" if item["files"] != 1 else ""
    return f"{item['path']} {item['md5']} ({item['bytes']} bytes{files})"


def tell_claims(claims: list[Claim], every: bool = False) -> Iterator[str]:
    """What is broken, what cannot be checked, and how much holds; all of it where asked."""
    for verdict in ("verified", "unchecked", "broken"):
        of_verdict = [claim for claim in claims if claim.verdict == verdict]
        if verdict == "verified" and not every:
            continue
        for claim in of_verdict:
            yield f"{WORDS[claim.verdict]}: {claim.about}: {claim.kind}: {claim.text}"
    counts = counted(claims)
    yield ", ".join(f"{count} {WORDS[verdict].lower()}" for verdict, count in counts.items())  # type: ignore[index]
