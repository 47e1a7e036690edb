"""Files of AH, EMI and VD: their forms, and everything that can be wrong with a row."""

from pathlib import Path

import pytest

from pipeline.abaw.check.check import check_file
from pipeline.abaw.check.neighbours import EMI_HEADER, VD_HEADER, neighbour_of

AH_ROWS = ["Videos/82711/Visite_1/a.mp4,0.25,0.75,1", "Videos/82711/Visite_1/b.mp4,1.0,0.0,0"]
AH_FRAMES = ["82711/Visite_1/a.mp4/frame-0.jpg,0", "82711/Visite_1/a.mp4/frame-1.jpg,1"]
EMI_ROWS = [EMI_HEADER, "00001,0.1,0.2,0.3,0.4,0.5,1", "00002,0,0,0,0,0,0"]
VD_ROWS = [VD_HEADER, "1,0", "2,1", "3,1"]
FORMS = {"AH": AH_ROWS, "AH frames": AH_FRAMES, "EMI": EMI_ROWS, "VD": VD_ROWS}


def file_of(folder: Path, rows: list[str], end: str = "\n", last: bool = True) -> Path:
    path = folder / "trial-1.txt"
    path.write_bytes((end.join(rows) + (end if last else "")).encode())
    return path


@pytest.mark.parametrize("name", FORMS)
def test_a_whole_file_has_no_defect(tmp_path, name):
    path = file_of(tmp_path, FORMS[name])
    found = neighbour_of(path.read_bytes())
    assert found and found.name == name.split()[0]
    assert check_file(path) == [] and check_file(path, path) == []


@pytest.mark.parametrize(
    ("name", "line", "row", "told"),
    [
        ("AH", 1, "Videos/82711/Visite_1/a.mp4,0.3,0.6,1", "sum to 0.8999999999999999, not to 1.0 exactly"),
        ("AH", 2, "Videos/82711/Visite_1/b.mp4,1.5,-0.5,0", "are no probabilities"),
        ("AH", 2, "Videos/82711/Visite_1/b.mp4,nan,nan,0", "are no probabilities"),
        ("AH", 2, "Videos/82711/Visite_1/b.mp4,0.5,0.5,2", "the label is '2', not 0 or 1"),
        ("AH", 2, "Videos/82711/Visite_1/b.mp4, 0.5,0.5,1", "a space in the row"),
        ("AH", 2, AH_ROWS[0], "stands in line 1 already"),
        ("AH frames", 2, "82711/Visite_1/a.mp4/frame-1.jpg", "is no row"),
        ("EMI", 2, "00001,0.1,0.2,0.3,0.4,0.5", "5 values"),
        ("EMI", 3, "00002,0,0,0,0,0,x", "'x' is no number"),
        ("EMI", 3, "00002,0,0,0,0,0,inf", "'inf' is no number"),
        ("VD", 3, "3,1", "frame 3"),
        ("VD", 4, "3,violent", "the label is 'violent', not 0 or 1"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path, name, line, row, told):
    rows = [*FORMS[name]]
    rows[line - 1] = row
    defects = [defect for defect in check_file(file_of(tmp_path, rows)) if defect.line == line]
    assert defects and told in defects[0].message


def test_line_ends_and_the_order_of_the_template(tmp_path):
    (tmp_path / "a").mkdir()
    template = file_of(tmp_path / "a", AH_ROWS)
    assert [d.message for d in check_file(file_of(tmp_path, AH_ROWS, end="\r\n"))] == ["line ends are not \\n alone"]
    assert [d.message for d in check_file(file_of(tmp_path, AH_ROWS, last=False))] == ["the last line has no line end"]
    (swapped,) = check_file(file_of(tmp_path, AH_ROWS[::-1]), template)
    assert (swapped.line, swapped.expected) == (1, "Videos/82711/Visite_1/a.mp4")
    short = check_file(file_of(tmp_path, AH_ROWS[:1]), template)
    assert [(defect.message, defect.expected) for defect in short] == [("1 rows", "2")]
