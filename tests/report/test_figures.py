"""Figures stay small however many rows there are, and show what they say."""

import re
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from pipeline.report import figures
from pipeline.report.content import _liveliest
from pipeline.tables.scores import Tasks


def test_density_is_no_larger_for_a_million_rows():
    generator = np.random.default_rng(0)

    def drawn(rows: int) -> str:
        labels = generator.uniform(-1, 1, (rows, 2))
        return figures.density(labels, (labels + generator.normal(0, 0.2, labels.shape)).clip(-1, 1), ("v", "a"))

    assert len(drawn(1_000_000)) < 1.5 * len(drawn(20_000)) < 150_000


def test_density_counts_valid_rows_and_no_others():
    labels = np.array([[0.5, 0.5], [-5.0, -5.0]])
    alone = figures.density(labels[:1], labels[:1], ("v", "a"))
    assert figures.density(labels, np.array([[0.5, 0.5], [0.9, 0.9]]), ("v", "a")) == alone
    assert figures.density(labels, np.array([[0.9, 0.5], [0.9, 0.9]]), ("v", "a")) != alone
    assert "<svg" in figures.density(labels[1:], labels[1:].clip(-1), ("v", "a"))  # nothing to show


@pytest.mark.parametrize("frames", [40, figures.TIMELINE_FRAMES, 30_000])
def test_a_long_video_is_drawn_thinner(frames):
    generator = np.random.default_rng(0)
    svg = figures.timeline(
        frames=np.arange(1, frames + 1),
        expression=generator.dirichlet(np.ones(8), frames),
        expression_labels=generator.integers(0, 8, frames),
        names=[f"class {number}" for number in range(8)],
        va=None,
        va_labels=None,
        found=np.ones(frames, bool),
    )
    marks = len(re.findall(r"<use xlink:href=\"#\w+\" x=\"[\d.]+\" y=\"[\d.]+\"[^>]*fill", svg))
    assert marks >= min(frames, figures.TIMELINE_FRAMES) // 2
    assert len(svg) < 1_500_000


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [([0, 0, 1, 2, 3, 1], "b"), ([0, 1, 0, 1, 0, 1], "a"), ([-1, -1, -1, 5, 5, 5], "a"), ([4] * 6, "a")],
)
def test_the_liveliest_video_is_the_first_with_the_most_expressions(labels, wanted):
    tasks: Tasks = {"expression": np.array(labels, np.int8)}
    page = SimpleNamespace(axis=pa.table({"video": ["b", "a", "a", "b", "b", "a"]}), labels=tasks)
    assert _liveliest(page) == wanted  # type: ignore[arg-type]
