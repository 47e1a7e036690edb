"""params.yaml as a whole: every section with its owner's class, and what must agree between them.

The stage `check_params` checks the file with this, so that a slip in the last section is told before hours of work;
every other stage reads its own sections alone (`core/params.py`) and cannot reach this file.
"""

from pathlib import Path
from typing import Any

from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator, model_validator

from pipeline.abaw.rules import external_refusal, pretraining_refusal, training_refusal
from pipeline.abaw.tracks import TRACKS, TRAINED_TRACKS
from pipeline.abaw.writer import Submit
from pipeline.backbones.encoder import Vit
from pipeline.backbones.features import CacheFeatures
from pipeline.core.errors import MienError
from pipeline.core.graph import Fold, Graph, dataset_of, feature_folder
from pipeline.core.params import Section, read_tree, validated
from pipeline.core.paths import ARTIFACTS, EXTERNAL, FACES, FEATURES, FEEDBACK, SYSTEMS
from pipeline.core.retrain import Retrain
from pipeline.ensemble.fit import Ensemble
from pipeline.faces.detector import DetectAlign
from pipeline.release.files import Data
from pipeline.systems.named import settings_class
from pipeline.systems.teacher import PseudoLabel
from pipeline.train.fit import Finetune
from pipeline.train.mae import PretrainMae


class Params(Section):
    """The whole of params.yaml."""

    data: Data
    graph: Graph
    detect_align: DetectAlign
    vit: Vit
    pretrain_mae: PretrainMae
    cache_features: CacheFeatures
    pseudo_label: PseudoLabel
    finetune: Finetune
    systems: dict[str, SerializeAsAny[Section]] = Field(min_length=1)
    ensemble: Ensemble
    submit: Submit
    retrain: Retrain = Retrain()

    @field_validator("systems", mode="before")
    @classmethod
    def _own_sections(cls, systems: Any, info: ValidationInfo) -> Any:
        """Each system's section in the class that stands in its own file."""
        if not isinstance(systems, dict):
            return systems
        path = (info.context or {}).get("path")
        return {name: validated(_class_of(name), tree, f"systems.{name}", path) for name, tree in systems.items()}

    @model_validator(mode="after")
    def _agree(self) -> "Params":
        check_graph(self)
        return self


def _class_of(system: str) -> type[Section]:
    try:
        return settings_class(system)
    except MienError as error:  # for pydantic, which then tells the key
        raise ValueError(str(error)) from None


def check_graph(params: Params) -> None:
    """What one section says of another: raises `ValueError` with the first thing that does not fit."""
    graph, ensemble = params.graph, params.ensemble
    for name, training in graph.trainings.items():
        where = f"graph.trainings.{name}"
        if training.track not in TRAINED_TRACKS:
            raise ValueError(f"{where}: there is no track {training.track}; use one of: {', '.join(TRAINED_TRACKS)}")
        if training.system not in params.systems:
            raise ValueError(f"{where}: systems has no section {training.system}")
        if training.faces != TRACKS[training.track].dataset:
            raise ValueError(f"{where}: faces of {training.track.upper()} are {TRACKS[training.track].dataset}")
    for track in graph.tracks:
        if track not in TRAINED_TRACKS:
            raise ValueError(f"graph.tracks: there is no track {track}; use one of: {', '.join(TRAINED_TRACKS)}")
        for name, folders in graph.encoders.items():
            released = [Path(folder).name for folder in folders if not Path(folder).is_relative_to(EXTERNAL)]
            if refusal := pretraining_refusal(released, track):
                raise ValueError(f"graph.encoders.{name}: {refusal}")
    made = {(training.track, training.member) for training in graph.trainings.values()}
    if len(made) < len(graph.trainings):
        raise ValueError("graph.trainings: two trainings of a track have the same member name")
    made |= {(track, "feedback") for track in graph.feedback}
    for track in graph.tracks:
        if not ensemble.trainings_of(track):
            raise ValueError(f"ensemble.members has no {track}, which graph.tracks wants")
    for track in ensemble.members:
        for name in (name for names in ensemble.trainings_of(track).values() for name in names):
            if (track, name) not in made:
                known = ", ".join(sorted(member for owner, member in made if owner == track)) or "none"
                raise ValueError(f"ensemble.members.{track}: nothing in graph makes {name}; there are: {known}")
    for name, line in graph.features.items():
        cached = params.cache_features.backbones.get(name)
        if cached is None:
            raise ValueError(f"graph.features.{name}: cache_features.backbones has no section {name}")
        if cached.weights:
            raise ValueError(f"cache_features.backbones.{name}.weights: name the file in graph.features.{name} instead")
        for dataset in cached.datasets:
            if not (FACES / dataset).is_relative_to(line.faces):
                raise ValueError(f"cache_features.backbones.{name}: {dataset} is not below graph's {line.faces}")
    for track, member in graph.pool_labellers.items():
        if not any((t.system, t.track, t.member) == ("dtm", track, member) for t in graph.trainings.values()):
            raise ValueError(f"graph.pool_labellers.{track}: no training of dtm makes {member}")
    for name, training in graph.trainings.items():
        if training.fold and training.track == "lsd":
            raise ValueError(f"graph.trainings.{name}: LSD has pictures and no recordings, so it has no folds")

    check_temporal(graph)
    check_external(graph)


