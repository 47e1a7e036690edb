"""Ed25519 keys as PEM files, as openssl writes and reads them (`openssl genpkey -algorithm ed25519`)."""

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey

from pipeline.core.errors import MienError
from pipeline.core.files import atomic_write_bytes
from pipeline.run.git import run_git

MAKE = "`mien key FILE` makes one"


def public_path(private: Path) -> Path:
    """Where `new_key` writes the public half."""
    return private.with_name(f"{private.name}.pub")


def new_key(private: Path) -> Path:
    """Write a private key, readable by its owner alone, and its public half beside it; the path of the latter.

    `MienError` where either file is there already, or where git would take the private one.
    """
    public = public_path(private)
    for path in (private, public):
        if path.exists() or path.is_symlink():
            raise MienError(f"{path}: is there already and is not overwritten; name another file", exit_code=2)
    _refuse_tracked(private.absolute())
    private.parent.mkdir(parents=True, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text)
    atomic_write_bytes(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return public


def _refuse_tracked(private: Path) -> None:
    """git says 1 of a path in a work tree that it does not ignore, 128 outside of any work tree."""
    place = next(folder for folder in private.parents if folder.is_dir())
    try:
        said = run_git("check-ignore", "--quiet", "--", private.as_posix(), folder=place).returncode
    except OSError:
        return  # no git, no repository that could take it
    if said == 1:
        text = "git would take a private key there; name a place outside of the repository, or one that git ignores"
        raise MienError(f"{private}: {text}", exit_code=2)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MienError(f"{path}: {error.strerror}; {MAKE}", exit_code=2) from None


def read_signer(private: Path) -> CryptoSigner:
    """The signer of a private key; `MienError` where the file is none, or locked by a passphrase."""
    try:
        key = load_pem_private_key(_read(private), None)
    except TypeError:
        mend = f"`openssl pkey -in {private.name} -out open.key` takes it off"
        raise MienError(f"{private}: the key has a passphrase, and nobody is asked for one; {mend}", 2) from None
    except (ValueError, UnsupportedAlgorithm):
        raise MienError(f"{private}: not a private key in PEM form; {MAKE}", exit_code=2) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise MienError(f"{private}: not an Ed25519 key; {MAKE}", exit_code=2)
    return CryptoSigner(key)


def read_public(public: Path) -> SSlibKey:
    """A public key; `MienError` where the file is none."""
    try:
        key = load_pem_public_key(_read(public))
    except (ValueError, UnsupportedAlgorithm):
        mend = "name the .pub file beside the private key, or `openssl pkey -in KEY -pubout`"
        raise MienError(f"{public}: not a public key in PEM form; {mend}", exit_code=2) from None
    if not isinstance(key, Ed25519PublicKey):
        raise MienError(f"{public}: not an Ed25519 key; {MAKE}", exit_code=2)
    return SSlibKey.from_crypto(key)
