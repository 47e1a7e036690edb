"""Drift: distances that are known, intervals that hold what they say, and what comes of a breach."""

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.parquet import write_parquet
from pipeline.core.paths import FACES, LABELS
from pipeline.core.retrain import Bounds, Retrain
from pipeline.faces.crops import decode_crop
from pipeline.faces.extract import FACES_SCHEMA
from pipeline.retrain.distance import Drift, summary
from pipeline.retrain.drift import compared, divergence, drift_of, shift
from pipeline.retrain.history import Record, Verdict, now, read_history, render
from pipeline.retrain.measured import FRAMES, Measured, Rows, kinds, sample
from pipeline.retrain.page import page_of, rendered, write_page
from pipeline.retrain.retrain import weighed

SETTINGS = Retrain(draws=400, drift=Bounds(predictions=None, confidence=None))


def numbers(count: int, mean: float, seed: int, name: str = "brightness") -> Measured:
    """Recordings of 20 frames, whose own means differ with deviation 1, and frames about those with deviation 1."""
    generator = np.random.default_rng(seed)
    values = mean + generator.normal(size=(count, 1)) + generator.normal(size=(count, 20))
    sums = np.stack([np.full(count, 20.0), values.sum(axis=1), (values**2).sum(axis=1)], axis=1)
    return Measured(np.array([f"{seed}-{i}" for i in range(count)]), np.zeros(count, bool), {name: sums})


def balance(count: int, shares: list[float], seed: int) -> Measured:
    drawn = np.random.default_rng(seed).multinomial(50, shares, count).astype(float)
    return Measured(np.array([f"{seed}-{i}" for i in range(count)]), np.zeros(count, bool), {"labels": drawn[:, None]})


def one(old: Measured, new: Measured) -> Drift:
    (found,) = compared("va", old, new, SETTINGS)
    return found


def test_distances_of_known_distributions():
    flat, left, right = np.array([[[5.0, 5.0]]]), np.array([[[7.0, 0.0]]]), np.array([[[0.0, 3.0]]])
    assert divergence(flat, flat)[0] == pytest.approx(0)
    assert divergence(left, right)[0] == pytest.approx(1)  # nothing in common: one bit
    assert divergence(flat, left)[0] == pytest.approx(0.311278, abs=1e-6)  # 1.5 log2(4/3) - ... of Lin's formula
    assert divergence(left, np.zeros_like(left))[0] == 0
    old = np.array([[4.0, 0.0, 16.0]])  # 4 rows, mean 0, deviation 2
    assert shift(old, plain=False)(old, np.array([[1.0, 3.0, 9.0]]))[0] == pytest.approx(1.5)
    assert shift(old, plain=True)(old, np.array([[1.0, 3.0, 9.0]]))[0] == pytest.approx(3)


def test_a_shift_is_found_with_enough_recordings_and_is_open_with_one():
    old = numbers(40, 0.0, 1)
    far = one(old, numbers(10, 4.0, 2))
    assert far.is_beyond and far.interval and far.interval[0] < far.distance < far.interval[1]
    assert far.old == pytest.approx(0, abs=0.5) and far.new == pytest.approx(4, abs=1)
    near = one(old, numbers(30, 0.3, 3))
    assert not near.is_beyond and not near.is_open
    single = one(old, numbers(1, 1.5, 4))
    assert single.is_open and not single.is_beyond
    assert single.interval and single.interval[1] - single.interval[0] > 2 * (far.interval[1] - far.interval[0])
    assert one(old, numbers(1, 12.0, 5)).is_beyond  # one recording is enough where it is wholly elsewhere


def test_the_interval_covers_what_it_says():
    """Of recordings like the old ones, 95 % of intervals hold zero; fewer than 88 of 100 by chance is 1 in 500."""
    held = [one(numbers(30, 0.0, 1000 + i), numbers(4, 0.0, i)).interval for i in range(100)]
    assert sum(low <= 0 <= high for low, high in filter(None, held)) >= 88


def test_kinds_are_less_what_chance_gives():
    even, skewed = [0.25] * 4, [0.9, 0.04, 0.03, 0.03]
    same = one(balance(30, even, 1), balance(5, even, 2))
    assert same.distance < 0.05 and not same.is_beyond
    other = one(balance(30, even, 1), balance(5, skewed, 3))
    assert other.is_beyond and other.interval and 0.3 < other.interval[0] < other.distance < other.interval[1]


def test_a_champion_of_few_recordings_tells_nothing():
    found = one(numbers(4, 0.0, 1), numbers(10, 9.0, 2))
    assert found.interval is None and found.is_open and not found.is_beyond and "no interval" in found.line()


