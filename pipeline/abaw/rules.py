"""What the challenge's rules say about training data, as far as this graph has to obey them.

Editions 5 to 11: EXPR, AU and VA are uni-task and allow pre-trained models "as long as it has not been pre-trained on
Aff-Wild2"; MTL forbids the A/V Aff-Wild2's images and annotations altogether. s-Aff-Wild2 is drawn from Aff-Wild2.
"""

from collections.abc import Iterable

# Image data sets that an encoder may have seen before it is fine-tuned for a track.
PRETRAINING_ALLOWED = {
    "expr": {"extra", "lsd"},
    "au": {"extra", "lsd"},
    "va": {"extra", "lsd"},
    "mtl": {"extra", "lsd", "s-aff-wild2"},
    "lsd": {"extra", "lsd"},
}


def pretraining_refusal(sources: Iterable[str], track: str) -> str | None:
    """Why the rules of a track forbid an encoder that has seen these data sets; None where they allow it."""
    for source in sources:
        if source not in PRETRAINING_ALLOWED.get(track, set()):
            return f"{source} may not be used in pre-training for {track.upper()}; remove it, or remove the track"
    return None
