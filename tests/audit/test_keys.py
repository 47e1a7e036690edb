"""Keys: written for their owner alone, never over another, never where git would take them, read as openssl's."""

import stat
import subprocess
from pathlib import Path

import pytest
from securesystemslib.dsse import Envelope

from pipeline.audit.exchange.envelope import sealed
from pipeline.audit.exchange.keys import new_key, public_path, read_public, read_signer
from pipeline.core.errors import MienError


def test_a_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    private = tmp_path / "sub/team.key"
    public = new_key(private)
    assert public == public_path(private) == tmp_path / "sub/team.key.pub"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert read_signer(private).public_key.keyid == read_public(public).keyid


@pytest.mark.parametrize("which", ["private", "public"])
def test_nothing_is_overwritten(tmp_path: Path, which: str) -> None:
    private = tmp_path / "team.key"
    held = private if which == "private" else public_path(private)
    held.write_text("mine")
    with pytest.raises(MienError, match="is there already and is not overwritten"):
        new_key(private)
    assert held.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {held.name}


def test_git_never_gets_a_private_key(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("/keys/\n")
    with pytest.raises(MienError, match="git would take a private key there"):
        new_key(tmp_path / "deep/team.key")
    assert not (tmp_path / "deep/team.key").exists()
    new_key(tmp_path / "keys/team.key")
    assert (tmp_path / "keys/team.key").is_file()


def openssl(*arguments: str) -> None:
    try:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs an openssl that knows Ed25519: {error}")


def test_openssls_keys_are_taken_and_ours_are_by_openssl(tmp_path: Path) -> None:
    private, public = tmp_path / "o.key", tmp_path / "o.pub"
    openssl("genpkey", "-algorithm", "ed25519", "-out", str(private))
    openssl("pkey", "-in", str(private), "-pubout", "-out", str(public))
    envelope = Envelope.from_dict(sealed({"_type": "x"}, private))
    assert envelope.verify([read_public(public)], 1)
    ours = tmp_path / "ours.key"
    new_key(ours)
    openssl("pkey", "-in", str(ours), "-pubout", "-out", str(public))
    assert public.read_bytes() == public_path(ours).read_bytes()


@pytest.mark.parametrize(
    ("text", "said"), [("nonsense", "not a private key in PEM form"), (None, "No such file or directory")]
)
def test_what_is_no_key_is_told(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "k"
    if text is not None:
        path.write_text(text)
    with pytest.raises(MienError, match=said):
        read_signer(path)


def test_other_kinds_of_key_and_locked_ones_are_told(tmp_path: Path) -> None:
    rsa, locked = tmp_path / "rsa.key", tmp_path / "locked.key"
    openssl("genpkey", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(rsa))
    openssl("genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:x", "-out", str(locked))
    for path, said in ((rsa, "not an Ed25519 key"), (locked, "has a passphrase")):
        with pytest.raises(MienError, match=said):
            read_signer(path)
    public = tmp_path / "own.key"
    new_key(public)
    with pytest.raises(MienError, match=r"not a public key in PEM form; name the \.pub file"):
        read_public(public)
