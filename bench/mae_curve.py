"""From how many updates on does MAE pretraining pay here? Encoders after ever longer pretraining, frozen and tuned.

Each budget is a schedule of its own, warm-up and all; 0 updates are the weights that pretraining starts from. An
encoder is read by a linear head (`bench/controls.py`) and fine-tuned as `vit` on LSD, under the same seed. Encoders and
scores are kept in .work/mae_curve/, so a killed bench goes on where it stopped.

usage: python -m bench.mae_curve [--updates 0 120 240 480 960] [--seeds 0 1]
"""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from bench.ablate import inputs_digest
from bench.arms import Arm, changed, decided
from bench.controls import encoder_of, frozen_scores
from bench.hidden import truth
from bench.jobs import recipe
from models.backbone import Backbone
from pipeline.abaw.tracks import TrackName
from pipeline.core.code import code_digest
from pipeline.core.files import write_json
from pipeline.core.tensors import save_tensors
from pipeline.settings import Params, load_params
from pipeline.tables.scores import Tasks, official_score
from pipeline.train.data import TrackData
from pipeline.train.fit import Judged, best_scores, fit, judge, seed_weights, validation_score
from pipeline.train.loop import Loop, train
from pipeline.train.mae import Pool, build_mae, epoch_indices
from pipeline.train.views import augmenter

RESULT, STORE = Path("docs/benchmarks/mae_curve.json"), Path(".work/mae_curve")
FROZEN: tuple[TrackName, ...] = ("lsd", "mtl")
Weights = dict[str, torch.Tensor]


def pretrained(params: Params, updates: int, folder: Path) -> Weights:
    """Weights of the encoder after so many updates, trained now unless they are kept in `folder`."""
    kept = folder / "encoder.safetensors"
    if not kept.is_file():
        save_tensors(kept, _pretrain(params, updates, folder).state_dict())
    return load_file(kept)


def _pretrain(params: Params, updates: int, folder: Path) -> Any:
    settings = params.pretrain_mae
    mae = build_mae(params.vit, settings)
    if not updates:
        return mae.encoder
    pool, pixels = Pool([Path(path) for path in dict.fromkeys(params.graph.encoders["mae"])]), params.vit.image_pixels
    warmup = min(settings.optimise.warmup_steps, updates // 2)
    optimise = settings.optimise.model_copy(update={"steps": updates, "warmup_steps": warmup})

    def batches(_: np.random.Generator, step: int) -> dict[str, torch.Tensor]:
        indices = epoch_indices(len(pool), optimise.batch, settings.seed, step)
        return {"images": torch.from_numpy(pool.images(indices, pixels))}

    prepare, name = augmenter(settings.augment, pixels), f"MAE, {updates} updates, seed {settings.seed}"
    loop = Loop(name, mae, batches, prepare, optimise, settings.seed, folder, lambda metrics, step: None)
    return train(loop).encoder


def frozen(track: TrackName, params: Params, weights: Weights) -> dict[str, float]:
    """Validation and hidden test score of a linear head on the encoder."""
    backbone = encoder_of(params, pretrained=False)
    _fill(backbone, weights)
    data, judged, test = frozen_scores(track, backbone)
    return _told(track, data, judged, test)


def tuned(params: Params, weights: Weights, folder: Path) -> dict[str, float]:
    """The same of `vit` fine-tuned on LSD from the encoder."""
    seed_weights(params.finetune)
    made = recipe("vit", "lsd", params, pretrained=False)
    system: Any = made.module
    _fill(system.backbone, weights)
    module, _ = fit("vit", made, params.finetune, folder / "tuned", lambda metrics, step: None)
    found = _told("lsd", made.data, best_scores(made, module), made.scores(module, made.data.test))
    return found | {"validation": validation_score(made, best_scores(made, module))["score"]}


def _fill(backbone: Backbone, weights: Weights) -> None:
    backbone.get_submodule(backbone.trunk).load_state_dict(weights)


def _told(track: TrackName, data: TrackData | Judged, judged: Tasks, test: Tasks) -> dict[str, float]:
    validation = judge(track, data.judged, data.validation_labels, judged)["score"]
    return {
        "validation": validation,
        "hidden": official_score(track, truth(track), decided(data, judged, test))["score"],
    }


def point(updates: int, seed: int, inputs: str) -> dict[str, Any]:
    """One budget under one seed, measured now unless it is kept."""
    params = changed(load_params(), Arm("vit", "lsd"), seed)
    params = params.model_copy(update={"pretrain_mae": params.pretrain_mae.model_copy(update={"seed": seed})})
    parts = [inputs, code_digest("pipeline.train.mae", "pipeline.systems.vit", "bench.controls"), updates]
    settings = [params.pretrain_mae, params.vit, params.finetune, params.systems["vit"]]
    digest = hashlib.sha256(repr([*parts, *(part.model_dump() for part in settings)]).encode()).hexdigest()[:20]
    path = STORE / f"{digest}.json"
    if not path.is_file():
        weights = pretrained(params, updates, path.with_suffix(""))
        found = {f"frozen, {track}": frozen(track, params, weights) for track in FROZEN}
        found["tuned, lsd"] = tuned(params, weights, path.with_suffix(""))
        write_json(path, {"updates": updates, "seed": seed, **found})
    return json.loads(path.read_text())


def rows(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean over seeds for each budget and readout."""
    table = []
    for updates in sorted({found["updates"] for found in points}):
        mine = [found for found in points if found["updates"] == updates]
        for readout in (name for name in mine[0] if ", " in name):
            scores = {kind: [round(found[readout][kind], 4) for found in mine] for kind in ("validation", "hidden")}
            means = {f"{kind}_mean": round(float(np.mean(values)), 4) for kind, values in scores.items()}
            table.append({"updates": updates, "readout": readout, **scores, **means})
    return table


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--updates", type=int, nargs="+", default=[0, 120, 240, 480, 960])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    arguments, inputs = parser.parse_args(), inputs_digest()
    points = [point(updates, seed, inputs) for seed in arguments.seeds for updates in arguments.updates]
    table = rows(points)
    write_json(RESULT, {"seeds": arguments.seeds, "rows": table})
    for row in table:
        print("{updates:5d} {readout:12s} validation {validation_mean:.3f} hidden {hidden_mean:.3f}".format(**row))


if __name__ == "__main__":
    main()
