"""`mien init`: a params.yaml that holds exactly what the data support, with a reason for each thing left out.

It starts from shipped params and keeps their comments; what changes is `data`, `graph`, and the few settings that name
data. Sizes: `gpu` has the published ones, `laptop` those of the demo with budgets that follow the data, `demo` the same
cut to the demo's few minutes. `build` is a pure function of what a release holds, so that it can be tried without one.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from pipeline.abaw.tracks import TRACKS, TRAINED_TRACKS
from pipeline.core.errors import MienError
from pipeline.core.files import atomic_path
from pipeline.core.paths import ENCODER, FACES, FEATURES, FEEDBACK, PSEUDO, SYSTEMS
from pipeline.release.discover import Release

SIZES = {"laptop": Path("params.yaml"), "demo": Path("params.yaml"), "gpu": Path("params/affwild2.yaml")}
# What `vit` is where nothing can be pretrained on: a face ResNet from random weights.
SMALL = {
    "name": "face_resnet",
    "image_pixels": 64,
    "channels": [12, 24, 64],
    "units": [1, 1, 2],
    "readout_grid": 4,
    "standardise": True,
}
UNPRETRAINED = {"laptop": SMALL, "demo": SMALL, "gpu": {"name": "face_resnet", "image_pixels": 112}}
POOL, LSD = "extra", TRACKS["lsd"].dataset


@dataclass(frozen=True)
class Held:
    """What a release holds, as far as a graph depends on it: tracks with labels, with a template, and a pool."""

    labels: frozenset[str]
    templates: frozenset[str]
    pool: bool

    @classmethod
    def of(cls, release: Release) -> "Held":
        """Looked up in a release."""
        labels: set[str] = {annotation.track for annotation in release.annotations}
        labels |= {"mtl"} if release.mtl_lists else set()
        labels |= {"lsd"} if release.lsd_classes else set()
        templates = {track for track in TRAINED_TRACKS if release.template(track)}
        return cls(frozenset(labels), frozenset(templates), bool(release.unlabelled))


@dataclass
class Plan:
    """The graph for some data, settings by dotted name that differ with them, and what was left out, with reasons."""

    graph: dict[str, Any] = field(default_factory=dict)
    members: dict[str, list[str]] = field(default_factory=dict)
    datasets: dict[str, list[str]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def wanted_tracks(held: Held, wanted: Sequence[str], plan: Plan) -> list[str]:
    """Tracks that the data support, among those asked for; a missing template or label is told."""
    tracks = []
    for track in TRAINED_TRACKS:
        if wanted and track not in wanted:
            continue
        if track in held.labels and track in held.templates:
            tracks.append(track)
        elif track in held.labels:
            plan.left_out.append(f"{track.upper()}: labels and no template; add the official test list to submit")
        elif track in held.templates:
            plan.left_out.append(f"{track.upper()}: a template and no labels to train on")
        elif wanted:
            plan.left_out.append(f"{track.upper()}: neither labels nor a template")
    if not tracks:
        reasons = "; ".join(plan.left_out) or "no labels and no template of any track"
        raise MienError(f"nothing can be trained and submitted: {reasons}")
    return tracks


def build(held: Held, wanted: Sequence[str] = ()) -> Plan:
    """What to train on what: every system of the shipped graph that the data support, and `vit` where none does."""
    plan = Plan()
    tracks = wanted_tracks(held, wanted, plan)
    sources = [dataset for dataset, there in ((POOL, held.pool), (LSD, "lsd" in held.labels)) if there]
    encoder = [ENCODER.as_posix()] if sources else []
    if not sources:
        plan.left_out.append("MAE pretraining: neither an unlabelled pool nor LSD; `vit` is a face ResNet instead")
    elif len(sources) == 1:
        plan.left_out.append(f"half of MAE pretraining: {sources[0]} alone")
    teacher = bool(sources) and "au" in held.labels and ("lsd" in tracks or ("au" in tracks and held.pool))
    feedback = "expr" in tracks
    labeller = feedback and held.pool
    plan.graph = {
        "tracks": tracks,
        "external": {},
        "encoders": {"mae": _two([(FACES / source).as_posix() for source in sources])} if sources else {},
        "features": {},
        "au_teachers": ["mae"] if teacher else [],
        "pool_labellers": {},
        "feedback": {},
        "trainings": {},
        "shown": _two([*encoder, *([PSEUDO.as_posix()] if teacher or labeller else [])] or [SYSTEMS.as_posix()]),
    }
    if teacher or "lsd" in tracks:  # the teacher's features, and the appearance targets of `multitask`
        plan.graph["features"]["mae"] = {"weights": ENCODER.as_posix(), "faces": FACES.as_posix()}
        plan.datasets["mae"] = [*(["aff-wild2"] if teacher else []), *sources]
    if feedback:
        weights, seen_faces = (FEEDBACK / "expr").as_posix(), (FACES / "aff-wild2").as_posix()
        faces = (FACES / POOL).as_posix() if held.pool else seen_faces
        needs = [faces, *(encoder or [faces])]
        plan.graph["feedback"]["expr"] = {"faces": "aff-wild2", "needs": needs, "features": "feedback"}
        plan.graph["features"]["feedback"] = {"weights": weights, "faces": seen_faces}
        plan.graph["pool_labellers"] = {"expr": "dtm"} if labeller else {}
        plan.datasets["feedback"] = ["aff-wild2"]
    _trainings(plan, held, tracks, encoder, teacher)
    return plan


def _two(entries: Sequence[str]) -> list[str]:
    """Two entries from one or two."""
    return [entries[0], entries[-1]]


def _trainings(plan: Plan, held: Held, tracks: list[str], encoder: list[str], teacher: bool) -> None:
    """A line for each system that the data support; the ensemble's members go with them."""
    pool = [(FACES / POOL).as_posix()] if held.pool else []
    taught = [(PSEUDO / "au" / f"{POOL}.parquet").as_posix()] if teacher and pool else []
    if "expr" in tracks:
        plan.members["expr"] = ["feedback"]
        _add(plan, "dtm", "expr", pool)
        _add(plan, "vit", "expr", encoder)
        if not pool:
            plan.left_out.append("the pool of dtm and feedback: they train on labelled faces alone")
    if "au" in tracks:
        _add(plan, "vit", "au", [*encoder, *pool, *taught] if taught else encoder)
    if "va" in tracks:
        _add(plan, "vit", "va", encoder, balance=0.0, updates=2.0)  # as in the shipped params, which say why
    if "mtl" in tracks:
        _add(plan, "vit", "mtl", encoder)
        if encoder and "lsd" in tracks:
            _add(plan, "emma", "mtl", [*encoder, (SYSTEMS / "lsd" / "dan").as_posix()])
        else:
            plan.left_out.append("emma: no LSD to train its frozen expression network on")
    for track in (track for track in ("expr", "au", "va", "mtl") if track in tracks):
        _temporal(plan, track)
    if "lsd" in tracks:
        _add(plan, "dan", "lsd", [])
        if teacher:
            _add(plan, "au_cvt", "lsd", [(PSEUDO / "au" / f"{LSD}.parquet").as_posix()])
        else:
            plan.settings["systems.au_cvt.au_labels"] = "none"
            _add(plan, "au_cvt", "lsd", [])
            plan.left_out.append(
                "au_cvt's AU branch: no AU labels for its teacher; an OpenFace CSV would serve (au_labels)"
            )
        _add(plan, "multitask", "lsd", [*encoder, (FEATURES / "mae" / LSD).as_posix()])
        _add(plan, "cotex", "lsd", encoder)


