"""A system by its name: the one dynamic import of the project (tests/test_architecture.py holds it to that)."""

import importlib
from pathlib import Path
from typing import Any, Protocol, cast

from models.system import System
from pipeline.core.errors import MienError
from pipeline.core.params import Section
from pipeline.train.fit import Job, Scored


class SystemModule(Protocol):
    """What the file of a system has: its section of params.yaml, its network, and how it is fed.

    `build` draws the new parts' weights from torch's global generator: seed it before.
    """

    Settings: type[Any]  # a section with a part `train`, where anything is trained

    def build(self, settings: Any, job: Job) -> System:
        """The network for the job's track, pretrained parts loaded unless the job says otherwise."""
        ...

    def recipe(self, settings: Any, job: Job) -> Scored:
        """The network with its batches and what else the training loop asks (a `Recipe`), or as it was published."""
        ...


def system_names() -> list[str]:
    """Names of the files of this room that hold a section of `systems`."""
    files = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py") if path.stem != "named")
    return [name for name in files if hasattr(_file(name), "Settings")]


def _file(name: str) -> Any:
    return importlib.import_module(f"pipeline.systems.{name}")


def settings_class(name: str) -> type[Section]:
    """The section of a system; `MienError` where there is no such system."""
    known = name.isidentifier() and (Path(__file__).parent / f"{name}.py").is_file()
    if not known or not hasattr(_file(name), "Settings"):
        raise MienError(f"there is no system {name}; use one of: {', '.join(system_names())}", exit_code=2)
    return _file(name).Settings


def system_module(name: str) -> SystemModule:
    """The file of a system that `finetune` can train."""
    settings_class(name)
    if not hasattr(_file(name), "recipe"):
        raise MienError(f"{name} is not made by finetune; see pipeline/systems/{name}.py", exit_code=2)
    return cast(SystemModule, _file(name))
