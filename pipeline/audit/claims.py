"""What an audit says: claims, each with a verdict."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["verified", "unchecked", "broken"]
WORDS: dict[Verdict, str] = {"verified": "verified", "unchecked": "cannot be checked", "broken": "BROKEN"}


@dataclass(frozen=True)
class Claim:
    """One statement about a stage or a path (`about`), of a kind: bytes, made, link, params, code, commit, run ...

    `text` says what was compared; of a broken one what is wrong and where, of an unchecked one why it could not be.
    """

    about: str
    kind: str
    verdict: Verdict
    text: str


def verified(about: str, kind: str, text: str) -> Claim:
    """A claim that holds."""
    return Claim(about, kind, "verified", text)


def unchecked(about: str, kind: str, text: str) -> Claim:
    """A claim that nothing here can decide."""
    return Claim(about, kind, "unchecked", text)


def broken(about: str, kind: str, text: str) -> Claim:
    """A claim that does not hold."""
    return Claim(about, kind, "broken", text)


def some(names: Iterable[str], shown: int = 3) -> str:
    """The first names of a list, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def counted(claims: Iterable[Claim]) -> dict[str, int]:
    """How many claims there are of each verdict."""
    counts = Counter(claim.verdict for claim in claims)
    return {verdict: counts[verdict] for verdict in WORDS}
