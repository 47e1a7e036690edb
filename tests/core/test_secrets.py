"""Credentials never leave the environment: in URIs, in their queries, behind `Bearer`, under telling keys."""

import pytest

from pipeline.core.errors import MienError
from pipeline.core.secrets import is_secret_key, redacted
from pipeline.core.weights import declared


@pytest.mark.parametrize(
    ("uri", "kept"),
    [
        ("https://me:pw@host:5000/x", "https://host:5000/x"),
        ("postgresql://token@host/db", "postgresql://host/db"),
        ("postgresql://bob:pa/ssw0rd@db.example/x", "postgresql://db.example/x"),
        ("postgresql://bob:1234/5@h/x", "postgresql://h/x"),
        ("https://bob:pa/ss@host/x", "https://host/x"),
        ("mysql://u:p@ss@h/db", "mysql://h/db"),
        ("https://h/x?token=hunter2&y=1", "https://h/x?token=***&y=1"),
        ("https://h/x?y=1&password=hunter2#part", "https://h/x?y=1&password=***#part"),
        ("https://h/x#access_token=hunter2", "https://h/x#access_token=***"),
        ("https://h?X-Amz-Signature=hunter2", "https://h?X-Amz-Signature=***"),
        ("http://h/x?to=https%3A%2F%2Fu%3Ahunter2%40h", "http://h/x?to=***"),
        ("see https://u:p@h/x, then postgres://a:b@c/d", "see https://h/x, then postgres://c/d"),
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer ***"),
    ],
)
def test_credentials_are_removed(uri, kept):
    assert redacted(uri) == kept
    assert redacted(kept) == kept


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:///data/a@b.db",
        "sqlite:////srv/a@b.db",
        "http://host:5000/a@b",
        "https://[::1]:5000/x@y",
        "s3://bucket/key@v1",
        "git@github.com:me/x.git",
        "https://example.org/release?page=2",
        "an author's basic idea",
    ],
)
def test_what_is_no_secret_stays(text):
    assert redacted(text) == text


SECRET = "auth http_auth pwd db-pwd access_key accessKey bearer api-key APIKEY hub_token Password passwd passphrase"


@pytest.mark.parametrize("key", [*SECRET.split(), "s3_secret", "credentials", "private_key", "authorization"])
def test_secret_keys(key):
    assert is_secret_key(key)


@pytest.mark.parametrize("key", ["author", "authors", "keyboard", "monkey", "width", "sigma", "design", "signal"])
def test_other_keys(key):
    assert not is_secret_key(key)


def test_sources_of_weights_hold_none(tmp_path):
    entry = "{source: 'https://h/x?token=hunter2', sha256: '0', licence: MIT, trained_on: [x], label_types: [y]}"
    (tmp_path / "weights.yaml").write_text(f"net.onnx: {entry}\n")
    with pytest.raises(MienError, match=r"weights\.yaml: the source of net\.onnx holds credentials") as caught:
        declared(tmp_path / "weights.yaml")
    assert "hunter2" not in str(caught.value)