def test_a_quantity_without_a_bound_is_not_looked_at():
    off = Retrain(drift=Bounds(brightness=None))
    assert compared("va", numbers(9, 0, 1), numbers(9, 0, 2), off) == []


def test_samples_depend_on_their_own_video_alone():
    first = np.repeat("a", 500)
    chosen = sample(first)
    assert len(chosen) == FRAMES and chosen[0] == 0 and chosen[-1] == 499
    both = np.concatenate([np.repeat("b", 7), first])
    assert (sample(both) == np.concatenate([np.arange(7), chosen + 7])).all()


def test_kinds_of_labels_leave_masks_out():
    told = kinds({"expression": np.array([2, -1]), "aus": np.array([[1] * 12, [-1] * 12])})
    assert told.shape == (2, 13, 8) and told[0].sum() == 13 and told[1].sum() == 0
    corner = kinds({"va": np.array([[1.0, -1.0], [-5.0, -5.0]], np.float32)})
    assert corner[0, 0].argmax() == 12 and corner[1].sum() == 0


def project(root, shades: dict[str, int], valence: float = 0.5):
    """Faces and VA labels of recordings of 12 frames, each of a shade; the last frame has no face."""
    rows = []
    for video, shade in shades.items():
        picture = np.full((64, 64, 3), shade, np.uint8)
        picture[20:40, 20:40] = 255 - shade
        jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
        points = [20.0, 20, 44, 20, 32, 36, 22, 50, 42, 50]
        faces = [
            {"video": video, "frame": f, "image": f"{f:05}.jpg", "found": f < 12, "score": 1.0,
             "box": [0.0, 0, 40 + shade / 10, 40], "landmarks": points, "jpeg": jpeg if f < 12 else None}
            for f in range(1, 13)
        ]  # fmt: skip
        write_parquet(root / FACES / f"aff-wild2/{video}.parquet", pa.Table.from_pylist(faces, FACES_SCHEMA))
        split = "validation" if int(video) % 3 == 0 else "train"
        rows += [
            {"split": split, "video": video, "base_video": video, "frame": f, "ordinal": f - 1, "image": f"{f:05}.jpg",
             "va": [valence, -0.5]} for f in range(1, 13)
        ]  # fmt: skip
    fields = {name: pa.string() for name in ("split", "video", "base_video", "image")}
    fields |= {"frame": pa.int32(), "ordinal": pa.int32(), "va": pa.list_(pa.float32(), 2)}
    write_parquet(root / LABELS / "va.parquet", pa.Table.from_pylist(rows, pa.schema(list(fields.items()))))
    return root


OLD = {str(i): 60 + 4 * i for i in range(1, 9)}


def test_brighter_recordings_are_found_among_the_old(tmp_path):
    champion = project(tmp_path / "champion", OLD)
    grown = project(tmp_path / "grown", OLD | {"20": 240, "21": 235})
    found = {drift.quantity: drift for drift in drift_of("va", grown, champion, SETTINGS, lambda: None)}
    assert found["brightness"].is_beyond and found["brightness"].recordings == 2 and found["brightness"].of == 8
    assert found["face_size"].is_beyond and found["face_size"].new == pytest.approx(50.4, abs=0.5)
    assert found["without_face"].new == pytest.approx(1 / 12) and not found["without_face"].is_beyond
    assert not found["labels"].is_beyond and {"contrast", "yaw", "pitch"} <= found.keys()
    assert drift_of("va", champion, champion, SETTINGS, lambda: pytest.fail("nothing is new")) == []


def test_a_replaced_or_relabelled_recording_is_new(tmp_path):
    before = Rows(project(tmp_path / "before", OLD), "va").measured()
    replaced = Rows(project(tmp_path / "replaced", OLD | {"3": 200}), "va").measured()
    assert replaced.names[replaced.beyond(before)].tolist() == ["3"]
    assert Rows(project(tmp_path / "labels", OLD, valence=-0.5), "va").measured().beyond(before).all()
    assert before.names[before.held_out].tolist() == ["3", "6"]


def test_a_quantity_that_only_one_side_knows_makes_nothing_else_new(tmp_path):
    """A release of crops alone, which have no boxes, gets its first video."""
    before = Rows(project(tmp_path / "before", OLD), "va").measured()
    crops = before.sums["face_size"]
    with_video = Rows(project(tmp_path / "after", OLD | {"20": 100}), "va").measured()
    with_video.sums["face_size"][with_video.names != "20"] = 0
    del before.sums["face_size"]
    assert crops.any() and with_video.names[with_video.beyond(before)].tolist() == ["20"]