def check_temporal(graph: Graph) -> None:
    """Temporal trainings: whether there are recordings, and whether a track's rules allow its features."""
    for name, training in graph.trainings.items():
        where = f"graph.trainings.{name}"
        if training.system != "temporal":
            continue
        if training.track == "lsd":
            raise ValueError(f"{where}: LSD has pictures and no recordings, so it has no temporal model")
        for path in (Path(path) for path in training.needs):
            features = feature_folder(path)
            line = graph.features.get(features.backbone) if features else None
            source = Path(line.weights) if line else FEATURES
            learnt = source.is_relative_to(SYSTEMS) or source.is_relative_to(FEEDBACK)
            owner = source.relative_to(ARTIFACTS).parts[1] if learnt else training.track
            if training.track in ("expr", "au", "va") and owner != training.track:
                raise ValueError(f"{where}: {path} comes of a training on {owner.upper()}, which the rules forbid")
            if learnt and training.fold and fold_of(source, graph) != training.fold:
                raise ValueError(f"{where}: {path} comes of a training that has seen the fold's recordings")


def fold_of(folder: Path, graph: Graph) -> Fold | None:
    """The fold of the training whose folder it is."""
    made = {SYSTEMS / training.track / training.member: training.fold for training in graph.trainings.values()}
    return made.get(folder)


def check_external(graph: Graph) -> None:
    """External sets: whether they are, what a training takes of them, and whether the track's rules allow it."""
    for name, external in graph.external.items():
        if refusal := external_refusal(external.known_as):
            raise ValueError(f"graph.external.{name}: {refusal}")
    for folder in (Path(folder) for folders in graph.encoders.values() for folder in folders):
        if folder.is_relative_to(EXTERNAL) and dataset_of(folder) not in graph.external:
            raise ValueError(f"graph.encoders: graph.external has no {dataset_of(folder)}")
    for name, training in graph.trainings.items():
        where = f"graph.trainings.{name}.further"
        for other in training.further:
            if other not in graph.external:
                known = ", ".join(graph.external) or "none"
                raise ValueError(f"{where}: graph.external has no {other}; it has: {known}")
            if refusal := training_refusal(graph.external[other].known_as, training.track):
                raise ValueError(f"{where}: {refusal}")
        if sum(training.further.values()) > 1:
            raise ValueError(f"{where}: the shares of a batch make more than 1")


def load_params(path: Path | None = None) -> Params:
    """Read and check the whole of a params file; `MienError` names the file, the key and the mend."""
    return validated(Params, read_tree(path), "", path)
