"""What must never be written down: credentials in URIs, and params whose name says that they are secret."""

import re
from urllib.parse import quote, unquote

URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]*")
SECRET_KEY = re.compile(
    r"token|passw(or)?d|passphrase|secret|credential|authorization|(api|access|private)[_-]?key"
    r"|(^|[^A-Za-z])(auth|pwd|bearer|sig|signature)([^A-Za-z]|$)",
    re.IGNORECASE,
)
BEARER = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)
PATHS = {"http", "https", "s3", "gs", "gcs", "azure", "abfs", "hdfs", "webdav", "webdavs"}
HOST = re.compile(r"([^:@\[\]]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
HIDDEN = "***"


def is_secret_key(key: str) -> bool:
    """Whether a key's name says that its value is secret (`api_key`, `pwd`, `hub_token`; not `author`)."""
    return SECRET_KEY.search(key) is not None


def redacted(text: str) -> str:
    """`text` with the credentials of every URI in it removed, and those behind `Bearer`."""
    return BEARER.sub(lambda match: f"{match[1]} {HIDDEN}", URI.sub(lambda match: _redacted_uri(match[0]), text))


def _redacted_uri(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    rest, mark, query = _split_first(rest, "?#")
    rest = rest[len(_user_info(rest, scheme.lower() in PATHS)) :]
    return f"{scheme}://{rest}{mark}{_redacted_query(query)}" if mark else f"{scheme}://{rest}"


def _split_first(text: str, marks: str) -> tuple[str, str, str]:
    """Text before, at and behind the first of some marks."""
    place = min((text.index(mark) for mark in marks if mark in text), default=len(text))
    return text[:place], text[place : place + 1], text[place + 1 :]


def _user_info(rest: str, may_have_paths: bool) -> str:
    """The `user:password@` of what follows `scheme://`.

    A password may hold a slash that nobody escaped (`bob:pa/ss@host`), so this looks for the last @, unless there is no
    host (`/data/a@b.db`) or, where a path may hold an @, the first slash follows a host (`host:8080/a@b`).
    """
    start, at, _ = rest.rpartition("@")
    if not at:
        return ""
    host, slash, _ = start.partition("/")
    if slash and (not host or (may_have_paths and HOST.fullmatch(host))):
        return ""
    return f"{start}@"


def _redacted_query(query: str) -> str:
    parts = []
    for part in re.split(r"([&;#?])", query):
        name, equals, value = part.partition("=")
        secret = equals and (is_secret_key(unquote(name)) or redacted(unquote(value)) != unquote(value))
        parts.append(f"{name}={quote(HIDDEN, safe='*')}" if secret else part)
    return "".join(parts)
