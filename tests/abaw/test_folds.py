"""Folds of videos."""

import pytest

from pipeline.abaw.folds import grouped_folds
from pipeline.core.errors import MienError


def test_folds_keep_base_videos_together():
    videos = [v for v in ["1_left", "1_right", "2", "3", "video4_1", "video4_1_left"] for _ in range(5)]
    folds = grouped_folds(videos, 3, seed=1)
    for base in ({"1_left", "1_right"}, {"video4_1", "video4_1_left"}):
        assert len({int(f) for v, f in zip(videos, folds, strict=True) if v in base}) == 1
    assert set(folds) == {0, 1, 2}
    assert (folds == grouped_folds(videos, 3, seed=1)).all()
    with pytest.raises(MienError, match="cannot make"):
        grouped_folds(videos, 9, seed=1)
