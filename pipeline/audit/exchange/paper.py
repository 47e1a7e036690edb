"""The paragraph on data and models that the challenge's paper needs, and its references, from the lock alone.

LaTeX and BibTeX. Nothing is told that the chain does not show; what has no known reference is named as such.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from pipeline.audit.case import Case
from pipeline.audit.check.code import code_of
from pipeline.audit.edition import latest
from pipeline.audit.exchange.contents import is_rendered, outside_weights
from pipeline.audit.exchange.references import EDITIONS, MAE, SYSTEMS, Reference
from pipeline.audit.exchange.references import MTCNN as MTCNN_PAPER
from pipeline.audit.outside import MTCNN
from pipeline.audit.reach import IMAGES, reached_by, trains
from pipeline.core.paths import EXTRA
from pipeline.core.weights import Weights

NAMES = {"aff-wild2": "Aff-Wild2", "s-aff-wild2": "s-Aff-Wild2", "lsd": "LSD", EXTRA: "a pool of unlabelled faces"}
LABELS = {"expression": "expressions", "aus": "action units", "va": "valence and arousal", IMAGES: "faces alone"}
WORDS = {  # our own names of the systems as a reader of the paper knows them
    "vit": "a plain backbone with linear heads",
    "temporal": "a temporal encoder over frozen features",
    "au_cvt": "AU-CVT",
    "multitask": "an ensemble of multi-task networks",
    "emma": "EMMA",
    "cotex": "masked CoTEX",
    "feedback": "a student with feedback to its teacher, followed by a temporal encoder",
    "dtm": "a network with dynamic thresholds of pseudo-labels",
    "dan": "DAN",
    "mini_xception": "a published mini-Xception",
}
KEPT_LIBRARIES = ("torch", "torchvision", "timm", "onnxruntime", "insightface", "opencv-python", "scikit-learn", "av")


def paper(case: Case, edition: str | None = None) -> str:
    """The paragraph, then the BibTeX list."""
    edition = edition or latest(case.track)
    cited = references(case, edition)
    text = " ".join(
        [_opening(case, edition), _data(case), _faces(case), *_models(case), *_outside(case), _libraries(case)]
    )
    unknown = _without_reference(case, edition)
    head = [f"% no reference is known here for: {', '.join(unknown)}; add it"] if unknown else []
    return "\n".join([r"\paragraph{Data and models.}", text, "", *head, *(f"\n{one.bibtex}" for one in cited)])


def references(case: Case, edition: str | None) -> list[Reference]:
    """What to cite: the edition, the systems, pretraining, detector, weights from outside; each once."""
    found = [EDITIONS[edition]] if edition in EDITIONS else []
    found += [SYSTEMS[name] for name in systems(case) if name in SYSTEMS]
    found += [MAE] if any(stage.name.startswith("pretrain_mae") for stage in case.stages) else []
    found += [MTCNN_PAPER] if _detection(case).get("detector") == "mtcnn" else []
    found += [_weight_reference(name, entry) for name, entry in _files(case).items()]
    return list(dict.fromkeys(found))


def systems(case: Case) -> list[str]:
    """Systems of the chain's trainings, by their names in params."""
    lines = [line for stage in case.stages for line in _training(stage.params)]
    names = [str(line["system"]) for line in lines if "system" in line]
    names += ["feedback" for stage in case.stages if stage.name.startswith("finetune_temporal")]
    return sorted(set(names))


def _training(params: Any) -> Iterable[dict[str, Any]]:
    values = params.get("params.yaml", {})
    return (line for name, line in values.items() if name.startswith("graph.trainings.") and isinstance(line, dict))


def _files(case: Case) -> dict[str, Weights]:
    """Declared weights from outside but for the built-in detector's."""
    return {n: e for n, e in outside_weights(case).items() if e and not n.startswith(f"{MTCNN}/")}


def _weight_reference(name: str, entry: Weights) -> Reference:
    key = re.sub(r"[^a-z0-9]+", "", name.rpartition("/")[2].rpartition(".")[0].lower()) or "weights"
    note = f"Weights {_plain(name)} from {_plain(entry.source)}; licence: {_plain(entry.licence)}"
    return Reference(key, "weights.yaml of this project", note=f"{note}; sha256 {entry.sha256}")


def _plain(text: str) -> str:
    """Text as LaTeX takes it."""
    return re.sub(r"([_&%#$])", r"\\\1", text)


