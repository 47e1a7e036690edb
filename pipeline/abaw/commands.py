"""The `mien data ...` and `mien check` commands: arguments in, text or JSON out, exit code back.

Each command imports what it needs when it runs: `mien --help` must not wait for OpenCV and Arrow.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.abaw.tracks import TRACKS

if TYPE_CHECKING:
    from rich.console import Console

SHOWN_DEFECTS = 50
DECODE_LIMIT = 20_000  # two seconds; a release has 2.9 million crops


def add_arguments(subparsers: Any) -> None:
    """Add `data validate|import|summary` and `check`; each sets `run` to its function."""
    data = subparsers.add_parser("data", help="look at, check and pack an official release")
    commands = data.add_subparsers(dest="data_command", required=True)
    _add_validate(commands)
    _add_import(commands)
    summary = commands.add_parser("summary", help="the table of what is there, beside the official figures")
    summary.add_argument("dir", type=Path, metavar="DIR")
    summary.add_argument("--json", action="store_true", help="for machines")
    summary.set_defaults(run=summary_command)
    _add_check(subparsers)


def _add_validate(commands: Any) -> None:
    parser = commands.add_parser("validate", help="check an official release, or part of one")
    parser.add_argument("dir", type=Path, metavar="DIR")
    parser.add_argument("--json", action="store_true", help="everything, for machines")
    parser.add_argument(
        "--decode-limit", type=int, default=DECODE_LIMIT, metavar="N", help="decode at most about N images (0: none)"
    )
    parser.set_defaults(run=validate_command)


def _add_import(commands: Any) -> None:
    parser = commands.add_parser("import", help="pack a release into Parquet shards under data/raw/NAME")
    parser.add_argument("source", type=Path, metavar="SRC", help="a folder, an archive, or a folder of archives")
    parser.add_argument("--name", required=True)
    parser.add_argument("--json", action="store_true", help="the summary for machines")
    parser.set_defaults(run=import_command)


def _add_check(subparsers: Any) -> None:
    parser = subparsers.add_parser("check", help="is a submission byte-conformant with its template?")
    parser.add_argument("file", type=Path, metavar="FILE", help="one file, or a folder of per-video files")
    parser.add_argument("--template", type=Path, help="the official template, or the list of test videos")
    parser.add_argument("--track", choices=sorted(TRACKS), help="needed only where no header tells")
    parser.add_argument("--json", action="store_true", help="every defect, for machines")
    parser.set_defaults(run=check_command)


def validate_command(args: argparse.Namespace) -> int:
    """0 when nothing would change labels or lose rows."""
    from pipeline.abaw.validate import print_findings, print_table, validate_release

    report = validate_release(args.dir, args.decode_limit)
    if args.json:
        print(json.dumps(report.to_json(), indent=1))
    else:
        console = _console()
        print_table(report, console)
        print_findings(report, console)
    return 0 if report.good else 1


def summary_command(args: argparse.Namespace) -> int:
    """The table alone; nothing is decoded."""
    from pipeline.abaw.validate import print_table, validate_release

    report = validate_release(args.dir, decode_limit=0)
    if args.json:
        print(json.dumps(report.to_json()["table"], indent=1))
    else:
        print_table(report, _console())
    return 0


def _console() -> "Console":
    """A table must not be cut where the output is a file or a pipe."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=200)


def import_command(args: argparse.Namespace) -> int:
    """Pack and say what to do next."""
    from pipeline.abaw.importer import import_release, pack_place

    target = pack_place(args.name)
    summary = import_release(args.source, target)
    if args.json:
        print(json.dumps(asdict(summary) | {"target": target.as_posix()}, indent=1))
        return 0
    rate = (summary.images + summary.files) / max(summary.seconds, 1e-9)
    print(
        f"{target}: {summary.images:,} images and {summary.files:,} other files, {summary.bytes / 1e6:,.1f} MB; "
        f"{summary.made} outputs made, {summary.kept} kept, {summary.seconds:.1f} s ({rate:,.0f} files/s)"
    )
    if summary.stale:
        print(f"{len(summary.stale)} outputs of earlier imports are not in this source and were kept")
    print(f"Next: dvc add {target}, and set data.root to it in params.yaml")
    return 0


def check_command(args: argparse.Namespace) -> int:
    """0 when the file is conformant; else every defect with its line, what was expected and the mend."""
    from pipeline.abaw.check import check_file

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
