"""What the faces of a video are taken from: the first of the wanted sources that it has."""

from pathlib import Path

import pytest

from pipeline.core.errors import MienError
from pipeline.core.params import validated
from pipeline.release.discover import find_release
from pipeline.tables.manifest import Manifest, Sources
from tests.abaw_fixture import make_affwild2, write


@pytest.fixture
def release(tmp_path: Path):
    make_affwild2(tmp_path)
    for video in ("12", "7"):
        write(tmp_path / "cropped" / video / "00001.jpg", b"x")
    write(tmp_path / "videos/12.mp4", b"x")
    return find_release(tmp_path)


def taken(manifest: Manifest, video: str) -> tuple[str, tuple[str, ...]]:
    (item,) = [item for item in manifest.media() if (item.dataset, item.video) == ("aff-wild2", video)]
    return item.kind, item.paths


@pytest.mark.parametrize(
    ("source", "twelve", "seven"),
    [
        ("cropped_aligned", ("crops", ("cropped_aligned/12",)), ("crops", ("cropped_aligned_new_50_vids/7",))),
        ("cropped", ("crops", ("cropped/12",)), ("crops", ("cropped/7",))),
        (["video", "cropped"], ("video", ("videos/12.mp4",)), ("crops", ("cropped/7",))),
        ("video", ("video", ("videos/12.mp4",)), ("video", ())),
    ],
)
def test_a_video_is_taken_from_the_first_source_that_it_has(release, source, twelve, seven):
    wanted = validated(Sources, {"source": source}).source
    manifest = Manifest(release, wanted)
    assert (taken(manifest, "12"), taken(manifest, "7")) == (twelve, seven)
    counts = manifest.sources()
    assert sum(counts.values()) == len([item for item in manifest.media() if item.dataset == "aff-wild2"])
    assert set(counts) <= {*wanted, "none"}


def test_an_unknown_source_is_one_line():
    with pytest.raises(MienError, match=r"source\.0: Input should be 'video', 'cropped' or 'cropped_aligned'"):
        validated(Sources, {"source": "aligned"})
    with pytest.raises(MienError, match="source"):
        validated(Sources, {"source": []})