def _cite(reference: Reference | None) -> str:
    return f"~\\cite{{{reference.key}}}" if reference else ""


def _listed(parts: Iterable[str]) -> str:
    parts = list(parts)
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def _opening(case: Case, edition: str | None) -> str:
    number = (edition or "").removeprefix("abaw")
    where = f"of the ABAW{number} competition" if number else "of ABAW"
    text = f"The submission is one of the {case.track.upper()} track {where}{_cite(EDITIONS.get(edition or ''))}."
    rendered = (
        " All data are rendered faces in the official forms; the names below stand for the places that they take."
    )
    return text + (rendered if is_rendered(case) else "")


def _data(case: Case) -> str:
    """Which data sets with which labels reached a checkpoint, and how many checkpoints there are."""
    sets: dict[str, set[str]] = defaultdict(set)
    checkpoints = [(stage, reached) for stage, reached in reached_by(case).items() if trains(stage)]
    for _, reached in checkpoints:
        for one in reached:
            sets[one.dataset].add(one.labels)
    told = [f"{_plain(_name(name))} ({_listed(_labels(labels))})" for name, labels in sorted(sets.items())]
    count = f"{len(checkpoints)} training{'' if len(checkpoints) == 1 else 's'}"
    return f"The following data reached its {count}, directly or by way of other networks: {_listed(told) or 'none'}."


def _name(dataset: str) -> str:
    return NAMES.get(dataset, dataset)


def _labels(labels: set[str]) -> list[str]:
    """Labels in words; faces alone where there is no label."""
    return [LABELS.get(one, one) for one in sorted(labels - {IMAGES})] or [LABELS[IMAGES]]


def _detection(case: Case) -> dict[str, Any]:
    """The params of the faces' detection; empty where the chain has none."""
    stage = next((stage for stage in case.stages if stage.name == "detect_align"), None)
    return dict(stage.params.get("params.yaml", {}).get("detect_align", {})) if stage else {}


def _faces(case: Case) -> str:
    """How faces were found and cut."""
    values = _detection(case)
    if not values:
        return ""
    by_mtcnn = values.get("detector") == "mtcnn"
    name = f"MTCNN{_cite(MTCNN_PAPER)} in the ONNX files of the package {MTCNN}" if by_mtcnn else values.get("detector")
    sources = _listed(_plain(str(one)) for one in values.get("source") or ())
    tried = f"taken from the first of {sources} that a video has, " if sources else ""
    pixels = values.get("crop_pixels")
    detector = name if by_mtcnn else _plain(str(name))
    return f"Faces were {tried}detected by {detector} and aligned by five landmarks to {pixels} by {pixels} pixels."


def _models(case: Case) -> Iterable[str]:
    """Pretraining and systems."""
    if any(stage.name.startswith("pretrain_mae") for stage in case.stages):
        yield f"The encoder is a masked autoencoder{_cite(MAE)} that we trained."
    used = [f"{WORDS.get(name, _plain(name))}{_cite(SYSTEMS.get(name))}" for name in systems(case)]
    if used:
        yield f"We trained {_listed(used)}. Weights, smoothing and thresholds were fitted on validation data."


def _outside(case: Case) -> Iterable[str]:
    """Weights that we did not train."""
    told = [
        f"{_plain(name)}{_cite(_weight_reference(name, entry))} "
        f"({_plain(entry.licence)}; trained on {_plain(_listed(entry.trained_on) or 'data not told')})"
        for name, entry in _files(case).items()
    ]
    yield (
        f"Networks started from weights of others: {_listed(told)}."
        if told
        else ("No network started from weights of others.")
    )


def _libraries(case: Case) -> str:
    known: dict[str, str] = {}
    for stage in case.stages:
        known |= code_of(case, stage)[1]
    told = [f"{_plain(name)} {known[name]}" for name in KEPT_LIBRARIES if name in known]
    return f"Libraries: {_listed(told)}." if told else ""


def _without_reference(case: Case, edition: str | None) -> list[str]:
    """What the paper uses and nobody has a reference for here."""
    reached = {one.dataset for stage, ways in reached_by(case).items() if trains(stage) for one in ways}
    sets = [_name(name) for name in sorted(reached - {EXTRA})]
    own = [name for name in systems(case) if name not in SYSTEMS and name not in ("vit", "temporal")]
    paper_of = [] if not edition or edition in EDITIONS else [f"the paper of {edition}"]
    return [*paper_of, *sets, *own]
