"""A statement in its signed envelope, and out of it.

DSSE, https://github.com/secure-systems-lab/dsse: the signature is over the payload and its type, so a reader parses
nothing that is not signed.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import FormatError, UnverifiedSignatureError
from securesystemslib.signer import Signature, SSlibKey

from pipeline.audit.claims import Claim, broken, unchecked, verified
from pipeline.audit.exchange.keys import read_signer
from pipeline.core.errors import MienError
from pipeline.core.files import write_json

PAYLOAD = "application/vnd.in-toto+json"
SHOWN = 16  # characters of a key's id


@dataclass(frozen=True)
class Opened:
    """A statement as it was found: its bytes, and its envelope where it has one."""

    payload: bytes
    envelope: Envelope | None = None


def sealed(statement: dict[str, Any], private: Path) -> dict[str, Any]:
    """The envelope of a statement, signed; the same bytes for the same key and statement."""
    envelope = Envelope(json.dumps(statement, sort_keys=True).encode(), PAYLOAD, {})
    envelope.sign(read_signer(private))
    return dict(envelope.to_dict())


def write_attestation(target: Path, statement: dict[str, Any], private: Path | None = None) -> None:
    """Publish a statement, in a signed envelope where a private key is given."""
    write_json(target, sealed(statement, private) if private else statement)


def open_attestation(path: Path) -> Opened:
    """A statement with or without an envelope; `MienError` where the file is neither."""
    try:
        data = path.read_bytes()
        tree = json.loads(data)
        if isinstance(tree, dict) and "payload" in tree:
            for signature in tree.get("signatures", ()):
                signature.setdefault("keyid", "")  # a hint that the form leaves to the signer
            envelope = Envelope.from_dict({"signatures": [], **tree})
            return Opened(envelope.payload, envelope)
    except OSError as error:
        raise MienError(f"{path}: {error.strerror}; name a statement that `--attest` wrote", exit_code=2) from None
    except (ValueError, KeyError, TypeError, AttributeError, FormatError, RecursionError) as error:
        said = " ".join(str(error).split())[:100]
        raise MienError(f"{path}: neither a statement nor a signed envelope: {said}") from None
    return Opened(data)


def check_signature(opened: Opened, public: SSlibKey | None) -> Claim:
    """The claim on who vouches for a statement; a key's id is a hint alone, so each signature is tried."""
    about, envelope = "statement", opened.envelope
    if envelope is None or not envelope.signatures:
        if public:
            return broken(about, "signature", "it has no signature, and a key was given")
        return unchecked(about, "signature", "unsigned: anybody may have written it")
    if envelope.payload_type != PAYLOAD:
        return broken(about, "signature", f"its payload is of type {envelope.payload_type[:60]!r}, not {PAYLOAD}")
    signers = ", ".join(keyid[:SHOWN] or "a key without an id" for keyid in envelope.signatures)
    if public is None:
        return unchecked(about, "signature", f"signed by {signers}; give its public key with --key to have it checked")
    if any(_is_by(public, signature, envelope) for signature in envelope.signatures.values()):
        return verified(about, "signature", f"by the key {public.keyid[:SHOWN]}")
    if public.keyid in envelope.signatures:
        return broken(about, "signature", f"not what the key {public.keyid[:SHOWN]} signed: changed since")
    return broken(about, "signature", f"by {signers}, not by the given key {public.keyid[:SHOWN]}")


def _is_by(public: SSlibKey, signature: Signature, envelope: Envelope) -> bool:
    try:
        public.verify_signature(Signature(public.keyid, signature.signature), envelope.pae())
    except UnverifiedSignatureError:
        return False
    return True
