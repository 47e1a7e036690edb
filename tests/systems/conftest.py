"""Training faces of the miniature release."""

from pathlib import Path

import pytest

from pipeline.train.data import TrackData


@pytest.fixture
def lsd(mini: Path) -> TrackData:
    return TrackData("lsd", 32, 0.5)
