"""Which stage runs next, and how long all take."""

import itertools

import pytest

from pipeline.run.schedule import Ready, longest_ways, makespan, may_run

GRAPH = {"data": [], "long": ["data"], "short": ["data"], "after": ["long"], "last": ["after", "short"]}
SECONDS = {"data": 1.0, "long": 5.0, "short": 2.0, "after": 3.0, "last": 1.0}


def test_longest_way_first():
    assert longest_ways(GRAPH, SECONDS) == {"data": 10, "long": 9, "short": 3, "after": 4, "last": 1}
    ready = Ready(GRAPH, SECONDS)
    assert [ready.take(), ready.take()] == ["data", None]
    ready.end("data")
    assert [ready.take(), ready.take(), ready.take()] == ["long", "short", None]
    ready.end("short")
    assert ready.take() is None
    ready.end("long")
    assert ready.take() == "after"


def test_what_lies_below_a_stale_stage_may_run():
    assert may_run(GRAPH, {"short"}) == {"short", "last"}
    assert may_run(GRAPH, {"data"}) == set(GRAPH) and may_run(GRAPH, set()) == set()


def test_without_seconds_in_the_graph_s_order():
    ready = Ready({"a": [], "b": [], "c": ["a"]}, {})
    assert [ready.take(), ready.take(), ready.take()] == ["a", "b", None]


@pytest.mark.parametrize(("jobs", "expected"), [(1, 12.0), (2, 10.0), (5, 10.0)])
def test_makespan(jobs, expected):
    assert makespan(GRAPH, SECONDS, jobs) == expected


def test_makespan_lies_between_the_longest_way_and_all_work():
    """Graham's bound: list scheduling takes at most the longest way plus the rest's share of a core."""
    for jobs, seed in itertools.product((1, 2, 3), range(20)):
        graph = {str(n): [str(m) for m in range(n) if (n * 7 + m * 3 + seed) % 5 == 0] for n in range(12)}
        seconds = {stage: 1.0 + (int(stage) * 5 + seed) % 7 for stage in graph}
        way, work = max(longest_ways(graph, seconds).values()), sum(seconds.values())
        found = makespan(graph, seconds, jobs)
        assert max(way, work / jobs) <= found + 1e-9 and found <= way + (work - way) / jobs + 1e-9
