"""A bundle: all that the organisers ask a team for in one zip file, which proves itself as far as it can.

README.md            how to check it and how to rebuild it
predictions.txt      the submission
code/                the project at the commit of the lock: params, graph, lock, pinned environment, sources
git/                 the commit and its list of files as git has them: from these, `code/` is proven to be the commit
outputs/             trained weights, scores of the test list, records of the runs, by their paths in the project
external/            weights from outside whose licence lets them be passed on
lists/               names and digests of the files of each folder, as DVC digests it
statement.intoto.json, audit.html, report.html where the data are rendered ones
bundle.json          every file with its sha256, and what was left out and why
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.audit.attest import statement
from pipeline.audit.audit import Found
from pipeline.audit.claims import Claim
from pipeline.audit.exchange.contents import LeftOut, kept_outputs, kept_weights, listings, report_of
from pipeline.audit.exchange.envelope import sealed
from pipeline.audit.exchange.package import Member, shows_pictures, write_archive
from pipeline.audit.exchange.readme import readme
from pipeline.audit.page import rendered
from pipeline.audit.states import Commit, git_bytes
from pipeline.core.errors import MienError
from pipeline.core.files import file_digest

MANIFEST = "bundle.json"
STATEMENT = "statement.intoto.json"
COMMIT, TREE = "git/commit", "git/tree"
CODE, GIT, OUTPUTS, EXTERNAL, LISTS = "code", "git", "outputs", "external", "lists"


@dataclass(frozen=True)
class Bundle:
    """What goes in by its path, and what is named instead."""

    members: dict[str, Member]
    left_out: list[LeftOut]


def write_bundle(target: Path, found: Found, claims: list[Claim], private: Path | None = None) -> Bundle:
    """Publish the bundle of a submission that was found; signed where a private key is given."""
    bundle = gather(found, claims, private)
    write_archive(target, bundle.members)
    return bundle


def gather(found: Found, claims: list[Claim], private: Path | None = None) -> Bundle:
    """All members of a bundle; `MienError` where the lock is not committed, or the project is not all of its commit."""
    case = found.case
    code, pictures = _code(case.state)
    outputs, left = kept_outputs(case)
    weights, foreign = kept_weights(case)
    report = report_of(case)
    told = statement(found, claims)
    file = PurePosixPath(case.hit.item.path).name
    members = {
        file: Member(found.form.data),
        STATEMENT: Member(_json(sealed(told, private) if private else told)),
        "audit.html": Member(rendered(found, claims).encode()),
        **code,
        **{f"{OUTPUTS}/{path}": member for path, member in outputs.items() if path != case.hit.item.path},
        **{f"{EXTERNAL}/{name}": member for name, member in weights.items()},
        **{f"{LISTS}/{md5}.json": Member(data) for md5, data in listings(case)},
        **({"report.html": Member(report)} if report else {}),
    }
    left_out = [*pictures, *left, *foreign]
    members["README.md"] = Member(readme(case, file, left_out, bool(private)).encode())
    members[MANIFEST] = Member(_json(_manifest(found, file, members, left_out)))
    return Bundle(members, left_out)


def _json(tree: Any) -> bytes:
    return (json.dumps(tree, indent=1) + "\n").encode()


def _code(state: Any) -> tuple[dict[str, Member], list[LeftOut]]:
    """The commit's files below `code/`, what git has of the commit, and its pictures, which stay out."""
    if not isinstance(state, Commit):
        raise MienError(
            "dvc.lock of this chain is not committed, and a bundle holds the code of a commit; commit first"
        )
    if git_bytes("rev-parse", "--show-prefix").strip():
        raise MienError(
            "the project is a folder of a larger repository, and a bundle proves a whole commit; split it off"
        )
    tree = git_bytes("-c", "core.quotepath=off", "ls-tree", "-r", "--full-tree", state.name)
    executable = {line.split("\t", 1)[1] for line in tree.decode().splitlines() if line.startswith("100755 ")}
    members = {COMMIT: Member(git_bytes("cat-file", "commit", state.name)), TREE: Member(tree)}
    pictures = []
    for path, data in state.blobs():
        if shows_pictures(data):
            digest = f"sha256 {hashlib.sha256(data).hexdigest()}"
            pictures.append(
                LeftOut(
                    f"{CODE}/{path}", digest, len(data), "a picture, or with pictures in it, among the tracked files"
                )
            )
        else:
            members[f"{CODE}/{path}"] = Member(data, path in executable)
    return members, pictures


def _manifest(found: Found, file: str, members: dict[str, Member], left_out: list[LeftOut]) -> dict[str, Any]:
    hit = found.case.hit
    return {
        "form": "Mien's bundle 1",
        "mien": version("mien"),
        "predictions": file,
        "stage": hit.stage,
        "commit": hit.commits[0],
        "files": {name: _facts(members[name]) for name in sorted(members)},
        "left_out": [asdict(one) for one in sorted(left_out, key=lambda one: one.path)],
    }


def _facts(member: Member) -> dict[str, Any]:
    if isinstance(member.source, Path):
        return {"sha256": file_digest(member.source), "bytes": member.source.stat().st_size}
    return {"sha256": hashlib.sha256(member.source).hexdigest(), "bytes": len(member.source)}
