"""From media to shards of aligned crops: rows, failures, keys, and the stage's own decisions."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from insightface.utils.face_align import estimate_norm

from pipeline.core.errors import MienError
from pipeline.core.pictures import decode_image
from pipeline.faces.detector import DetectAlign
from pipeline.faces.extract import Extracted, Failure, by_source, check_bound, extract, shard_name
from pipeline.faces.geometry import align
from pipeline.faces.media import Frame, read_frames
from pipeline.release.files import LooseStore
from pipeline.tables.manifest import MediaItem
from tests.faces.pictures import GREY, jpeg_of, write_video

# --- the shard function ----------------------------------------------------------------------------------------------


def video_item(video: str, path: str | None, frames: int, side: str = "", base: str = "") -> MediaItem:
    return MediaItem("aff-wild2", video, base or video, side, 0, 0, "video", (path,) if path else (), frames)


def run(
    items: list[MediaItem], root: Path, params: DetectAlign, code: str = "c", weights: str = "w"
) -> list[Extracted]:
    return extract(items, root, params, "detect_align", code, weights)


def rows_of(shard: Extracted) -> pa.Table:
    return pq.read_table(shard.path)


@pytest.fixture
def release(workspace, astronaut) -> Path:
    """A folder with one video: three frames of a face, three of grey."""
    write_video(workspace / "raw/7.avi", [astronaut] * 3 + [GREY] * 3)
    return workspace / "raw"


def test_every_listed_frame_has_a_row(release, params, astronaut, mtcnn):
    (shard,) = run([video_item("7", "7.avi", 8)], release, params)
    table = rows_of(shard)
    assert table["frame"].to_pylist() == list(range(1, 9))  # two rows beyond the container's end
    assert table["found"].to_pylist() == [True] * 3 + [False] * 5
    assert table["image"].to_pylist()[:2] == ["00001.jpg", "00002.jpg"] and set(table["video"].to_pylist()) == {"7"}
    assert table["jpeg"].to_pylist()[3:] == [None] * 5 and table["score"].to_pylist()[3:] == [None] * 5
    assert np.isnan(np.array(table["box"].to_pylist()[3:])).all()
    expected = mtcnn.detect(astronaut)
    assert table["box"][0].as_py() == pytest.approx(expected.boxes[0], abs=4)
    crop = decode_image(table["jpeg"][0].as_py())
    assert crop.shape == (112, 112, 3)
    assert np.abs(crop.astype(int) - align(astronaut, expected.landmarks[0], 112)).mean() < 15
    assert (shard.rows, shard.found, shard.reused, shard.failures) == (8, 3, False, ())


def test_frames_after_the_list_are_kept(release, params):
    (shard,) = run([video_item("7", "7.avi", 4)], release, params)
    assert shard.rows == 6 and not shard.failures


def test_many_more_frames_than_the_list_has_are_told(release, params):
    (shard,) = run([video_item("7", "7.avi", 2)], release, params)
    reason = "6 frames decoded, 4 more than the official list has; all are kept"
    assert shard.rows == 6 and shard.failures == (Failure("aff-wild2", "7", 3, "7.avi", reason, False),)


@pytest.mark.parametrize(("listed", "short"), [(9, False), (10, True)])
def test_a_video_much_shorter_than_its_list_is_a_failure(release, params, listed, short):
    (shard,) = run([video_item("7", "7.avi", listed)], release, params)
    reason = "6 frames decoded, the official list has 10"
    assert shard.failures == ((Failure("aff-wild2", "7", 7, "7.avi", reason, False),) if short else ())
    assert shard.rows == listed and shard.found == 3


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("empty.avi", "file is empty"),
        ("missing.avi", "file is missing"),
        ("garbage.avi", "no decodable video stream"),
        (None, "no raw video and no crops of this name"),
    ],
)
def test_unreadable_videos_are_failures_with_all_their_rows(release, params, path, reason):
    (release / "empty.avi").touch()
    (release / "garbage.avi").write_bytes(b"RIFF not really")
    (shard,) = run([video_item("9", path, 5)], release, params)
    assert shard.failures == (Failure("aff-wild2", "9", 0, path or "", reason, True),)
    assert rows_of(shard)["found"].to_pylist() == [False] * 5


def test_second_call_reuses_the_shard(release, params):
    item = video_item("9", "missing.avi", 4)
    first = run([item], release, params)[0]
    content = first.path.read_bytes()
    second = run([item], release, params)[0]
    assert (first.reused, second.reused, second.path) == (False, True, first.path)
    assert second.failures == first.failures and len(second.failures) == 1  # told again
    first.path.unlink()  # made again: the same bytes
    third = run([item], release, params)[0]
    assert not third.reused and third.path.read_bytes() == content


@pytest.mark.parametrize(
    ("change", "reused"),
    [
        ({"max_failed_fraction": 0.9}, True),
        ({"max_gap_frames": 3}, False),
        ({"jpeg_quality": 90}, False),
        ({"min_face_pixels": 41}, False),
    ],
)
def test_only_params_that_matter_change_the_key(release, params, change, reused):
    item = video_item("9", "missing.avi", 4)
    run([item], release, params)
    assert run([item], release, params.model_copy(update=change))[0].reused is reused


def test_code_weights_and_source_change_the_key(release, params):
    (release / "v.avi").write_bytes(b"one kind of garbage")
    item = video_item("9", "v.avi", 4)
    run([item], release, params)
    assert not run([item], release, params, code="other")[0].reused
    assert not run([item], release, params, weights="other")[0].reused
    assert run([item], release, params)[0].reused
    (release / "v.avi").write_bytes(b"another kind of garbage")
    assert not run([item], release, params)[0].reused


def test_two_people_of_one_recording_in_one_pass(release, params, astronaut, monkeypatch):
    both = np.concatenate([astronaut, cv2.convertScaleAbs(astronaut, alpha=0.5)], axis=1)
    write_video(release / "45.avi", [both, both])
    passes: list[Path] = []

    def counted(path: Path) -> Iterator[Frame]:
        passes.append(path)
        return read_frames(path)

    monkeypatch.setattr("pipeline.faces.extract.read_frames", counted)
    items = [video_item(f"45_{side}", "45.avi", frames, side, "45") for side, frames in (("left", 2), ("right", 3))]
    left, right = run(items, release, params)
    assert len(passes) == 1
    assert rows_of(left)["found"].to_pylist() == [True, True]
    assert rows_of(right)["found"].to_pylist() == [True, True, False]
    assert rows_of(left)["box"][0][0].as_py() < 256 < rows_of(right)["box"][0][0].as_py()
    bright, dark = (decode_image(rows_of(shard)["jpeg"][0].as_py()).mean() for shard in (left, right))
    assert bright > 1.5 * dark
    assert set(rows_of(left)["video"].to_pylist()) == {"45_left"}


def test_crops_are_taken_byte_for_byte_with_their_gaps(workspace, params, astronaut):
    folder = workspace / "raw/cropped/7"
    folder.mkdir(parents=True)
    crops = {frame: jpeg_of(np.roll(astronaut[:112, :112], frame)) for frame in (1, 2, 5)}
    for frame, data in crops.items():
        (folder / f"{frame:05d}.jpg").write_bytes(data)
    (folder / "00003.jpg").write_bytes(crops[1][:200])  # truncated
    (folder / "notes.txt").write_text("no frame")
    item = MediaItem("aff-wild2", "7", "7", "", 0, 0, "crops", ("cropped/7",), 6)
    (shard,) = run([item], workspace / "raw", params)
    table = rows_of(shard)
    assert table["frame"].to_pylist() == [1, 2, 3, 4, 5, 6]
    assert table["found"].to_pylist() == [True, True, False, False, True, False]
    assert [data for data in table["jpeg"].to_pylist() if data] == [crops[1], crops[2], crops[5]]
    (failure,) = shard.failures
    assert (failure.frame, failure.source, failure.whole) == (3, "cropped/7/00003.jpg", False)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("asked", [True, False])
def test_landmarks_of_ready_crops_are_looked_for_where_params_ask(workspace, params, astronaut, mtcnn, asked):
    folder = workspace / "raw/lsd"
    folder.mkdir(parents=True)
    points = mtcnn.detect(astronaut).landmarks[0]
    crops = [align(astronaut, points, 112), GREY[:112, :112]]
    for number, crop in enumerate(crops):
        (folder / f"{number}.png").write_bytes(cv2.imencode(".png", crop)[1].tobytes())
    item = MediaItem("lsd", "lsd", "lsd", "", 0, 2, "aligned", ("lsd",), 2)
    chosen = params.model_copy(update={"crop_landmarks": ("lsd",) if asked else ("extra",)})
    table = rows_of(run([item], workspace / "raw", chosen)[0])
    assert table["found"].to_pylist() == [True, True] and not np.array(table["box"].to_pylist()).any()
    face, grey = np.array(table["landmarks"].to_pylist()).reshape(2, 5, 2)
    if asked:
        expected = cv2.transform(points[None], estimate_norm(points, 112))[0]
        assert face == pytest.approx(expected, abs=4) and np.isnan(grey).all()
    else:
        assert not face.any() and not grey.any()


def test_pictures_give_their_largest_face_by_rank(workspace, params, astronaut):
    folder = workspace / "raw/extra"
    folder.mkdir(parents=True)
    (folder / "b face.jpg").write_bytes(jpeg_of(astronaut))
    (folder / "a.jpg").write_bytes(jpeg_of(GREY))
    (folder / "c.png").write_bytes(b"broken")
    item = MediaItem("extra", "extra", "extra", "", 0, 3, "pictures", ("extra",), 3)
    (shard,) = run([item], workspace / "raw", params)
    table = rows_of(shard)
    assert table["image"].to_pylist() == ["a.jpg", "b face.jpg", "c.png"]
    assert table["found"].to_pylist() == [False, True, False]
    assert [failure.source for failure in shard.failures] == ["extra/c.png"]
    part = MediaItem("extra", "extra", "extra", "", 1, 2, "pictures", ("extra",), 3)
    assert rows_of(run([part], workspace / "raw", params)[0])["frame"].to_pylist() == [2, 3]


# --- the stage's own decisions ---------------------------------------------------------------------------------------


def test_a_pool_is_listed_once_for_all_its_items(workspace, params, monkeypatch):
    """A listing for each of 500 items of 4,096 pictures would be quadratic; an added picture shows all the same."""
    listed = []
    listing = LooseStore.list

    def counted(store, folder):
        listed.append(folder)
        return listing(store, folder)

    monkeypatch.setattr(LooseStore, "list", counted)
    pool = workspace / "raw/pool"
    pool.mkdir(parents=True)
    for number in range(5):
        (pool / f"{number}.jpg").write_bytes(jpeg_of(GREY))

    def item(first: int, count: int) -> MediaItem:
        return MediaItem("extra", "pool", "pool", "", first, count, "pictures", ("pool",), 6)

    shards = [run([item(first, 2)], workspace / "raw", params)[0] for first in (0, 2, 4)]
    assert [rows_of(shard)["frame"].to_pylist() for shard in shards] == [[1, 2], [3, 4], [5]]
    assert listed == ["pool"]
    (pool / "9.jpg").write_bytes(jpeg_of(GREY))
    (shard,) = run([item(4, 2)], workspace / "raw", params)
    assert rows_of(shard)["image"].to_pylist() == ["4.jpg", "9.jpg"]


def shard_with(item: MediaItem, rows: int, *failures: Failure) -> Extracted:
    return Extracted(item, Path("x.parquet"), rows, 0, failures, False)


def test_check_bound_names_the_file():
    items = [video_item(str(number), f"{number}.mp4", 10) for number in range(10)]
    lost = Failure("aff-wild2", "3", 0, "3.mp4", "file is empty", True)
    shards = [shard_with(item, 10, *([lost] if item.video == "3" else [])) for item in items]
    check_bound(shards, [lost], 0.1)
    check_bound([], [], 0.0)
    with pytest.raises(MienError, match=r"10\.0% of the media.*bound 9\.0%.*first 3\.mp4: file is empty"):
        check_bound(shards, [lost], 0.09)


def test_check_bound_counts_a_picture_as_its_share():
    item = MediaItem("extra", "p", "p", "", 0, 100, "pictures", ("p",), 100)
    bad = [Failure("extra", "p", frame, f"p/{frame}.jpg", "broken", False) for frame in range(1, 4)]
    check_bound([shard_with(item, 100, *bad)], bad, 0.03)
    with pytest.raises(MienError, match=r"p/1\.jpg: broken"):
        check_bound([shard_with(item, 100, *bad)], bad, 0.029)


def test_people_of_one_recording_are_one_source_and_shards_have_names_of_their_own():
    people = [video_item(f"45_{side}", "45.mp4", 5, side, "45") for side in ("left", "right")]
    alone = video_item("45", "45.mp4", 5)
    parts = [MediaItem("extra", "p", "p", "", first, 4, "pictures", ("p",), 8) for first in (0, 4)]
    groups = by_source([people[1], *parts, alone, people[0]])
    assert people in groups and [alone] in groups and [parts[0]] in groups and [parts[1]] in groups
    assert len(groups) == 4
    names = [shard_name(item) for group in groups for item in group]
    assert len(set(names)) == 5 and "extra/p.0000004.parquet" in names and "aff-wild2/45_left.parquet" in names


def test_what_a_damaged_video_lost_is_recorded(release, params, astronaut, monkeypatch):
    """Frames two and three do not decode, the container states twelve, the list has four."""
    write_video(release / "v.avi", [astronaut] * 5)

    def damaged(path: Path) -> Iterator[Frame]:
        for frame in read_frames(path):
            yield Frame(frame.number, frame.seconds, None) if frame.number in (2, 3) else frame

    monkeypatch.setattr("pipeline.faces.extract.read_frames", damaged)
    monkeypatch.setattr("pipeline.faces.extract.stated_frames", lambda path: 12)
    (shard,) = run([video_item("9", "v.avi", 4)], release, params)
    assert rows_of(shard)["found"].to_pylist() == [True, False, False, True, True]
    assert [(failure.frame, failure.reason, failure.whole) for failure in shard.failures] == [
        (2, "2 of 5 frames could not be decoded", False),
        (6, "5 frames decoded, the container states 12", False),
    ]
