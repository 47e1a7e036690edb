"""`mien audit`: a file in, the answer out, exit code back."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.audit.claims import Claim
from pipeline.audit.exchange.options import add_options, hand_over, in_place


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
    parser.add_argument("--rebuild", action="store_true", help="clone the commit, make all of it again, compare: hours")
    parser.add_argument(
        "--within", type=float, metavar="SCORE", help="with --rebuild: how far apart scores may be where bytes differ"
    )
    add_options(parser)
    parser.set_defaults(run=audit_command)


def audit_command(args: argparse.Namespace) -> int:
    """0 when the file was found and no claim is broken."""
    return in_place(args, _audit)


def _audit(args: argparse.Namespace, of_bundle: list[Claim]) -> int:
    from pipeline.audit.audit import check_all, look_up, open_history
    from pipeline.audit.text import tell_claims, tell_found, tell_tree

    history = open_history()
    found = look_up(args.file, history)
    if found is None:
        return _unknown(args, history)
    claims = [*of_bundle, *check_all(found.case, args.quick), *_rebuilt(args, found)]
    if args.json:
        print(json.dumps(_facts(found, claims), indent=1))
    else:
        for lines in (tell_found(found), tell_tree(found), tell_claims(claims, args.all)):
            print("\n".join(lines))
    _write(args, found, claims)
    return 1 if any(claim.verdict == "broken" for claim in claims) else 0


def _rebuilt(args: argparse.Namespace, found: Any) -> list[Claim]:
    """Claims on the submission made again, where that is asked for."""
    if not args.rebuild:
        return []
    from pipeline.audit.rebuild import rebuild
    from pipeline.audit.remade import SCORE_WITHIN, judge_rebuild

    within = SCORE_WITHIN if args.within is None else args.within
    return list(judge_rebuild(found.case, rebuild(found.case), found.form.data, within))


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
        "experiments": found.experiments,
        "other_chains": [other.commits[0] if other.commits else None for other in found.other_chains],
        "stages": {stage.name: stage_facts(found.case, stage) for stage in found.case.stages},
        "graph": hit.stages,
        "data": {path: asdict(item) for path, item in found.case.data.items()},
        "counts": counted(claims),
        "claims": [asdict(claim) for claim in claims],
    }


def _write(args: argparse.Namespace, found: Any, claims: list[Claim]) -> None:
    """The page and what else is asked for."""
    if args.html:
        from pipeline.audit.page import write_page

        write_page(args.html, found, claims)
    hand_over(args, found, claims)
