"""A workspace, and `mien weights add` in it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.cli import parser

ORIGIN = ["--source", "https://example.org/x", "--licence", "CC-BY-NC 4.0", "--trained-on", "AffectNet", "MS-Celeb-1M"]
Add = Callable[..., Path]


@pytest.fixture
def add(workspace: Path) -> Add:
    """Save what is given as torch does, add it as `net`, and give back the file that params name."""
    torch.manual_seed(0)

    def run(stored: Any = None, *options: str, file: str = "published.pth") -> Path:
        if stored is not None:
            torch.save(stored, file)
        args = parser().parse_args(["weights", "add", file, "--name", "net", *ORIGIN, *options])
        assert args.run(args) == 0
        (path,) = Path("weights").iterdir()
        return path

    return run
