"""Stages side by side: which one next, and how long all of them take. The one with the longest way to the end first."""

import heapq
from collections.abc import Collection, Mapping, Sequence

Order = Mapping[str, Sequence[str]]


class Ready:
    """Stages whose upstream stages have ended, by the longest way to the end of the graph.

    `order` names each stage's upstream stages, upstream first; `seconds` is what a stage is expected to take.
    """

    def __init__(self, order: Order, seconds: Mapping[str, float]) -> None:
        self._way = longest_ways(order, seconds)
        self._above = {stage: set(upstream) for stage, upstream in order.items()}
        self._below: dict[str, list[str]] = {stage: [] for stage in order}
        for stage, upstream in order.items():
            for name in upstream:
                self._below[name].append(stage)
        self._place = {stage: number for number, stage in enumerate(order)}
        self._heap: list[tuple[float, int, str]] = []
        for stage in order:
            self._offer(stage)

    def take(self) -> str | None:
        """The next stage that can run; None while all that is left waits for others."""
        return heapq.heappop(self._heap)[2] if self._heap else None

    def end(self, stage: str) -> None:
        """A stage that was taken has ended."""
        for name in self._below[stage]:
            self._above[name].discard(stage)
            self._offer(name)

    def _offer(self, stage: str) -> None:
        if not self._above[stage]:
            heapq.heappush(self._heap, (-self._way[stage], self._place[stage], stage))


def may_run(order: Order, stale: Collection[str]) -> set[str]:
    """Stale stages, and all that lies below them."""
    found: set[str] = set()
    for stage, upstream in order.items():
        if stage in stale or not found.isdisjoint(upstream):
            found.add(stage)
    return found


def longest_ways(order: Order, seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds from a stage's start to the end of the graph, were there a core for every stage."""
    ways = dict.fromkeys(order, 0.0)
    for stage in reversed(list(order)):
        ways[stage] += seconds.get(stage, 0.0)
        for name in order[stage]:
            ways[name] = max(ways[name], ways[stage])
    return ways


def makespan(order: Order, seconds: Mapping[str, float], jobs: int) -> float:
    """Seconds that all stages take, `jobs` at a time, in the order of `Ready`."""
    ready, now = Ready(order, seconds), 0.0
    running: list[tuple[float, str]] = []
    while True:
        while len(running) < jobs and (stage := ready.take()):
            heapq.heappush(running, (now + seconds.get(stage, 0.0), stage))
        if not running:
            return now
        now, ended = heapq.heappop(running)
        ready.end(ended)
