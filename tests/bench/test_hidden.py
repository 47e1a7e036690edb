"""What recordings alone leave open between two members."""

import numpy as np
import pyarrow as pa
import pytest

from bench import hidden
from pipeline.core.parquet import write_parquet
from pipeline.core.paths import TEMPLATES


def test_it_is_nothing_between_equals_and_grows_with_what_one_recording_decides(workspace, monkeypatch):
    keys = [(video, frame) for video in "abcdefgh" for frame in range(1, 17)]
    labels = np.array([frame % 8 for _, frame in keys])
    columns = {
        "video": [video for video, _ in keys],
        "base_video": [video for video, _ in keys],
        "frame": pa.array([frame for _, frame in keys], pa.int32()),
    }
    write_parquet(TEMPLATES / "expr.parquet", pa.table(columns))
    monkeypatch.setattr(hidden, "truth", lambda track: {"expression": labels})

    def wrong_in(videos: str) -> dict[str, np.ndarray]:
        missed = np.array([video in videos for video, _ in keys])
        return {"expression": np.where(missed, (labels + 1) % 8, labels)}

    members = {"right": wrong_in(""), "same": wrong_in(""), "one": wrong_in("a"), "all": wrong_in("abcdefgh")}
    found = hidden.half_widths("expr", members)
    assert len(found) == 6
    assert found["right, same"] == 0 and found["right, all"] == pytest.approx(0)
    assert found["one, all"] == pytest.approx(found["right, one"], rel=0.05) and found["right, one"] > 0.1
