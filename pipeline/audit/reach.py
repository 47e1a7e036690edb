"""What reached each checkpoint: data sets with the types of their labels, through which stages.

A data set reaches a training by the faces and the labels that its line names, by weights from outside, and by whatever
reached a checkpoint, a teacher or pseudo-labels that it reads.
"""

from dataclasses import dataclass
from pathlib import Path

from pipeline.abaw.rules import EXTERNAL_SETS
from pipeline.abaw.tracks import TRACKS
from pipeline.audit.case import Case
from pipeline.audit.lineage import is_below, origin
from pipeline.audit.locks import Stage
from pipeline.audit.outside import MTCNN, champion_of, named_weights
from pipeline.core.graph import feature_folder
from pipeline.core.paths import EXTERNAL, FACES, LABELS

TRAINS = ("pretrain_mae", "pretrain_feedback", "finetune", "finetune_temporal", "pseudo_label_aus")
IMAGES = "images"  # a data set without its labels


@dataclass(frozen=True)
class Reached:
    """A data set and a type of its labels (`images` alone, `expression`, `aus`, `va`, ...), and the way that it took.

    `way` starts with the stage that read it and ends with the one that it reached; `by` is the path that was read.
    """

    dataset: str
    labels: str
    by: str
    way: tuple[str, ...]

    @property
    def told(self) -> str:
        """One line: what, and by which way."""
        what = f"{self.dataset} ({self.labels})"
        return f"{what} by {self.by} -> {' -> '.join(self.way)}"


def trains(stage: str) -> bool:
    """Whether a stage makes a checkpoint, or labels that a network gave."""
    return stage.partition("@")[0] in TRAINS


def reached_by(case: Case) -> dict[str, set[Reached]]:
    """What reached each stage of the chain; a cached feature carries what reached its network."""
    found: dict[str, set[Reached]] = {}
    for stage in reversed(case.stages):  # inputs first, but for a stage that two others read
        _reach(case, stage, found)
    return found


def _reach(case: Case, stage: Stage, found: dict[str, set[Reached]]) -> set[Reached]:
    if stage.name in found:
        return found[stage.name]
    own = _read(case, stage) if trains(stage.name) else set()
    own |= _outside(case, stage)
    for dep in stage.deps:
        for name, _ in origin(case.lock, dep.path).stages:
            if not is_below(dep.path, FACES.as_posix()):
                inherited = _reach(case, case.lock.stages[name], found)
                own |= {Reached(r.dataset, r.labels, r.by, (*r.way, stage.name)) for r in inherited}
    found[stage.name] = _shortest(own)
    return found[stage.name]


def _shortest(all_ways: set[Reached]) -> set[Reached]:
    """Of each data set and label type the shortest way."""
    best: dict[tuple[str, str], Reached] = {}
    for one in sorted(all_ways, key=lambda r: (len(r.way), r.told)):
        best.setdefault((one.dataset, one.labels), one)
    return set(best.values())


def _read(case: Case, stage: Stage) -> set[Reached]:
    """What a training reads itself: faces, labels, external sets, features of a data set's faces."""
    found = set()
    for dep in stage.deps:
        path = Path(dep.path)
        if path.is_relative_to(FACES) and path != FACES:
            found.add((path.relative_to(FACES).parts[0], IMAGES, dep.path))
        elif features := feature_folder(path):
            found.add((features.dataset, IMAGES, dep.path))
        elif path.parent == LABELS and path.stem in TRACKS:
            track = TRACKS[path.stem]
            found |= {(track.dataset, task, dep.path) for task in track.tasks} | {(track.dataset, IMAGES, dep.path)}
        elif path.is_relative_to(EXTERNAL):
            known_as = _known_as(case, path.relative_to(EXTERNAL).parts[0])
            labelled = _labels_read(stage, known_as) if path.name != FACES.name else set()
            found |= {(known_as, task, dep.path) for task in labelled} | {(known_as, IMAGES, dep.path)}
    return {Reached(dataset, labels, by, (stage.name,)) for dataset, labels, by in found}


def _labels_read(stage: Stage, known_as: str) -> set[str]:
    """Label types that a training takes from an external set: its own track's, where the set has them."""
    line = stage.params.get("params.yaml", {}).get(f"graph.trainings.{stage.name.partition('@')[2]}", {})
    held = set(EXTERNAL_SETS.get(known_as.lower(), frozenset()))
    own = set(TRACKS[line["track"]].tasks) if line.get("track") in TRACKS else held
    return held & own or held


def _known_as(case: Case, name: str) -> str:
    """The field's name of an external set, as the params of its stage say."""
    stage = case.lock.stages.get(f"external_faces@{name}")
    values = stage.params.get("params.yaml", {}).get(f"graph.external.{name}", {}) if stage else {}
    return str(values.get("known_as", name))


def _outside(case: Case, stage: Stage) -> set[Reached]:
    """What the weights from outside have seen; a detector trains nothing."""
    found = set()
    for name, entry in named_weights(case, stage).items():
        if entry is None or name.startswith(f"{MTCNN}/") or stage.name.partition("@")[0] == "detect_align":
            continue
        by = f"{name} ({entry.source})" if champion_of(entry) else name  # the project's own, and no file from outside
        for dataset in entry.trained_on:
            found |= {Reached(dataset, labels, by, (stage.name,)) for labels in entry.label_types or [IMAGES]}
    return found
