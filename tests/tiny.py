"""Settings that make every system tiny: for the chain in miniature, and for systems on a workspace of a few faces."""

from pathlib import Path

import yaml

from pipeline.settings import Params

TINY_TRAIN = {"evaluate_every_steps": 3, "optimise": {"batch": 8, "steps": 6, "passes": 0, "warmup_steps": 1}}
TINY_DAN = {"channels": [8, 8, 16, 16], "layers": [1, 1, 1, 1], "attention_heads": 2}
TINY_GRID = {"readout_grid": 2}
TINY_ENCODER = TINY_GRID | {"name": "encoder"}
TINY_FACE = TINY_GRID | {"name": "face_resnet", "image_pixels": 32, "channels": [8, 16], "units": [1, 1]}
TINY_TEMPORAL = {"window_frames": 8, "stride_frames": 4, "width": 16, "layers": 1, "heads": 2, "feedforward": 32}
TINY_SYSTEMS = {
    "vit": {"backbone": TINY_ENCODER, "pseudo_fraction": 0.2, "train": TINY_TRAIN},
    "dan": TINY_DAN | {"image_pixels": 32, "train": TINY_TRAIN},
    "au_cvt": {
        "image_pixels": 32,
        "channels": [8, 8, 16],
        "units": [1, 1, 1],
        "width": 16,
        "heads": 2,
        "blocks_before": 1,
        "blocks_after": 1,
        "train": TINY_TRAIN,
    },
    "multitask": {
        "networks": [TINY_ENCODER, TINY_FACE],
        "width": 16,
        "identity_components": 8,
        "train": TINY_TRAIN,
    },
    "emma": {"backbone": TINY_GRID, "cnn": TINY_DAN, "hidden": 16, "va_hidden": 16, "train": TINY_TRAIN},
    "cotex": {"backbone": TINY_GRID, "train": TINY_TRAIN},
    "feedback": {
        "spatial": {
            "backbone": TINY_FACE,
            "ramp_steps": 3,
            "head_start_steps": 2,
            "labelled_steps": 1,
            "unlabelled_ratio": 1,
            "train": TINY_TRAIN,
        },
        "temporal": TINY_TEMPORAL | {"train": TINY_TRAIN},
    },
    "temporal": TINY_TEMPORAL | {"tcn_layers": 1, "train": TINY_TRAIN},
    "dtm": {
        "backbone": TINY_FACE,
        "threshold_faces": 2000,
        "epoch_steps": 2,
        "supervised_steps": 2,
        "unlabelled_batch": 8,
        "train": TINY_TRAIN,
    },
}
SOON = {"checkpoint_seconds": 0.001}  # a checkpoint after every step, so that a killed stage has one to go on from
TINY_PARAMS = {
    "detect_align": {"max_failed_fraction": 0.2},
    "vit": {"image_pixels": 32, "width": 32, "depth": 2, "heads": 2},
    "pretrain_mae": SOON
    | {"decoder_width": 32, "decoder_depth": 1, "decoder_heads": 2, "optimise": TINY_TRAIN["optimise"]},
    "cache_features": {"backbones": dict.fromkeys(("mae", "vit-expr", "vit-au", "vit-va", "vit-mtl"), TINY_GRID)},
    "pseudo_label": {"confidence": 0.51},
    "finetune": SOON,
    "systems": TINY_SYSTEMS,
    "ensemble": {"bootstrap_draws": 20},
}


def merge(tree: dict, changes: dict) -> dict:
    """A tree of settings with some of them changed."""
    return tree | {k: merge(tree[k], v) if isinstance(v, dict) else v for k, v in changes.items()}


def tiny_params(root: Path, **changes: dict) -> Params:
    """The shipped params at tiny sizes, further changed."""
    shipped = yaml.safe_load((root / "params.yaml").read_text())
    return Params.model_validate(merge(merge(shipped, TINY_PARAMS), changes))
