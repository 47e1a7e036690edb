"""A small stand-in for the published expression network: mini-Xception of random weights, declared in weights.yaml."""

from pathlib import Path
from typing import Any

import torch
import yaml

from models.mini_xception import FER2013, MiniXception
from pipeline.core.files import file_digest
from pipeline.core.tensors import save_tensors
from tests.weights.forms import enliven

FILE = Path("weights/faces.safetensors")


def random_expressions(seed: int = 0) -> MiniXception:
    """A network whose every parameter is far from its start."""
    torch.manual_seed(seed)
    network = MiniXception(len(FER2013))
    enliven(network)
    return network


def declare_expressions(path: Path = FILE, **changes: Any) -> MiniXception:
    """Put a random network into the workspace and declare it, as `mien weights add` would."""
    network = random_expressions()
    save_tensors(path, network.state_dict())
    entry: dict[str, Any] = {
        "source": "tests",
        "sha256": file_digest(path),
        "licence": "MIT",
        "trained_on": ["FER-2013"],
        "label_types": ["expression"],
        "architecture": {"network": "mini_xception", "sizes": {"classes": len(FER2013)}},
        "normalisation": {"mean": [0.5] * 3, "std": [0.5] * 3, "pixels": 64, "colours": "grey"},
    }
    with Path("weights.yaml").open("a") as file:
        file.write(yaml.safe_dump({path.name: entry | changes}))
    return network
