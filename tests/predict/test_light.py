"""An installation without `pipeline`, of what pyproject.toml names as dependencies alone, predicts and checks."""

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipeline.core.code import ROOT
from pipeline.core.files import write_json
from pipeline.tables.fitted import Fitted, as_json

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# whoever imports a hidden module finds none; the network of the ensemble is one that needs no training
ALONE = """
import sys
import numpy as np

hidden = set(sys.argv.pop(1).split(","))

class Without:
    def __init__(self, finder): self.finder = finder
    def __getattr__(self, name): return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in hidden else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
from pipeline.cli import main
from pipeline.predict import members

count = lambda faces: sum(len(images) for images in faces.images(32))
members.load_member = lambda *_: lambda faces: {"va": np.full((count(faces), 2), 0.25)}
main()
"""


def brought(requirements: list[str]) -> set[str]:
    """Distributions of this environment that these requirements bring, those that they need in turn among them."""
    found: set[str] = set()
    queue = [Requirement(text) for text in requirements]
    while queue:
        wanted = queue.pop()
        name = canonicalize_name(wanted.name)
        if (wanted.marker and not wanted.marker.evaluate({"extra": ""})) or name in found:
            continue
        try:
            queue += [Requirement(text) for text in metadata.requires(name) or ()]
        except metadata.PackageNotFoundError:  # for another kind of machine
            continue
        found.add(name)
    return found


def hidden_modules() -> list[str]:
    """Top-level modules that an installation without extras does not have."""
    light = brought(PROJECT["dependencies"]) | {"mien"}
    owners = metadata.packages_distributions().items()
    return sorted(module for module, names in owners if not {canonicalize_name(name) for name in names} & light)


def alone(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ALONE, ",".join(hidden_modules()), *arguments]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_light_installation_lacks_what_predicts_nothing() -> None:
    assert {"dvc", "mlflow", "prefect", "pandas", "sqlalchemy", "cryptography", "pytest"} <= set(hidden_modules())
    light = brought(PROJECT["dependencies"])
    whole = brought(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["pipeline"])
    assert light < whole and len(light) < len(whole) / 2


@pytest.mark.slow
def test_it_predicts_and_checks(workspace: Path, portrait: np.ndarray) -> None:
    cv2.imwrite(str(workspace / "portrait.png"), portrait)
    write_json(workspace / "artifacts/ensemble/va/fitted.json", as_json({"va": Fitted((1.0,), 0, ())}, ["vit"]))
    run = alone(workspace, "predict", "portrait.png", "--output", "out.csv")
    assert run.returncode == 0, run.stderr
    header, row = (workspace / "out.csv").read_text().splitlines()
    assert dict(zip(header.replace('"', "").split(","), row.split(","), strict=True))["valence"] == "0.25"
    (workspace / "predictions.txt").write_text("image_location,valence,arousal\n122/00001.jpg,0.5,-0.25\n")
    assert alone(workspace, "check", "predictions.txt").returncode == 0


@pytest.mark.slow
def test_what_it_cannot_do_is_one_line(workspace: Path) -> None:
    run = alone(workspace, "why", "ensemble@va")
    assert run.returncode == 1 and run.stderr.count("\n") == 1
    assert "is not installed; `pip install 'mien[pipeline]'` brings it" in run.stderr
