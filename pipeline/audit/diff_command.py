"""`mien diff`: two submissions, what changed between them, in one screen."""

import argparse
import json
from dataclasses import asdict
from typing import Any

TITLES = {
    "params": "params",
    "data": "data",
    "code": "code and libraries",
    "weights": "weights from outside",
    "stages": "stages",
    "metrics": "scores on validation",
    "tried": "tried one at a time: score on validation by inner folds",
    "rows": "rows of the submission",
}
MOST = 8  # lines of a kind


def add_arguments(subparsers: Any) -> None:
    """Add `diff`; it sets `run` to its function."""
    parser = subparsers.add_parser("diff", help="what changed between two submissions, and what that did")
    parser.add_argument("first", metavar="A", help="a submission's file, or a commit")
    parser.add_argument("second", metavar="B", help="the same")
    parser.add_argument("--track", metavar="va", help="of two commits, this track alone")
    parser.add_argument("--quick", action="store_true", help="do not fit ensembles anew to tell which change did it")
    parser.add_argument("--all", action="store_true", help="every line, however many")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(run=diff_command)


def diff_command(args: argparse.Namespace) -> int:
    """0 when nothing differs, 1 when something does."""
    from pipeline.abaw.tracks import trained_track
    from pipeline.audit.audit import open_history
    from pipeline.audit.compare import differ, sides

    track = trained_track(args.track.lower()).name if args.track else None
    pairs = sides(args.first, args.second, track, open_history())
    told = {first.case.hit.stage: asdict(differ(first, second, not args.quick)) for first, second in pairs}
    if args.json:
        print(json.dumps(told, indent=1))
    else:
        for stage, found in told.items():
            print("\n".join([f"{stage}: {args.first} -> {args.second}", *_lines(found, args.all)]))
    return 1 if any(lines for found in told.values() for lines in found.values()) else 0


def _lines(found: dict[str, list[str]], every: bool) -> list[str]:
    lines = []
    for kind, title in TITLES.items():
        if found[kind]:
            shown = found[kind] if every else found[kind][:MOST]
            lines += [f"{title}:", *(f"  {line}" for line in shown)]
            lines += [f"  and {len(found[kind]) - len(shown)} more; --all"] if len(found[kind]) > len(shown) else []
    return lines or ["nothing differs"]
