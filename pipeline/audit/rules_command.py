"""`mien rules`: what reached each checkpoint behind a submission, against an edition's rules."""

import argparse
import sys
from pathlib import Path
from typing import Any

from pipeline.audit.case import Case
from pipeline.audit.claims import Claim
from pipeline.core.errors import MienError


def add_arguments(subparsers: Any) -> None:
    """Add `rules`; it sets `run` to its function."""
    parser = subparsers.add_parser("rules", help="which data and labels reached each checkpoint, and may they?")
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--edition", metavar="abaw8", help="default: the last that had the track")
    parser.add_argument("--track", metavar="EXPR", help="default: the file's own")
    parser.add_argument("--paper", action="store_true", help="the paper's paragraph on data and models, and its BibTeX")
    parser.set_defaults(run=rules_command)


def rules_command(args: argparse.Namespace) -> int:
    """0 when nothing is forbidden; in the folder of an unpacked bundle too."""
    from pipeline.audit.exchange.unpacked import as_workspace

    with as_workspace(args):
        return _rules(args)


def _rules(args: argparse.Namespace) -> int:
    from pipeline.abaw.tracks import trained_track
    from pipeline.audit.audit import look_up, open_history
    from pipeline.audit.check.rules import check_rules
    from pipeline.audit.claims import WORDS, counted
    from pipeline.audit.edition import EDITIONS
    from pipeline.audit.reach import reached_by, trains

    if args.edition and args.edition not in EDITIONS:
        raise MienError(f"no rules of {args.edition} are known; use one of: {', '.join(EDITIONS)}", exit_code=2)
    track = trained_track(args.track.lower()).name if args.track else None
    found = look_up(args.file, open_history())
    if found is None:
        raise MienError(f"{args.file}: Mien did not make these bytes; `mien audit {args.file}` tells what is near them")
    claims = list(check_rules(found.case, args.edition, track))
    if args.paper:
        return _paper(found.case, args.edition, claims)
    for stage, reached in reached_by(found.case).items():
        if trains(stage):
            print(stage)
            print("\n".join(f"  {one.told}" for one in sorted(reached, key=lambda one: one.told)) or "  nothing")
    for claim in claims:
        print(f"{WORDS[claim.verdict]}: {claim.about}: {claim.text}")
    print(", ".join(f"{count} {WORDS[verdict].lower()}" for verdict, count in counted(claims).items()))  # type: ignore[index]
    return 1 if any(claim.verdict == "broken" for claim in claims) else 0


def _paper(case: Case, edition: str | None, claims: list[Claim]) -> int:
    """The paragraph and its references on standard output; what is forbidden goes to the other output."""
    from pipeline.audit.exchange.paper import paper

    print(paper(case, edition))
    wrong = [claim for claim in claims if claim.verdict == "broken"]
    for claim in wrong:
        print(f"BROKEN: {claim.about}: {claim.text}", file=sys.stderr)
    return 1 if wrong else 0
