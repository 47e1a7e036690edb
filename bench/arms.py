"""The arms of the ablation: systems with and without their ideas, and the controls that all of them have to beat.

An arm is trained and judged for one seed by `measure`, which gives decisions on the test list under a name each: what
the system answers, and whatever else a comparison asks of the same run; and the scores behind them, from which
`bench/afterwards.py` has more.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import nn

from bench.afterwards import BY_COLUMN, BY_PRIOR, GATED, ONE_HALF, OWN, SHRUNK, SMOOTHED
from bench.controls import constant_answer, encoder_of, frozen_scores, random_answer
from bench.jobs import EVERYTHING, recipe
from models.system import System, Trainee
from pipeline.abaw.tracks import TRACKS
from pipeline.backbones.features import feature_table
from pipeline.core.graph import Fold
from pipeline.core.parquet import write_parquet
from pipeline.core.paths import FEATURES, PSEUDO
from pipeline.faces.crops import Crops
from pipeline.settings import Params
from pipeline.systems.feedback import Settings, student_extractor
from pipeline.systems.temporal import SequenceData, temporal_recipe
from pipeline.tables.features import Features
from pipeline.tables.scores import JUDGING_GRID, Tasks, decide, fill_missing
from pipeline.tables.thresholds import best_thresholds
from pipeline.train.budget import scaled
from pipeline.train.data import Axis
from pipeline.train.fit import Judged, Recipe, best_scores, fit, judge, seed_weights, validation_score
from pipeline.train.infer import predict_axis

WHOLE, ONE_NETWORK, TEMPORAL, STRAIGHT, ALL_SEEDS = "whole", "one network", "temporal", "not mirrored", "mean of seeds"
SNAPSHOTS = "mean of snapshots"


@dataclass(frozen=True)
class Arm:
    """A system for a track with some of its params changed, or a control.

    `start` names the arm whose trained ViT it starts from. `control` is `frozen`, a linear head on the encoder,
    `constant` or `chance`; `pretrained` False starts from random weights. `updates` are over two of its system's: 1 is
    half as many, 4 twice (as the demo has it for VA). With `folds` the answer is the mean of as many trainings, each
    judged on another fold. With `snapshots` there is another, the mean of the network at so many of its last
    evaluations (as Huang et al. 2017, but without their cycles).
    """

    system: str
    track: str
    changes: dict[str, Any] = field(default_factory=dict)
    needs: tuple[Path, ...] = ()  # what it reads beside that which every arm does: a teacher's labels, cached features
    pretrained: bool = True
    start: str | None = None
    control: str | None = None
    updates: int = 2
    folds: int = 0
    snapshots: int = 0


def features(track: str, *backbones: str) -> tuple[Path, ...]:
    """The cached features of a track's faces by some backbones."""
    return tuple(FEATURES / backbone / TRACKS[track].dataset for backbone in backbones)


