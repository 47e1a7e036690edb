"""What the editions' rules ask of training, as data: for which tracks, what may not have reached a checkpoint, by whom.

Each rule stands in short words and with its source. Those of editions 6 to 11 are after the sites' own words; the
pages of 4 and 5 were not seen, and the later rules stand in.
LSD's own page is not quoted: nothing on it was found, so what stands there is this project's own reading. Its aim is
to learn expressions from synthetic faces; whether labels of real ones may have taught a network too, it does not tell,
and so no claim of ours does.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["pretraining", "labels", "images", "synthetic"]


@dataclass(frozen=True)
class Rule:
    """One rule for some tracks: the kind of breach that it forbids, its words, and where they stand."""

    kind: Kind
    tracks: tuple[str, ...]
    words: str
    source: str


UNI_TASK = ("expr", "au", "va")
FIRST_SEEN = 6  # the first edition whose site was read
SITE = "competition site, section of the {tracks} challenge"


def _site(edition: int, *tracks: str) -> str:
    seen = "" if edition >= FIRST_SEEN else " of later editions, its own not seen"
    return f"ABAW{edition} {SITE.format(tracks='/'.join(track.upper() for track in tracks))}{seen}"


def _uni_task(edition: int, tracks: tuple[str, ...] = UNI_TASK) -> tuple[Rule, ...]:
    source = _site(edition, *tracks)
    return (
        Rule("labels", tracks, "Only uni-task solutions: no other task's annotations", source),
        Rule("pretraining", tracks, "pre-trained models as long as not pre-trained on Aff-Wild2", source),
    )


def _mtl(edition: int) -> tuple[Rule, ...]:
    source = _site(edition, "mtl")
    return (
        Rule("images", ("mtl",), "s-Aff-Wild2 plus any other data; A/V Aff-Wild2's images and annotations not", source),
        Rule("pretraining", ("mtl",), "a pre-trained model that was not pre-trained on Aff-Wild2", source),
    )


LSD = (
    Rule("pretraining", ("lsd",), "no encoder that was pretrained on Aff-Wild2", "this project's own reading"),
    Rule("synthetic", ("lsd",), "expressions learnt from synthetic faces", "arXiv 2207.01138, the challenge's aim"),
)
EDITIONS: dict[str, tuple[Rule, ...]] = {
    "abaw4": (*_mtl(4), *LSD),
    "abaw5": _uni_task(5),
    "abaw6": _uni_task(6),
    "abaw7": _mtl(7),
    "abaw8": _uni_task(8),
    "abaw9": _uni_task(9, ("va",)),
    "abaw10": _uni_task(10),
    "abaw11": _mtl(11),
}


def latest(track: str) -> str | None:
    """The last edition that had a track and whose rules are known; None where there is none."""
    held = [name for name, rules in EDITIONS.items() if any(track in rule.tracks for rule in rules)]
    return held[-1] if held else None
