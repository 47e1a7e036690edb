"""What the challenge's rules say about training data, as far as this graph has to obey them.

Editions 5 to 11: EXPR, AU and VA are uni-task, take external data of the same task, and allow pre-trained models "as
long as it has not been pre-trained on Aff-Wild2"; MTL takes s-Aff-Wild2 "plus any other data" and forbids the A/V
Aff-Wild2's images and annotations altogether. s-Aff-Wild2 is drawn from Aff-Wild2.
"""

from collections.abc import Iterable

from pipeline.abaw.tracks import TRACKS

# Data sets of others by the names that the field gives them, and the tasks that they have labels of.
EXTERNAL_SETS: dict[str, frozenset[str]] = {
    "affectnet": frozenset({"expression", "va"}),
    "raf-db": frozenset({"expression"}),
    "raf-au": frozenset({"aus"}),
    "expw": frozenset({"expression"}),
    "fer2013": frozenset({"expression"}),
    "ferplus": frozenset({"expression"}),
    "emotionet": frozenset({"aus"}),
    "disfa": frozenset({"aus"}),
    "bp4d": frozenset({"aus"}),
    "c-expr-db": frozenset(),  # compound expressions, none of EXPR's
    "celeba": frozenset(),  # attributes and identities
    "ms1m": frozenset(),
    "casia-webface": frozenset(),
}
# Aff-Wild2 under its names, and what was drawn from it.
AFFWILD2 = frozenset({"aff-wild", "affwild", "aff-wild2", "affwild2", "s-aff-wild2"})
# Image data sets of a release that an encoder may have seen before it is fine-tuned for a track.
PRETRAINING_ALLOWED = {
    "expr": {"extra", "lsd"},
    "au": {"extra", "lsd"},
    "va": {"extra", "lsd"},
    "mtl": {"extra", "lsd", "s-aff-wild2"},
    "lsd": {"extra", "lsd"},
}


def pretraining_refusal(sources: Iterable[str], track: str) -> str | None:
    """Why the rules of a track forbid an encoder that has seen these sets of a release; None where they allow it."""
    for source in sources:
        if source not in PRETRAINING_ALLOWED.get(track, set()):
            return f"{source} may not be used in pre-training for {track.upper()}; remove it, or remove the track"
    return None


def external_refusal(known_as: str) -> str | None:
    """Why an external set is none, whatever it is used for."""
    if known_as.lower() in AFFWILD2:
        return f"{known_as} is Aff-Wild2's own, no external set: the rules give it to its tracks as released"
    return None


def training_refusal(known_as: str, track: str) -> str | None:
    """Why the labelled faces of an external set may not train a track; None where they may.

    A set that is not in the list may: its labels are then the user's to answer for.
    """
    name = known_as.lower()
    if name in EXTERNAL_SETS and not EXTERNAL_SETS[name] & set(TRACKS[track].tasks):
        return f"{known_as} has no labels of {track.upper()}, and no other task's may train it"
    return None