NO_APPEARANCE = dict.fromkeys(("landmarks", "pose", "identity", "age", "sex"), 0.0)
UNBALANCED = {"train.balance": 0.0}  # as the demo's line says
AUS, POOL_AUS = PSEUDO / "au" / "lsd.parquet", PSEUDO / "au" / "extra.parquet"
ARMS = {
    "dan": Arm("dan", "lsd"),
    "au_cvt": Arm("au_cvt", "lsd", needs=(AUS,)),
    "au_cvt, no AUs": Arm("au_cvt", "lsd", {"au_weight": 0.0}, (AUS,)),
    "multitask": Arm("multitask", "lsd"),
    "multitask, no appearance": Arm("multitask", "lsd", {"appearance_weights": NO_APPEARANCE}),
    "emma": Arm("emma", "mtl"),
    "emma, VA from features": Arm("emma", "mtl", {"va_from": "features"}),
    "cotex": Arm("cotex", "lsd"),
    "cotex, no consistency": Arm("cotex", "lsd", {"consistency_weight": 0.0}),
    "cotex, a tenth of the consistency": Arm("cotex", "lsd", {"consistency_weight": 10.0}),
    "cotex, no mask": Arm("cotex", "lsd", {"mask_ratio": 0.0}),
    "cotex, neither": Arm("cotex", "lsd", {"mask_ratio": 0.0, "consistency_weight": 0.0}),
    "feedback": Arm("feedback", "expr"),
    "feedback, none fed back": Arm("feedback", "expr", {"spatial.feedback": False}),
    "dtm": Arm("dtm", "expr"),
    "dtm, fixed threshold": Arm("dtm", "expr", {"threshold": "fixed"}),
    "dtm, self-adaptive threshold": Arm("dtm", "expr", {"threshold": "self_adaptive"}),
    "dtm, labelled alone": Arm("dtm", "expr", {"unlabelled_weight": 0.0}),
    "vit": Arm("vit", "lsd"),
    "vit, random start": Arm("vit", "lsd", pretrained=False),
    "vit, supervised start": Arm("vit", "lsd", start="vit, MTL"),
    "vit, AU": Arm("vit", "au", needs=(POOL_AUS,)),
    "vit, AU, pseudo-labels": Arm("vit", "au", {"pseudo_fraction": 0.2}, (POOL_AUS,)),
    "vit, EXPR": Arm("vit", "expr"),
    "vit, VA": Arm("vit", "va", UNBALANCED, updates=4),
    "vit, VA, sampled by rarity": Arm("vit", "va", updates=4),
    "vit, VA, last weights": Arm("vit", "va", UNBALANCED | {"train.optimise.ema_decay": 0.0}, updates=4),
    "vit, last weights": Arm("vit", "lsd", {"train.optimise.ema_decay": 0.0}),
    "vit, EXPR, five folds": Arm("vit", "expr", folds=5),
    "vit, VA, five folds": Arm("vit", "va", UNBALANCED, folds=5, updates=4),
    "vit, MTL": Arm("vit", "mtl"),
    "snapshots, LSD": Arm("vit", "lsd", snapshots=3),
    "snapshots, EXPR": Arm("vit", "expr", snapshots=3),
    "snapshots, VA": Arm("vit", "va", UNBALANCED, snapshots=3, updates=4),
    "temporal, EXPR": Arm("temporal", "expr", needs=features("expr", "vit-expr")),
    "temporal, AU": Arm("temporal", "au", needs=features("au", "vit-au")),
    "temporal, VA": Arm("temporal", "va", needs=features("va", "vit-va")),
    "temporal, VA, MAE joined": Arm("temporal", "va", needs=features("va", "vit-va", "mae")),
    "temporal, MTL": Arm("temporal", "mtl", needs=features("mtl", "vit-mtl")),
}
# whose score is looked at over updates: two that a linear head on a frozen encoder had beaten, one whose idea harmed
BUDGETED = ("dan", "vit, VA", "cotex")
HALF, TWICE = "half the updates", "twice the updates"
ARMS |= {f"{name}, {HALF}": replace(ARMS[name], updates=ARMS[name].updates // 2) for name in BUDGETED}
ARMS |= {
    f"{name}, {TWICE}": replace(ARMS[name], updates=2 * ARMS[name].updates)
    for name in (*BUDGETED, "cotex, no consistency")
}
CONTROLS = {
    f"{name}, {track.upper()}": Arm("vit", track, pretrained=pretrained, control=control)
    for name, control, pretrained in (
        ("frozen random encoder", "frozen", False),
        ("frozen MAE", "frozen", True),
        ("best constant", "constant", False),
        ("chance", "chance", False),
    )
    for track in ("lsd", "expr", "au", "va", "mtl")
}
# what the demo trains: an arm, and what of it is an answer of its own
TRAINED = [
    *((name, WHOLE) for name in ("dan", "au_cvt", "multitask", "cotex", "vit")),
    *((name, WHOLE) for name in ("dtm", "feedback", "emma", "vit, AU", "vit, VA", "vit, MTL")),
    ("vit, EXPR", WHOLE),
    *((f"temporal, {track}", WHOLE) for track in ("EXPR", "AU", "VA", "MTL")),
    ("feedback", TEMPORAL),
]
TIMED = [("dtm", "expr"), ("vit, AU", "au"), ("vit, VA", "va"), ("vit, MTL", "mtl"), ("emma", "mtl")]
FRAME_WISE = [*((name, "lsd") for name in ("dan", "au_cvt", "multitask", "cotex", "vit")), *TIMED]
EXPRESSIVE = [(name, track) for name, track in FRAME_WISE if track not in ("au", "va")]
UNITS = [("vit, AU", "au"), ("vit, MTL", "mtl"), ("emma", "mtl")]
# idea, metric, what stands with and without it: an arm and which of its answers
FED, UNFED = "feedback", "feedback, none fed back"
COMPARISONS = [
    ("AU supervision", "lsd", ("au_cvt", WHOLE), ("au_cvt, no AUs", WHOLE)),
    ("appearance branch", "lsd", ("multitask", WHOLE), ("multitask, no appearance", WHOLE)),
    ("ensemble of networks, not one", "lsd", ("multitask", WHOLE), ("multitask", ONE_NETWORK)),
    ("VA from scores, not features", "va", ("emma", WHOLE), ("emma, VA from features", WHOLE)),
    ("VA from scores, not features", "mtl", ("emma", WHOLE), ("emma, VA from features", WHOLE)),
    ("JS consistency, under masks", "lsd", ("cotex", WHOLE), ("cotex, no consistency", WHOLE)),
    (
        "a tenth of JS consistency, under masks",
        "lsd",
        ("cotex, a tenth of the consistency", WHOLE),
        ("cotex, no consistency", WHOLE),
    ),
    (
        "JS consistency, under masks, twice the updates",
        "lsd",
        (f"cotex, {TWICE}", WHOLE),
        (f"cotex, no consistency, {TWICE}", WHOLE),
    ),
    ("JS consistency, no masks", "lsd", ("cotex, no mask", WHOLE), ("cotex, neither", WHOLE)),
    ("masked views, with JS", "lsd", ("cotex", WHOLE), ("cotex, no mask", WHOLE)),
    ("masked views, no JS", "lsd", ("cotex, no consistency", WHOLE), ("cotex, neither", WHOLE)),
    ("feedback to the teacher", "expr", (FED, WHOLE), (UNFED, WHOLE)),
    ("feedback to the teacher, temporal", "expr", (FED, TEMPORAL), (UNFED, TEMPORAL)),
    ("temporal encoder, not frame by frame", "expr", (FED, TEMPORAL), (FED, WHOLE)),
    ("temporal encoder, none fed back", "expr", (UNFED, TEMPORAL), (UNFED, WHOLE)),
    ("temporal model, not frame by frame", "expr", ("temporal, EXPR", WHOLE), ("vit, EXPR", WHOLE)),
    ("temporal model, not frame by frame", "au", ("temporal, AU", WHOLE), ("vit, AU", WHOLE)),
    ("temporal model, not frame by frame", "va", ("temporal, VA", WHOLE), ("vit, VA", WHOLE)),
    ("two backbones joined, not one", "va", ("temporal, VA, MAE joined", WHOLE), ("temporal, VA", WHOLE)),
    ("temporal model, not frame by frame", "mtl", ("temporal, MTL", WHOLE), ("vit, MTL", WHOLE)),
    ("dynamic, not fixed threshold", "expr", ("dtm", WHOLE), ("dtm, fixed threshold", WHOLE)),
    ("dynamic, not self-adaptive threshold", "expr", ("dtm", WHOLE), ("dtm, self-adaptive threshold", WHOLE)),
    ("unlabelled faces at all", "expr", ("dtm", WHOLE), ("dtm, labelled alone", WHOLE)),
    ("pseudo-labelled faces for AUs", "au", ("vit, AU, pseudo-labels", WHOLE), ("vit, AU", WHOLE)),
    ("MAE pretraining", "lsd", ("vit", WHOLE), ("vit, random start", WHOLE)),
    ("MAE pretraining, encoder frozen", "lsd", ("frozen MAE, LSD", WHOLE), ("frozen random encoder, LSD", WHOLE)),
    ("supervised pretraining", "lsd", ("vit, supervised start", WHOLE), ("vit, random start", WHOLE)),
    ("mean of weights (EMA)", "lsd", ("vit", WHOLE), ("vit, last weights", WHOLE)),
    ("mean of weights (EMA)", "va", ("vit, VA", WHOLE), ("vit, VA, last weights", WHOLE)),
    ("mean of five folds, not one training", "expr", ("vit, EXPR, five folds", WHOLE), ("vit, EXPR", WHOLE)),
    ("mean of five folds, not one training", "va", ("vit, VA, five folds", WHOLE), ("vit, VA", WHOLE)),
    *(
        ("mean of three snapshots, not the best step", track, (name, SNAPSHOTS), (name, WHOLE))
        for name, track in (("snapshots, LSD", "lsd"), ("snapshots, EXPR", "expr"), ("snapshots, VA", "va"))
    ),
    ("frames as they come, not by rarity", "va", ("vit, VA", WHOLE), ("vit, VA, sampled by rarity", WHOLE)),
    *(("face and mirror", track, (name, WHOLE), (name, STRAIGHT)) for name, track in FRAME_WISE),
    *(("smoothing in time", track, (name, SMOOTHED), (name, OWN)) for name, track in TIMED),
    *(("a window for each column", track, (name, BY_COLUMN), (name, SMOOTHED)) for name, track in TIMED),
    *(("scores over the class prior", track, (name, BY_PRIOR), (name, OWN)) for name, track in EXPRESSIVE),
    ("sure frames from a frame-wise model", "expr", ("temporal, EXPR", GATED), ("temporal, EXPR", OWN)),
    *(("AU thresholds fitted", track, (name, OWN), (name, ONE_HALF)) for name, track in UNITS),
    *(("AU thresholds shrunk", track, (name, SHRUNK), (name, OWN)) for name, track in UNITS),
    *(("mean of all seeds", track, (name, ALL_SEEDS), (name, OWN)) for name, track in FRAME_WISE),
    *((TWICE, ARMS[name].track, (f"{name}, {TWICE}", WHOLE), (name, WHOLE)) for name in BUDGETED),
]


@dataclass
class Measured:
    """A run: its score on validation, its decisions on the test list by name (`bench/paired.py`: `Answers`), and its
    scores of the judged rows of validation and of the test list, without gaps.
    """

    validation: float
    answers: dict[str, list[Tasks]]
    scores: dict[str, Tasks] = field(default_factory=dict)


def changed(params: Params, arm: Arm, seed: int) -> Params:
    """The params of one run."""
    tree = params.model_dump()
    tree["finetune"]["seed"] = seed
    for path, value in arm.changes.items():
        *parents, last = path.split(".")
        node = tree["systems"][arm.system]
        for parent in parents:
            node = node[parent]
        if last not in node:
            raise KeyError(path)
        node[last] = value
    made = Params.model_validate(tree)
    if arm.updates != 2:
        made.systems[arm.system] = budgeted(made.systems[arm.system], arm.updates)
    return made


def budgeted(settings: Any, updates: int) -> Any:
    """A system's settings with every count of steps times `updates` over 2, however many faces there are."""
    optimise = settings.train.optimise.model_copy(update={"passes": 0.0})
    fixed = settings.model_copy(update={"train": settings.train.model_copy(update={"optimise": optimise})})
    return scaled(fixed, updates, 2)


def decided(data: Judged, judged: Tasks, test: Tasks) -> Tasks:
    """Decisions on the test list, AUs at the thresholds that suit the judged rows of validation best."""
    limits: np.ndarray | float = 0.5
    if "aus" in test:
        filled = filled_scores(data.judged, judged)["aus"]
        limits = np.array(best_thresholds(data.validation_labels["aus"], filled, JUDGING_GRID))
    return decide(filled_scores(data.test, test), limits)


def filled_scores(axis: Axis, scores: Tasks) -> Tasks:
    """Rows without a face have their neighbours' scores."""
    return fill_missing(axis.table, scores, axis.present)


def measure(arms: dict[str, Arm], name: str, params: Params, folder: Path) -> Measured:
    """Train one arm, or fit a control, at params that have its seed; checkpoints lie in `folder`."""
    arm = arms[name]
    if arm.control in ("constant", "chance"):
        answer = constant_answer(arm.track) if arm.control == "constant" else random_answer(arm.track, params)
        return Measured(float("nan"), {WHOLE: [answer]})
    if arm.control:
        seen, judged, test = frozen_scores(arm.track, encoder_of(params, arm.pretrained))
        score = judge(arm.track, seen.judged, seen.validation_labels, judged)["score"]
        return Measured(score, {WHOLE: [decided(seen, judged, test)]})
    if arm.folds:
        return folds_together(arm, params, folder)
    if arm.snapshots:
        return with_snapshots(arm, params, folder)
    made, system = trained(arms, name, params, folder)
    data, best = made.data, best_scores(made, system)
    test = made.scores(system, data.test)
    answers = {WHOLE: [decided(data, best, test)]}
    if arm.system != "temporal":
        answers[STRAIGHT] = [straight(system, data, params)]
    if arm.system == "multitask":
        answers[ONE_NETWORK] = single_networks(system, made)
    if arm.system == "feedback":
        answers[TEMPORAL] = [temporal(system, params, folder / "temporal")]
    scores = {"judged": filled_scores(data.judged, best), "test": filled_scores(data.test, test)}
    return Measured(validation_score(made, best)["score"], answers, scores)


def folds_together(arm: Arm, params: Params, folder: Path) -> Measured:
    """The mean of what the trainings of all folds say of the test list; each is judged on its own fold."""
    parts = []
    for number in range(arm.folds):
        seed_weights(params.finetune)
        made = recipe(arm.system, arm.track, params, fold=Fold(number=number, of=arm.folds))
        fold = folder / str(number)
        system, _ = fit(f"fold {number}", made, params.finetune, fold, lambda metrics, step: None)
        parts.append(filled_scores(made.data.test, made.scores(system, made.data.test)))
    return Measured(float("nan"), {WHOLE: [decide(mean_tasks(parts))]})


def with_snapshots(arm: Arm, params: Params, folder: Path) -> Measured:
    """What a training's best step says, and the mean of what it says at its last evaluations."""
    shutil.rmtree(folder, ignore_errors=True)  # from the start: a checkpoint has no snapshots
    seed_weights(params.finetune)
    made = recipe(arm.system, arm.track, params)
    seen: list[tuple[Tasks, Tasks]] = []

    def keep(_: Trainee, averaged: Trainee) -> dict[str, float]:
        seen.append((made.scores(averaged, made.data.judged), made.scores(averaged, made.data.test)))
        return {}

    made.after_epoch, made.epoch_steps = keep, made.train.evaluate_every_steps
    system, _ = fit("snapshots", made, params.finetune, folder, lambda metrics, step: None)
    best = best_scores(made, system)
    together = [mean_tasks(side) for side in zip(*seen[-arm.snapshots :], strict=True)]
    answers = {WHOLE: (best, made.scores(system, made.data.test)), SNAPSHOTS: together}
    told = {which: [decided(made.data, *sides)] for which, sides in answers.items()}
    return Measured(validation_score(made, best)["score"], told)


def mean_tasks(parts: Sequence[Tasks]) -> Tasks:
    """The mean of several trainings' scores."""
    return {task: np.mean([part[task] for part in parts], axis=0) for task in parts[0]}


def trained(arms: dict[str, Arm], name: str, params: Params, folder: Path) -> tuple[Recipe, Any]:
    """The recipe of an arm and what it trains, from what the arm starts from."""
    arm = arms[name]
    start = None if arm.start is None else trained(arms, arm.start, params, folder / "start")[1]
    seed_weights(params.finetune)
    needs = [*EVERYTHING, *arm.needs]
    made = recipe(arm.system, arm.track, params, needs, arm.pretrained and start is None)
    if start is not None:
        _trunk(made.module).load_state_dict(_trunk(start).state_dict())
    return made, fit(name, made, params.finetune, folder, lambda metrics, step: None)[0]


def _trunk(system: Any) -> nn.Module:
    return cast(System, system).get_submodule(system.backbones()[0])


def straight(system: Any, data: Any, params: Params) -> Tasks:
    """Answers by the faces alone, without their mirrors."""
    axes = (data.judged, data.test)
    shown = [predict_axis(system, data.crops, a.places, data.pixels, params.finetune.evaluate_batch) for a in axes]
    return decided(data, *shown)


def single_networks(system: Any, made: Recipe) -> list[Tasks]:
    """Answers of the ensemble's networks, each by itself."""
    every, answers = list(system.networks), []
    for network in every:
        system.networks = nn.ModuleList([network])
        answers.append(decided(made.data, {}, made.scores(system, made.data.test)))
    system.networks = nn.ModuleList(every)
    return answers


def temporal(system: Any, params: Params, folder: Path) -> Tasks:
    """Answers of the temporal encoder on this run's student."""
    crops = Crops(TRACKS["expr"].dataset)
    extractor = student_extractor(system.student.eval())
    shard = folder / "features.parquet"
    write_parquet(shard, feature_table(crops, extractor, params.cache_features.batch))
    seed_weights(params.finetune)
    settings = params.systems["feedback"]
    assert isinstance(settings, Settings)
    made = temporal_recipe(SequenceData("expr", settings.temporal, Features(shard)))
    encoder, _ = fit("temporal encoder", made, params.finetune, folder, lambda metrics, step: None)
    return decided(made.data, {}, made.scores(encoder, made.data.test))
