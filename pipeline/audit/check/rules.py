"""The challenge's rules: what reached each checkpoint of the chain, against what an edition forbids."""

from collections.abc import Iterator

from pipeline.abaw.rules import AFFWILD2, PRETRAINING_ALLOWED
from pipeline.abaw.tracks import TRACKS
from pipeline.audit.case import Case
from pipeline.audit.claims import Claim, broken, some, unchecked, verified
from pipeline.audit.edition import EDITIONS, Rule, latest
from pipeline.audit.outside import SUFFIXES
from pipeline.audit.reach import Reached, reached_by, trains

UNKNOWN = "unknown"


def check_rules(case: Case, edition: str | None = None, track: str | None = None) -> Iterator[Claim]:
    """A claim for each checkpoint and rule; of the latest edition that has the track, unless one is named."""
    track = track or case.track
    edition = edition or latest(track)
    rules = [rule for rule in EDITIONS.get(edition or "", ()) if track in rule.tracks]
    if not rules:
        yield unchecked(f"track {track}", "rules", f"{edition or 'no edition'} has no rules for it here")
        return
    for stage, reached in reached_by(case).items():
        if trains(stage):
            for rule in rules:
                yield _claim(stage, track, f"{edition}", rule, reached)


def _claim(stage: str, track: str, edition: str, rule: Rule, reached: set[Reached]) -> Claim:
    wrong = sorted(one.told for one in reached if _breaks(rule, track, one))
    if wrong:
        return broken(stage, "rules", f'{edition}, "{rule.words}" ({rule.source}): {some(wrong)}')
    if real := sorted(one.told for one in reached if rule.kind == "synthetic" and _of_real_faces(track, one)):
        unsaid = "whether labels of real faces may, no page that was found says; ask the organisers"
        return unchecked(stage, "rules", f'{edition}, "{rule.words}" ({rule.source}): {some(real)}; {unsaid}')
    vague = sorted(one.told for one in reached if UNKNOWN in (one.dataset.lower(), one.labels.lower()))
    if vague:
        return unchecked(stage, "rules", f'{edition}, "{rule.words}": its publisher does not say: {some(vague)}')
    sets = sorted({f"{one.dataset} ({one.labels})" for one in reached})
    return verified(stage, "rules", f'{edition}, "{rule.words}": reached by {", ".join(sets) or "nothing"}')


def _is_affwild2(dataset: str) -> bool:
    return dataset.lower().replace(" ", "-").replace("_", "-") in AFFWILD2


def _of_real_faces(track: str, one: Reached) -> bool:
    """Whether it brought the labels of a track's task from other faces than the track's."""
    return one.labels in TRACKS[track].tasks and one.dataset != TRACKS[track].dataset


def _breaks(rule: Rule, track: str, one: Reached) -> bool:
    """Whether what reached a checkpoint is what the rule forbids."""
    own = TRACKS[track]
    from_outside = one.by.endswith(SUFFIXES)
    if rule.kind == "labels":  # a pre-trained file may have seen other tasks, as long as they are not Aff-Wild2's
        tasks = {task for other in TRACKS.values() for task in other.tasks}
        return one.labels in tasks - set(own.tasks) and not from_outside
    if rule.kind == "images":
        return one.dataset.lower() in AFFWILD2 - {"s-aff-wild2", own.dataset}
    if rule.kind == "synthetic" or not _is_affwild2(one.dataset):
        return False
    # the first reader of Aff-Wild2 must be a training of the track itself, not a pretraining or a file from outside
    pretrains = one.way[0].startswith("pretrain_mae") or not trains(one.way[0]) or from_outside
    return pretrains and one.dataset not in PRETRAINING_ALLOWED.get(track, set())
