"""What a run will take, from counts and speeds: each number by hand."""

import pytest

from pipeline.core.parquet import write_parquet
from pipeline.core.paths import MEDIA
from pipeline.plan.cost_command import stages_to_measure, tell
from pipeline.plan.measure import Measured
from pipeline.plan.needs import Known, Need, Sampled, needs_of
from pipeline.plan.sizes import Media, Rows, media
from pipeline.settings import Params, load_params
from pipeline.tables.manifest import MediaItem, media_table

SPEED = Measured(0.5, 100.0, 2_000_000_000, 0)


def part(dataset: str, kind: str, frames: int) -> Media:
    return Media(dataset, kind, frames, MediaItem(dataset, "v", "v", "", 0, 0, kind, ("v",), frames))


@pytest.fixture
def params(root) -> Params:
    return load_params(root / "params.yaml")


def known(params: Params, **changes: object) -> Known:
    settings: dict = {
        "params": params,
        "media": [part("aff-wild2", "video", 90_000), part("extra", "pictures", 10_000), part("lsd", "aligned", 2_000)],
        "rows": {track: Rows(train=10_000, judged=600, validation=700, test=800) for track in params.graph.tracks},
        "sampled": {
            ("aff-wild2", "video"): Sampled(0.02, 10_000.0),
            ("extra", "pictures"): Sampled(0.03, 5_000.0),
            ("lsd", "aligned"): Sampled(0.0, 1_000.0),
        },
        "measured": {stage: SPEED for stage in stages_to_measure(params)},
        "ensemble_seconds": dict.fromkeys(params.graph.tracks, 0.01),
        "feature_widths": dict.fromkeys(params.graph.features, 64) | {"mae": 96},
        "start_seconds": 7.0,
        "workers": 2,
    }
    return Known(**(settings | changes))


def test_each_stage_by_hand(params):
    found = {need.stage: need for need in needs_of(known(params))}
    assert found["detect_align"].seconds == 7 + (90_000 * 0.02 + 10_000 * 0.03) / 2
    assert found["detect_align"].disk_bytes == 90_000 * 10_000 + 10_000 * 5_000 + 2_000 * 1_000
    assert found["pretrain_mae@mae"].seconds == 7 + 938 * 0.5  # ten passes over 12,000 faces in batches of 128
    assert found["cache_features@mae"].seconds == 7 + 102_000 / 100
    assert found["cache_features@mae"].disk_bytes == 102_000 * 96 * 2
    steps = 6_250  # twice ten passes over 10,000 rows in batches of 32, where twice 480 are the least
    assert params.systems["vit"].train.evaluate_every_steps == 80
    evaluations = -(-steps // (80 * steps // 480))
    assert found["finetune@vit-va"].seconds == 7 + steps * 0.5 + (evaluations * 600 + 100 + 800) / 100
    assert found["ensemble@va"].seconds == 7 + 700 * 0.01
    assert len(found) == 1 + 1 + len(params.graph.features) + 2 + len(params.graph.trainings) + 5


def test_a_machine_that_is_too_small_is_told(params, capsys):
    found = [part("extra", "pictures", 10)]
    assert tell([Need("detect_align", 3_725.0, disk_bytes=1_000_000)], found) == 0
    told = capsys.readouterr().out
    assert "1:02:05" in told and "10 of extra (pictures)" in told and "too little" not in told
    assert tell([Need("finetune@x", 1.0, memory_bytes=10**15, disk_bytes=10**17)], found) == 1
    assert "too little disk and memory (" in capsys.readouterr().out


def test_frames_are_counted_by_data_set_and_kind(workspace):
    items = [
        MediaItem("aff-wild2", "a", "a", "", 0, 0, "video", ("a.mp4",), 30),
        MediaItem("aff-wild2", "b", "b", "", 0, 0, "video", ("b.mp4",), 12),
        MediaItem("aff-wild2", "c", "c", "", 0, 0, "video", (), 99),  # neither video nor crops: nothing to look at
        MediaItem("lsd", "x", "x", "", 0, 4096, "aligned", ("x",), 5000),
        MediaItem("lsd", "x", "x", "", 4096, 904, "aligned", ("x",), 5000),
    ]
    write_parquet(MEDIA, media_table(items))
    assert [(found.dataset, found.kind, found.frames) for found in media(workspace)] == [
        ("aff-wild2", "video", 42),
        ("lsd", "aligned", 5000),
    ]
