"""`mien check`: arguments in, text or JSON out, exit code back."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.abaw.tracks import TRACKS

SHOWN_DEFECTS = 50


def add_arguments(subparsers: Any) -> None:
    """Add `check`; it sets `run` to its function."""
    parser = subparsers.add_parser("check", help="is a submission byte-conformant with its template?")
    parser.add_argument("file", type=Path, metavar="FILE", help="one file, or a folder of per-video files")
    parser.add_argument("--template", type=Path, help="the official template, or the list of test videos")
    parser.add_argument("--track", choices=sorted(TRACKS), help="needed only where no header tells")
    parser.add_argument("--json", action="store_true", help="every defect, for machines")
    parser.set_defaults(run=check_command)


def check_command(args: argparse.Namespace) -> int:
    """0 when the file is conformant; else every defect with its line, what was expected and the mend."""
    from pipeline.abaw.check.check import check_file

    defects = check_file(args.file, args.template, args.track)
    if args.json:
        facts = {"conformant": not defects, "template": args.template is not None}
        print(json.dumps(facts | {"defects": [asdict(defect) for defect in defects]}, indent=1))
        return 1 if defects else 0
    for defect in defects[:SHOWN_DEFECTS]:
        where = f"{args.file / defect.path if defect.path else args.file}"
        line = f", line {defect.line}" if defect.line else ""
        print(f"{where}{line}: {defect.message}; expected {defect.expected}. Mend: {defect.mend}")
    if len(defects) > SHOWN_DEFECTS:
        print(f"... and {len(defects) - SHOWN_DEFECTS} more: see --json")
    form = "" if args.template else " (form only: without --template neither rows nor order were compared)"
    print(f"{args.file}: {f'{len(defects)} defects' if defects else 'conformant'}{form}")
    return 1 if defects else 0
