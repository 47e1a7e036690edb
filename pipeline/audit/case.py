"""One submission under audit: its lock, its stages, and where their bytes may be found."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.audit.history import Hit
from pipeline.audit.lineage import data_of
from pipeline.audit.locks import Item, Lock, Stage
from pipeline.audit.objects import Objects
from pipeline.audit.states import State
from pipeline.core.paths import RUNS

WITHOUT_RUN = ("code", "check_params", "synthesize")  # stages that make no numbers keep no record of a run


@dataclass(frozen=True)
class Case:
    """What every check looks at; `present` is the lock of the workspace."""

    hit: Hit
    objects: Objects
    present: Lock

    @property
    def lock(self) -> Lock:
        """The lock that told of the submission."""
        return self.hit.lock

    @property
    def state(self) -> State:
        """The project's files beside that lock."""
        return self.hit.state

    @cached_property
    def stages(self) -> list[Stage]:
        """The submission's stage and all that it stands on, the raw data last."""
        return [self.lock.stages[name] for name in self.hit.stages]

    @cached_property
    def data(self) -> dict[str, Item]:
        """Data that no stage made."""
        return data_of(self.lock, self.hit.stages)

    @property
    def track(self) -> str:
        """The track of the submission: the key of its stage."""
        return self.hit.stage.rpartition("@")[2]

    @cached_property
    def runs(self) -> dict[str, dict[str, Any]]:
        """The run.json of each stage that has one and whose bytes are here."""
        found = {}
        for stage in self.stages:
            item = stage.out((RUNS / stage.name).as_posix())
            path = self.objects.within(item, "run.json") if item else None
            if path:
                found[stage.name] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def out(self, path: str) -> Item | None:
        """The output of the lock at a path."""
        return self.lock.items().get(path)
