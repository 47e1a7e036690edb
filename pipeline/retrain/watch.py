"""The inbox watched: a trigger for each content that it has not had before, once its files are whole."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.core.retrain import Retrain
from pipeline.retrain.inbox import Arrival, look
from pipeline.run.delivery import warn


def watch(settings: Retrain, trigger: Callable[[], None], pauses: Iterator[float] | None = None) -> None:
    """Look at the inbox every `settings.look_seconds` and call `trigger` when whole files are new in it.

    A trigger that fails is tried again at the next look. Polling, not file events: they do not cross a network's disk,
    and a file must lie still for a while anyway. `pauses` stands in for the endless looks in tests.
    """
    seen: list[Arrival] = []
    while True:
        try:
            whole = look(Path(settings.inbox), settings.settle_seconds).whole
            if set(whole) - set(seen):
                trigger()
            seen = whole
        except Exception as error:  # a server or a disk that is away for a minute must not end the watch
            first = (str(error) or type(error).__name__).splitlines()[0][:160]
            warn(f"the inbox was not looked at ({first}); tried again in {settings.look_seconds:.0f} s")
        if pauses is None:
            time.sleep(settings.look_seconds)
        elif next(pauses, None) is None:
            return
