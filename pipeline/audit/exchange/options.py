"""The options of `mien audit` that hand its answer over or hold another's against it."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.audit.claims import Claim
from pipeline.core.errors import MienError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add them to the parser of `audit`."""
    parser.add_argument("--attest", type=Path, metavar="OUT", help="write an in-toto statement with SLSA provenance")
    parser.add_argument("--sign", type=Path, metavar="KEY", help="with --attest: an Ed25519 key; `mien key` makes one")
    parser.add_argument("--crate", type=Path, metavar="OUT", help="write a Workflow Run RO-Crate: a folder, or a .zip")
    parser.add_argument(
        "--verify-attestation", type=Path, metavar="STATEMENT", help="hold a statement against FILE and this repository"
    )
    parser.add_argument("--key", type=Path, metavar="PUBLIC", help="with --verify-attestation: who must have signed it")


def in_place(args: argparse.Namespace, audit: Callable[[argparse.Namespace, list[Claim]], int]) -> int:
    """The exit code of an audit, or of a statement's verification where that is asked.

    In the folder of an unpacked bundle it is done in a workspace made of it, with the claims on the bundle's own files.
    """
    from pipeline.audit.exchange.unpacked import as_workspace

    for name, needs in (("sign", "attest"), ("key", "verify_attestation")):
        if getattr(args, name) and not getattr(args, needs):
            raise MienError(f"--{name} goes with --{needs.replace('_', '-')} alone", exit_code=2)
    with as_workspace(args) as claims:
        return (_verify if args.verify_attestation else audit)(args, claims)


def _verify(args: argparse.Namespace, of_bundle: list[Claim]) -> int:
    """1 where anything of a statement does not hold."""
    from pipeline.audit.audit import open_history
    from pipeline.audit.exchange.verify import check_statement
    from pipeline.audit.text import tell_claims

    claims = [*of_bundle, *check_statement(args.verify_attestation, args.file, args.key, open_history())]
    told = (
        json.dumps([asdict(claim) for claim in claims], indent=1) if args.json else "\n".join(tell_claims(claims, True))
    )
    print(told)
    return 1 if any(claim.verdict == "broken" for claim in claims) else 0


def hand_over(args: argparse.Namespace, found: Any, claims: list[Claim]) -> None:
    """The statement and the crate, where asked."""
    if args.attest:
        from pipeline.audit.attest import statement
        from pipeline.audit.exchange.envelope import write_attestation

        write_attestation(args.attest, statement(found, claims), args.sign)
    if args.crate:
        from pipeline.audit.exchange.crate import write_crate

        write_crate(args.crate, found, claims)
