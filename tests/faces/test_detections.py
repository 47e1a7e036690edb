"""Heaps of boxes."""

import numpy as np

from pipeline.faces.detections import suppress


def test_suppress_keeps_the_best_of_a_heap():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], float)
    assert suppress(boxes, np.array([0.5, 0.9, 0.7]), 0.5).tolist() == [1, 2]
    assert suppress(boxes, np.array([0.5, 0.9, 0.7]), 0.9).tolist() == [1, 2, 0]  # overlap 9/11
    assert suppress(np.zeros((0, 4)), np.zeros(0), 0.5).tolist() == []
