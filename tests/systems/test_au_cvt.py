"""AU-CVT: OpenFace's labels, the teacher's, real ones, and their part of the batch."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.jobs import EVERYTHING, recipe
from pipeline.core.errors import MienError
from pipeline.core.parquet import write_parquet
from pipeline.core.paths import PSEUDO
from pipeline.systems.au_cvt import OPENFACE, RealAus, openface_labels, teacher_labels
from pipeline.systems.teacher import pseudo_table
from tests.mini import ALL, batch_of, changed, crop_rows, levels

# --- AU labels -------------------------------------------------------------------------------------------------------


def openface_row(image: str, confidence: str, active: str = "0.0") -> str:
    return ", ".join([image, "0", confidence, "1", *[active, "0.5", "0.51"], *["3.2"] * 14])


def openface(path: Path, *rows: str, lacking: str = "") -> Path:
    """OpenFace's CSV, spaces after its commas: AU01 as given, AU02 just not active, AU04 just active, the rest active;
    AU45 is no label.
    """
    units = [*OPENFACE, "AU45_r"]
    header = ", ".join(name for name in ("image", "face_id", "confidence", "success", *units) if name != lacking)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_openface_labels_need_confidence_and_intensity(lsd, tmp_path):
    rows = [
        openface_row("SAD/8.jpg", "0.97", active="4.9"),
        openface_row("ANGRY/0.jpg", "0.8"),
        openface_row("ANGRY/1.jpg", "0.79"),
        openface_row("elsewhere/2.jpg", "0.99"),
    ]
    labels = openface_labels(lsd, openface(tmp_path / "o.csv", *rows), 0.8)
    assert labels.shape == (17, 16)
    assert labels[0].tolist() == [0, 0] + [1] * 14 and labels[16].tolist() == [1, 0] + [1] * 14
    assert (labels[1:16] == -1).all()


@pytest.mark.parametrize("column", ["image", "confidence", "AU26_r"])
def test_a_missing_openface_column_is_named(lsd, tmp_path, column):
    path = openface(tmp_path / "o.csv", openface_row("SAD/0.jpg", "0.9"), lacking=column)
    with pytest.raises(MienError, match=rf"o\.csv: .*: {column} is missing"):
        openface_labels(lsd, path, 0.8)


@pytest.mark.parametrize(
    "row", [openface_row("SAD/1.jpg", "high"), openface_row("SAD/1.jpg", "0.9", active="on"), "SAD/1.jpg, 0, 0.9"]
)
def test_a_line_that_is_no_number_is_named(lsd, tmp_path, row):
    path = openface(tmp_path / "o.csv", openface_row("SAD/0.jpg", "0.9"), row)
    with pytest.raises(MienError, match=r"o\.csv, line 3: not a row of numbers") as caught:
        openface_labels(lsd, path, 0.8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (None, r"systems\.au_cvt\.au_labels: .*o\.csv: No such file"),
        ((), "names none of the training faces"),
        (
            (openface_row("FEAR/0.jpg", "0.9"),),
            r"names none of the training faces; an example of a name is ANGRY/0\.jpg",
        ),
    ],
)
def test_openface_output_of_other_faces_is_told(lsd, tmp_path, rows, reason):
    if rows is not None:
        openface(tmp_path / "o.csv", *rows)
    with pytest.raises(MienError, match=reason):
        openface_labels(lsd, tmp_path / "o.csv", 0.8)


def test_teacher_labels_are_found_by_face(lsd, tmp_path):
    expected = np.array([[(i + u) % 2 if i % 5 != 2 else -1 for u in range(12)] for i in range(17)])
    assert np.array_equal(teacher_labels(lsd, PSEUDO / "au/lsd.parquet"), expected)
    every = np.flatnonzero(np.arange(27) % 3 > 0)[::-1]  # some faces are not there, the others stand backwards
    table = pseudo_table(
        lsd.crops.table.take(every), "aus", np.repeat(every[:, None], 12, 1), np.ones((len(every), 12))
    )
    write_parquet(tmp_path / "some.parquet", table)
    assert teacher_labels(lsd, tmp_path / "some.parquet")[:, 0].tolist() == [i if i % 3 else -1 for i in range(17)]


# --- recipes ---------------------------------------------------------------------------------------------------------


def test_real_aus_are_a_part_of_the_batch_of_their_own(mini, tiny):
    made = recipe("au_cvt", "lsd", changed(tiny, "au_cvt", au_labels="real"))
    batch = made.prepare(batch_of(made))
    assert batch["images"].shape == (8, 3, 32, 32)
    assert (batch["expression"][:6] >= 0).all() and (batch["aus"][:6] == -1).all()
    assert (batch["expression"][6:] == -1).all() and (batch["aus"][6:] >= 0).all()
    losses = made.module.losses(batch)
    sum(losses.values(), torch.zeros(())).backward()
    assert set(losses) == {"expression", "aus"} and all(loss.item() > 0 for loss in losses.values())


def test_real_aus_are_those_of_their_faces(mini):
    real = RealAus(32, ALL)
    batch = real.batch(np.random.default_rng(0), 30)
    places = [real.data.places.tolist().index(p) for p in crop_rows(real.data, batch["images"])]
    assert np.array_equal(batch["aus"].numpy(), real.data.labels["aus"][places])
    assert batch["expression"].dtype == torch.int64 and (batch["expression"] == -1).all()
    first = {"images": torch.zeros(3, 3, 32, 32, dtype=torch.uint8), "expression": torch.tensor([1, 2, 0])}
    marked = real.unlabelled_aus(first)
    assert marked["aus"].shape == (3, 12) and (marked["aus"] == -1).all() and "aus" not in first
    assert torch.equal(marked["expression"], first["expression"])


def test_au_cvt_learns_openface_units(mini, tiny, tmp_path):
    path = openface(tmp_path / "o.csv", *[openface_row(f"SAD/{n}.jpg", "0.9") for n in range(9)])
    made = recipe("au_cvt", "lsd", changed(tiny, "au_cvt", au_labels=str(path)), [*EVERYTHING, path])
    batch = batch_of(made)
    assert batch["aus"].shape == (8, 16) and batch["aus"].dtype == torch.int64
    known = torch.tensor([number >= 8 for number in levels(batch["images"])])
    assert known.any() and not known.all()
    assert (batch["aus"][~known] == -1).all() and (batch["aus"][known] >= 0).all()
    assert set(made.module.losses(batch)) == {"expression", "aus"}


def test_au_cvt_without_pseudo_labels_is_told(mini, tiny):
    with pytest.raises(MienError, match=r"graph\.trainings\.x: add artifacts/pseudo/au/lsd\.parquet to needs"):
        recipe("au_cvt", "lsd", tiny)


def test_without_au_labels_the_branch_is_not_trained(mini, tiny):
    made = recipe("au_cvt", "lsd", changed(tiny, "au_cvt", au_labels="none"), [])
    batch = made.prepare(batch_of(made))
    assert set(made.module.losses(batch)) == {"expression"} and "aus" not in batch
    assert made.without == ("AU labels: its AU branch is not trained",)
