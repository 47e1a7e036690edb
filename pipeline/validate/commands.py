"""The `mien data ...` commands: arguments in, text or JSON out, exit code back.

Each command imports what it needs when it runs: `mien --help` must not wait for OpenCV and Arrow.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.validate.findings import DECODE_LIMIT

if TYPE_CHECKING:
    from rich.console import Console


def add_arguments(subparsers: Any) -> None:
    """Add `data validate|import|summary`; each sets `run` to its function."""
    data = subparsers.add_parser("data", help="look at, check and pack an official release")
    commands = data.add_subparsers(dest="data_command", required=True)
    _add_validate(commands)
    _add_import(commands)
    summary = commands.add_parser("summary", help="the table of what is there, beside the official figures")
    summary.add_argument("dir", type=Path, metavar="DIR")
    summary.add_argument("--json", action="store_true", help="for machines")
    summary.set_defaults(run=summary_command)


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
    parser.add_argument("--labels", choices=["folders", "csv"], help="no release: other people's labelled faces")
    parser.add_argument("--map", type=Path, metavar="MAP.yaml", help="how their words become ABAW's")
    parser.set_defaults(run=import_command)


def validate_command(args: argparse.Namespace) -> int:
    """0 when nothing would change labels or lose rows."""
    from pipeline.validate.validate import print_findings, print_table, validate_release

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
    from pipeline.validate.validate import print_table, validate_release

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
    from pipeline.release.importer import import_release, pack_place

    target = pack_place(args.name)
    card: dict[str, Any] = {}
    if args.labels or args.map:
        summary, card = _import_external(args, target)
    else:
        summary = import_release(args.source, target)
    if args.json:
        print(json.dumps(asdict(summary) | {"target": target.as_posix()} | card, indent=1))
        return 0
    rate = (summary.images + summary.files) / max(summary.seconds, 1e-9)
    print(
        f"{target}: {summary.images:,} images and {summary.files:,} other files, {summary.bytes / 1e6:,.1f} MB; "
        f"{summary.made} outputs made, {summary.kept} kept, {summary.seconds:.1f} s ({rate:,.0f} files/s)"
    )
    if summary.stale:
        print(f"{len(summary.stale)} outputs of earlier imports are not in this source and were kept")
    if card:
        labelled = ", ".join(card["label_types"])
        print(f"{card['pictures']:,} pictures with {labelled}; left out: {', '.join(card['left_out']) or 'nothing'}")
        print(f"Next: dvc add {target}, and name it in params.yaml: graph.external.{args.name}: {{path: {target}}}")
    else:
        print(f"Next: dvc add {target}, and set data.root to it in params.yaml")
    return 0


def _import_external(args: argparse.Namespace, target: Path) -> tuple[Any, dict[str, Any]]:
    from pipeline.core.errors import MienError
    from pipeline.release.external import import_external
    from pipeline.release.label_map import read_map

    if not (args.labels and args.map):
        raise MienError("labelled faces need both --labels folders|csv and --map MAP.yaml", exit_code=2)
    return import_external(args.source, target, args.labels, read_map(args.map, args.labels))