def _temporal(plan: Plan, track: str) -> None:
    """A temporal model over the frozen backbone of the track's `vit`."""
    name, dataset = f"vit-{track}", TRACKS[track].dataset
    weights, faces = (SYSTEMS / track / "vit").as_posix(), (FACES / dataset).as_posix()
    plan.graph["features"][name] = {"weights": weights, "faces": faces}
    plan.datasets[name] = [dataset]
    _add(plan, "temporal", track, [(FEATURES / name / dataset).as_posix()])


def _add(plan: Plan, system: str, track: str, needs: Sequence[str], **own: float) -> None:
    faces = TRACKS[track].dataset
    filled = [*needs, *[needs[-1] if needs else (FACES / faces).as_posix()] * 3][:3]
    line = {"system": system, "track": track, "member": system, "faces": faces, **own, "needs": filled}
    plan.graph["trainings"][f"{system}-{track}"] = line
    plan.members.setdefault(track, []).append(system)


def write_params(plan: Plan, root: str, name: str, size: str, target: Path) -> None:
    """The shipped params of a size with this plan in them, comments kept."""
    shipped = SIZES[size]
    editor = YAML()  # keeps comments and builds no objects
    editor.width, editor.preserve_quotes = 120, True
    editor.indent(mapping=2, sequence=2, offset=0)
    try:
        tree = editor.load(shipped.read_text(encoding="utf-8"))
    except OSError as error:
        raise MienError(f"{shipped}: {error.strerror}; run from the project's root", exit_code=2) from None
    tree["data"]["root"], tree["data"]["name"] = root, name
    graph = tree["graph"]
    for key, value in plan.graph.items():
        graph[key] = _in_lines(value) if key == "trainings" else _flowing(value)
    backbones = tree["cache_features"]["backbones"]
    for backbone in [key for key in backbones if key not in plan.datasets]:
        del backbones[backbone]
    for backbone, datasets in plan.datasets.items():
        backbones[backbone]["datasets"] = _flowing(datasets)
    if not plan.graph["encoders"]:
        tree["systems"]["vit"]["backbone"] = _flowing(UNPRETRAINED[size])
        tree["systems"]["vit"]["train"]["optimise"]["layer_decay"] = 1.0
        if size != "gpu":  # whose student has a published network
            tree["systems"]["feedback"]["spatial"]["backbone"] = _flowing(SMALL)
        _cache_unpretrained(backbones, plan, size)
    if size == "demo":
        for part in (tree["pretrain_mae"], tree["systems"]["vit"]["train"]):  # the others merge what `vit` anchors
            part["optimise"]["passes"] = 0
    for name, value in plan.settings.items():
        *above, last = name.split(".")
        functools.reduce(lambda node, key: node[key], above, tree)[last] = value
    tree["ensemble"]["members"] = _flowing(plan.members)
    with atomic_path(target) as temporary, temporary.open("w", encoding="utf-8") as file:
        editor.dump(tree, file)


def _cache_unpretrained(backbones: Any, plan: Plan, size: str) -> None:
    """The features of a trained `vit` come of the backbone that it has; they are cached as they are."""
    network = {key: value for key, value in UNPRETRAINED[size].items() if key != "standardise"}
    for name, line in plan.graph["features"].items():
        if Path(line["weights"]).name == "vit":
            backbones[name] = _flowing(network | {"datasets": plan.datasets[name]})


def _flowing(value: Any) -> Any:
    """A value that is written on one line."""
    if isinstance(value, dict):
        mapping = CommentedMap({key: _flowing(inner) for key, inner in value.items()})
        mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, list):
        sequence = CommentedSeq(value)
        sequence.fa.set_flow_style()
        return sequence
    return value


def _in_lines(value: dict[str, Any]) -> CommentedMap:
    """A mapping with one line an entry."""
    return CommentedMap({key: _flowing(inner) for key, inner in value.items()})
