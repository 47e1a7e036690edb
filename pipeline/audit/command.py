"""`mien audit`: a file in, the answer out, exit code back."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.audit.claims import Claim
from pipeline.core.errors import MienError


def add_arguments(subparsers: Any) -> None:
    """Add `audit`; it sets `run` to its function."""
    parser = subparsers.add_parser(
        "audit", help="which data, params, code and runs made a submission; every link checked"
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a submission: as made, copied, renamed, zipped")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--all", action="store_true", help="every claim, not only those that do not hold")
    parser.add_argument("--quick", action="store_true", help="do not hash data and outputs anew, which may take hours")
    parser.add_argument("--html", type=Path, metavar="PAGE", help="write one page with the graph drawn")
    parser.add_argument("--attest", type=Path, metavar="OUT", help="write an in-toto statement with SLSA provenance")
    parser.add_argument("--sign", type=Path, metavar="KEY", help="with --attest: an Ed25519 key; `mien key` makes one")
    parser.add_argument("--crate", type=Path, metavar="OUT", help="write a Workflow Run RO-Crate: a folder, or a .zip")
    parser.add_argument(
        "--verify-attestation", type=Path, metavar="STATEMENT", help="hold a statement against FILE and this repository"
    )
    parser.add_argument("--key", type=Path, metavar="PUBLIC", help="with --verify-attestation: who must have signed it")
    parser.set_defaults(run=audit_command)


def audit_command(args: argparse.Namespace) -> int:
    """0 when the file was found and no claim is broken; in the folder of an unpacked bundle, as far as that goes."""
    from pipeline.audit.exchange.unpacked import as_workspace

    _refuse_alone(args)
    with as_workspace(args) as claims:
        return (_verify if args.verify_attestation else _audit)(args, claims)


def _refuse_alone(args: argparse.Namespace) -> None:
    for name, needs in (("sign", "attest"), ("key", "verify_attestation")):
        if getattr(args, name) and not getattr(args, needs):
            raise MienError(f"--{name} goes with --{needs.replace('_', '-')} alone", exit_code=2)


def _verify(args: argparse.Namespace, of_bundle: list[Claim]) -> int:
    """What of a statement holds."""
    from pipeline.audit.audit import open_history
    from pipeline.audit.exchange.verify import check_statement
    from pipeline.audit.text import tell_claims

    claims = [*of_bundle, *check_statement(args.verify_attestation, args.file, args.key, open_history())]
    print(
        json.dumps([asdict(claim) for claim in claims], indent=1) if args.json else "\n".join(tell_claims(claims, True))
    )
    return 1 if any(claim.verdict == "broken" for claim in claims) else 0


def _audit(args: argparse.Namespace, of_bundle: list[Claim]) -> int:
    from pipeline.audit.audit import check_all, look_up, open_history
    from pipeline.audit.text import tell_claims, tell_found, tell_tree

    history = open_history()
    found = look_up(args.file, history)
    if found is None:
        return _unknown(args, history)
    claims = [*of_bundle, *check_all(found.case, args.quick)]
    if args.json:
        print(json.dumps(_facts(found, claims), indent=1))
    else:
        for lines in (tell_found(found), tell_tree(found), tell_claims(claims, args.all)):
            print("\n".join(lines))
    _write(args, found, claims)
    return 1 if any(claim.verdict == "broken" for claim in claims) else 0


def _unknown(args: argparse.Namespace, history: Any) -> int:
    from pipeline.audit.stranger import tell_stranger

    lines = tell_stranger(args.file, history)
    print(
        json.dumps({"file": str(args.file), "found": False, "said": lines}, indent=1) if args.json else "\n".join(lines)
    )
    return 1


def _facts(found: Any, claims: list[Claim]) -> dict[str, Any]:
    """The whole answer as plain data."""
    from pipeline.audit.claims import counted
    from pipeline.audit.node import stage_facts

    hit = found.case.hit
    return {
        "file": str(found.path),
        "found": True,
        "undone": found.form.undone,
        "beside": list(found.beside),
        "output": asdict(hit.item),
        "stage": hit.stage,
        "commit": hit.commits[0] if hit.commits else None,
        "commits": list(hit.commits),
        "branches": found.branches,
        "other_chains": [other.commits[0] if other.commits else None for other in found.other_chains],
        "stages": {stage.name: stage_facts(found.case, stage) for stage in found.case.stages},
        "graph": hit.stages,
        "data": {path: asdict(item) for path, item in found.case.data.items()},
        "counts": counted(claims),
        "claims": [asdict(claim) for claim in claims],
    }


def _write(args: argparse.Namespace, found: Any, claims: list[Claim]) -> None:
    """The page, the statement and the crate, where asked."""
    if args.html:
        from pipeline.audit.page import write_page

        write_page(args.html, found, claims)
    if args.attest:
        from pipeline.audit.attest import statement
        from pipeline.audit.exchange.envelope import write_attestation

        write_attestation(args.attest, statement(found, claims), args.sign)
    if args.crate:
        from pipeline.audit.exchange.crate import write_crate

        write_crate(args.crate, found, claims)