def test_each_picture_of_lsd_is_a_recording_of_its_own(tmp_path):
    """One that comes between two others changes their places in the list, and makes neither new."""

    def lsd(root: Path, names: list[str]) -> Measured:
        jpeg = cv2.imencode(".jpg", np.full((32, 32, 3), 90, np.uint8))[1].tobytes()
        places = list(enumerate(names, 1))
        faces = [
            {"video": "lsd/train/ANGER", "frame": f, "image": name, "found": True, "score": 1.0, "box": [0.0] * 4,
             "landmarks": [0.0] * 10, "jpeg": jpeg} for f, name in places
        ]  # fmt: skip
        labels = [
            {"split": "train", "video": "lsd/train/ANGER", "base_video": "lsd/train/ANGER", "frame": f,
             "ordinal": f - 1, "image": name, "expression": 0} for f, name in places
        ]  # fmt: skip
        write_parquet(root / FACES / "lsd/one.parquet", pa.Table.from_pylist(faces, FACES_SCHEMA))
        write_parquet(root / LABELS / "lsd.parquet", pa.Table.from_pylist(labels))
        return Rows(root, "lsd").measured()

    before, after = lsd(tmp_path / "a", ["1.jpg", "3.jpg"]), lsd(tmp_path / "b", ["1.jpg", "2.jpg", "3.jpg"])
    assert after.names[after.beyond(before)].tolist() == ["lsd/train/ANGER/2.jpg"]
    assert "face_size" not in after.sums and "yaw" not in after.sums and "brightness" in after.sums


def test_the_champions_answers_are_compared(tmp_path):
    """Of validation alone on its side; rows go to their own recordings, in whatever order videos are scored."""
    grown = Rows(project(tmp_path, OLD | {"20": 240}), "va")

    def scorer(jpegs: list[bytes], frames: np.ndarray) -> dict[str, np.ndarray]:
        grey = [decode_crop(jpeg, 64)[0, 0, 0] / 127.5 - 1 for jpeg in jpegs]
        return {"va": np.stack([grey, grey], axis=1)}

    told = grown.answers(scorer, 0.5, np.array(["20", "3"]))
    assert told.names.tolist() == ["20", "3"] and told.held_out.tolist() == [False, True]
    assert told.sums["predictions"].argmax(axis=2).ravel().tolist() == [15, 5]
    assert (told.sums["predictions"].sum(axis=2) == 11).all() and "confidence" not in told.sums


BEYOND = Drift(track="va", quantity="brightness", distance=2.1, interval=(1.4, 2.8), bound=1.0, recordings=3, of=9)
OPEN = BEYOND.model_copy(update={"quantity": "pitch", "interval": (-0.5, 1.7), "distance": 0.6})


def verdict(promoted: bool) -> Verdict:
    return Verdict.undecided("va", promoted, "it is better")


def test_a_better_challenger_waits_until_drift_is_accepted():
    faults = [f"drift: {BEYOND.line()}"]
    held = weighed(verdict(True), faults, accept_drift=False)
    assert held.held and not held.promoted
    assert "brightness +2.10 (+1.40 to +2.80), bound 1" in held.why and "--accept-drift" in held.why
    taken = weighed(verdict(True), faults, accept_drift=True)
    assert taken.promoted and not taken.held and "accepted all the same" in taken.why
    assert weighed(verdict(False), faults, accept_drift=True) == verdict(False)
    assert weighed(verdict(True), [], accept_drift=False) == verdict(True)


def test_history_and_page_tell_drift(workspace):
    held = weighed(verdict(True), [f"drift: {BEYOND.line()}"], accept_drift=False)
    record = Record(kind="run", date=now(), commit="a" * 40, branch="retrain/2026-11-26-2", verdicts=[held])
    record = record.model_copy(update={"drift": [BEYOND, OPEN], "told": ["<b>"]})
    assert Record.model_validate_json(record.model_dump_json()) == record
    assert next(summary(record.drift)).endswith("1 of 2 quantities beyond bounds; too few recordings to tell: pitch")
    assert "  brightness +2.10" in render([record])
    text = rendered(record)
    assert "too few to tell" in text and "&lt;b&gt;" in text and "http" not in text
    assert text.count("<svg") == 2 and 'class="verdict held"' in text
    assert write_page(record) == page_of(record) and page_of(record).name == "2026-11-26-2.html"
    assert page_of(record).read_text() == text


def test_records_of_before_are_read(workspace, monkeypatch):
    record = Record(kind="run", date=now(), commit="a" * 40, verdicts=[verdict(True)])
    old = record.model_dump()
    del old["drift"], old["verdicts"][0]["held"]
    path = workspace / "history.jsonl"
    path.write_text(json.dumps(old) + "\n")
    assert read_history(path) == [record]
