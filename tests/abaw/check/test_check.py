"""`mien check` accepts conformant files and tells what is wrong with the others, at its line."""

import pytest

from pipeline.abaw.check.check import check_bytes, check_file, check_form
from pipeline.abaw.readers import parse_template
from pipeline.abaw.tracks import TRACKS
from pipeline.core.errors import MienError
from pipeline.release.discover import find_release
from tests.abaw.check.files import IMAGES, VALUES, joined, make, split
from tests.abaw_fixture import SAMPLES, lines, needs_samples, write

FOLDERS = {
    "expr": "EXPR_abaw5plus",
    "au": "AU_abaw5plus",
    "va": "VA_abaw5plus",
    "mtl": "MTL_abaw3_4_7_11",
    "lsd": "LSD_abaw4",
    "ce": "CE_abaw6_9",
}


@pytest.mark.parametrize("track", TRACKS)
def test_conformant(track):
    template, data = make(track)
    assert check_bytes(data, template) == []
    assert check_form(data) == []


def messages(defects):
    return [(defect.line, defect.message) for defect in defects]


def test_a_dropped_row_is_one_defect_at_its_line():
    template, data = make("expr")
    rows = split(data)
    del rows[3]
    assert messages(check_bytes(joined(rows), template)) == [(4, "row of 14/00001.jpg is missing here")]


def test_a_swapped_pair_is_one_defect():
    template, data = make("expr")
    rows = split(data)
    rows[3], rows[4] = rows[4], rows[3]
    (defect,) = check_bytes(joined(rows), template)
    assert (defect.line, defect.expected) == (4, "14/00001.jpg")


def test_a_lost_duplicate_of_mtl_is_found():
    template, data = make("mtl")
    rows = split(data)
    del rows[2]
    assert messages(check_bytes(joined(rows), template)) == [(4, "row of 14/00008.jpg is missing here")]


def test_several_defects_are_all_told():
    template, data = make("va")
    rows = split(data)
    rows[1] = rows[1].rsplit(",", 1)[0] + ",1.2"
    rows[3] += ","
    del rows[5]
    found = check_bytes(joined(rows).replace(b"\n", b"\r\n"), template)
    assert [defect.line for defect in found] == [1, 2, 4, 6]
    assert "clip" in found[1].mend


def test_line_ends_and_bom_of_the_template_are_expected():
    text = lines(TRACKS["lsd"].header, "0.jpg").replace("\n", "\r\n").encode()
    template = parse_template(b"\xef\xbb\xbf" + text, "template")
    good = b"\xef\xbb\xbfimage,expression\r\n0.jpg,3\r\n"
    assert check_bytes(good, template) == []
    assert check_bytes(good[3:], template)
    assert check_bytes(good.replace(b"\r", b""), template)


def test_form_only():
    header = TRACKS["expr"].header
    assert messages(check_form(lines(header, "12/00001.jpg,3", "12/00003.jpg,3", "12/00004.jpg,3").encode())) == [
        (3, "row is 12/00003.jpg")
    ]
    assert check_form(lines(header, "12/00002.jpg,3").encode())
    assert check_form(lines(header, "12/00001.jpg,3", "13/00001.jpg,3", "12/00002.jpg,3").encode())
    assert check_form(lines(header, "holiday/00001.jpg,3").encode())[0].message.startswith("image name")
    assert check_form(lines(header).encode())[0].message == "no rows"
    assert check_form(b"Filename,Admiration\n")[0].message.endswith("of no known track")


def test_per_video_folder(tmp_path):
    template = write(tmp_path / "t.txt", lines(TRACKS["au"].header, *[f"{image}," for image in IMAGES]))
    header, row = TRACKS["au"].video_header, VALUES["au"][0]
    folder = tmp_path / "predictions"
    for video, frames in (("14-30-640x360", 2), ("14", 3), ("video2_left", 1)):
        write(folder / f"{video}.txt", lines(header, *[row] * frames))
    assert check_file(folder, template) == []
    names = write(tmp_path / "names.txt", "14-30-640x360\n14\nvideo2_left\n")
    assert check_file(folder, names) == []
    write(folder / "14.txt", lines(header, row, row))
    write(folder / "15.txt", lines(header, row))
    (folder / "video2_left.txt").unlink()
    found = {defect.path: defect.message for defect in check_file(folder, template)}
    assert found["14.txt"] == "2 rows"
    assert "no video of the template" in found["15.txt"]
    assert "missing" in found["video2_left.txt"]
    assert check_file(folder / "14-30-640x360.txt", template) == []
    write(folder / "14-30-640x360.txt", lines(header, row, row + ","))
    assert messages(check_file(folder / "14-30-640x360.txt", template)) == [(3, "trailing comma")]


def test_wrong_usage(tmp_path):
    template = write(tmp_path / "t.txt", lines("image,expression", "0.jpg"))
    file = write(tmp_path / "p.txt", lines("image,expression", "0.jpg,1"))
    assert check_file(file, template, "lsd") == []
    with pytest.raises(MienError, match="template of LSD, not of VA") as caught:
        check_file(file, template, "va")
    assert caught.value.exit_code == 2
    with pytest.raises(MienError, match="no track"):
        check_file(file, template, "ah")
    with pytest.raises(MienError, match="No such file"):
        check_file(tmp_path / "none.txt", template)


@needs_samples
@pytest.mark.parametrize("track", FOLDERS)
def test_valid_samples_are_accepted(track):
    release = find_release(SAMPLES)
    file, template = SAMPLES / "submissions_valid" / FOLDERS[track] / "predictions.txt", release.template(track)
    assert template is not None and check_file(file, SAMPLES / template) == []
    assert check_file(file) == []


@needs_samples
@pytest.mark.parametrize("track", ["expr", "au", "va"])
def test_valid_samples_of_edition_three_are_accepted(track):
    template = find_release(SAMPLES).template(track)
    assert template is not None
    folder = SAMPLES / "submissions_valid" / f"{track.upper()}_abaw3_per_video"
    assert check_file(folder) == []
    for file in folder.iterdir():
        assert check_file(file, SAMPLES / template) == []
