"""A demo of a few frames."""

from typing import Any

TINY: dict[str, Any] = {
    "seed": 3,
    "videos": {
        "train": 3,
        "validation": 1,
        "test": 2,
        "frames": 24,
        "height_pixels": 96,
        "width_pixels": 96,
        "frames_per_second": 25,
    },
    "mtl": {"train": 1, "validation": 1, "test": 1, "frames": 5, "step_frames": 5},
    "lsd": {"train_per_class": 2, "validation_per_class": 1, "test": 3, "stills_per_identity": 6},
    "unlabelled": {"images": 6, "without_face": 1, "stills_per_identity": 3, "pixels": 96},
}
