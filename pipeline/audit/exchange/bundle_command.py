"""`mien bundle` and `mien key`: all that a team hands over in one file, and the key that signs it."""

import argparse
from pathlib import Path
from typing import Any

from pipeline.core.errors import MienError


def add_arguments(subparsers: Any) -> None:
    """Add `bundle` and `key`; each sets `run` to its function."""
    bundle = subparsers.add_parser(
        "bundle", help="one zip for the organisers: predictions, code, weights, environment, proof; no face in it"
    )
    bundle.add_argument("file", type=Path, metavar="FILE", help="a submission that Mien made")
    bundle.add_argument("-o", "--output", type=Path, default=Path("bundle.zip"), metavar="OUT.zip")
    bundle.add_argument("--sign", type=Path, metavar="KEY", help="an Ed25519 key; `mien key` makes one")
    bundle.add_argument("--quick", action="store_true", help="do not hash data and outputs anew, which may take hours")
    bundle.set_defaults(run=bundle_command)
    key = subparsers.add_parser("key", help="make an Ed25519 key that signs statements, and its public half")
    key.add_argument("file", type=Path, metavar="FILE", help="the private key; the public one is FILE.pub")
    key.set_defaults(run=key_command)


def bundle_command(args: argparse.Namespace) -> int:
    """0 when the bundle is written and no claim of the audit in it is broken."""
    from pipeline.audit.audit import check_all, look_up, open_history
    from pipeline.audit.exchange.bundle import write_bundle
    from pipeline.audit.text import tell_claims

    if args.output.suffix != ".zip":
        raise MienError(f"{args.output}: a bundle is a zip file; name it so", exit_code=2)
    found = look_up(args.file, open_history())
    if found is None:
        raise MienError(f"{args.file}: Mien did not make these bytes; `mien audit {args.file}` tells what is near them")
    claims = check_all(found.case, args.quick)
    bundle = write_bundle(args.output, found, claims, args.sign)
    print("\n".join(tell_claims(claims)))
    size = args.output.stat().st_size
    left = f"{len(bundle.left_out)} left out, each with its reason in bundle.json"
    print(f"{args.output}: {len(bundle.members)} files, {size} bytes; {left}")
    print(f"check it where it was unpacked: mien audit {Path(found.case.hit.item.path).name}")
    return 1 if any(claim.verdict == "broken" for claim in claims) else 0


def key_command(args: argparse.Namespace) -> int:
    """0 when both halves are written."""
    from pipeline.audit.exchange.keys import new_key

    public = new_key(args.file)
    print(f"{args.file}: private, for you alone; keep a copy where you keep passwords")
    print(f"{public}: public, for whoever checks what you signed")
    return 0
