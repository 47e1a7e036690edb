"""How long a training is: updates as params say, or more where its data ask for more.

Params count in updates, tuned to some data (`steps`, `warmup_steps`, `epoch_steps`, ...). `optimise.passes` over more
data stretches all these counts by one factor, so that a schedule keeps its shape; `optimise.most_steps` is the bound.
"""

import math
from typing import TypeVar

from pipeline.core.params import Section
from pipeline.train.optimiser import Optimise

Kind = TypeVar("Kind", bound=Section)


def steps_asked(optimise: Optimise, rows: int) -> int:
    """Updates of a training on `rows`: `steps` at least, `passes` over the rows where these are more, `most_steps` at
    most.
    """
    passes = math.ceil(optimise.passes * rows / (optimise.batch * optimise.accumulate))
    asked = max(optimise.steps, passes)
    return min(asked, max(optimise.most_steps, optimise.steps)) if optimise.most_steps else asked


def stretched(settings: Kind, optimise: Optimise, rows: int) -> Kind:
    """Settings whose counts of steps fit `rows`; `optimise` is the part of them that says how many passes."""
    return scaled(settings, steps_asked(optimise, rows), optimise.steps)


def stretched_training(settings: Kind, rows: int, updates: float = 1.0) -> Kind:
    """A system's settings whose counts of steps fit `rows`, times `updates`; as they are where nothing is trained."""
    train = getattr(settings, "train", None)
    if not train:
        return settings
    return scaled(settings, max(1, round(updates * steps_asked(train.optimise, rows))), train.optimise.steps)


def scaled(section: Kind, times: int, over: int) -> Kind:
    """Every count of steps in a section and those below it, times over `over`, rounded down: sums stay within sums.

    A count that is not nought stays one at least.
    """
    changes: dict[str, object] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            changes[name] = scaled(value, times, over)
        elif isinstance(value, int) and (name == "steps" or name.endswith("_steps")) and name != "most_steps":
            changes[name] = max(1, value * times // over) if value else 0
    return section.model_copy(update=changes)
