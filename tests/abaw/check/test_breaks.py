"""`mien check` catches every way of breaking a submission that we can think of."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.abaw.check.check import check_bytes, check_form
from pipeline.abaw.tracks import TRACKS
from tests.abaw.check.files import joined, make, split


def some_row(rows, rng):
    return rng.randrange(1, len(rows))


def drop(rows, rng):
    del rows[some_row(rows, rng)]


def repeat(rows, rng):
    at = some_row(rows, rng)
    rows.insert(rng.randrange(1, len(rows) + 1), rows[at])


def reorder(rows, rng):
    a, b = rng.sample(range(1, len(rows)), 2)
    rows[a], rows[b] = rows[b], rows[a]


def reverse(rows, rng):
    rows[1:] = rows[:0:-1]


def sort(rows, rng):
    rows[1:] = sorted(rows[1:], reverse=rows[1:] == sorted(rows[1:]))


def shift_names(rows, rng):
    """Frames counted from 0."""
    for at in range(1, len(rows)):
        image, values = rows[at].split(",", 1)
        video, _, name = image.rpartition("/")
        number = int(name[:-4]) - 1
        rows[at] = f"{video}/{number:05d}.jpg,{values}" if video else f"{number}.jpg,{values}"


def rename(rows, rng):
    at = some_row(rows, rng)
    image, values = rows[at].split(",", 1)
    changes = [
        image[:-3] + "png",
        image.replace("0", "", 1),
        f"./{image}",
        image.replace("/", "\\"),
        image[:-4],
        image.upper(),
        f" {image}",
        f'"{image}"',
        image + "\u200b",
        "x" + image,
    ]
    rows[at] = f"{rng.choice([change for change in changes if change != image])},{values}"


def header(rows, rng):
    rows[0] = rng.choice(
        [
            rows[0].lower(),
            rows[0].upper(),
            rows[0] + ",",
            rows[0].replace(",", ", "),
            rows[0] + ",expression",
            rows[0].replace("image", "Image"),
            ",".join(rows[0].split(",")[:-1]),
            f'"{rows[0]}"',
            "",
            rows[0] + " ",
            "," + rows[0],
        ]
    )


def no_header(rows, rng):
    del rows[0]


def two_headers(rows, rng):
    rows.insert(some_row(rows, rng), rows[0])


def retype(rows, rng):
    at = some_row(rows, rng)
    image, *values = rows[at].split(",")
    column = rng.randrange(len(values))
    value = values[column]
    forms = [
        f"{value}e0",
        f"+{value}",
        f" {value}",
        f"{value} ",
        f"{value}\t",
        f'"{value}"',
        f"'{value}'",
        "",
        "nan",
        "NaN",
        "-nan",
        "inf",
        "None",
        "null",
        "x",
        value + "f",
        f"0{value}",
        f"0x{value}",
        "1_0",
        "٣",
        "１",
        f"{value}.",
        f"[{value}]",
        "--1",
        "-",
        ".5",
        "1e-3",
        "True",
        f"{value}\v",
        f"{value}\u00a0",
    ]
    if "." not in value:
        forms.append(f"{value}.")
    if TRACKS_OF[rows[0]].fields[column] != "score":
        forms += [f"{value}.0", "-1", "-0", "9", "10", "2" if TRACKS_OF[rows[0]].fields[column] == "binary" else "8"]
    else:
        forms += ["1.0001", "-1.01", "-5", "2", "100", "1.00000000001", "-1.5e0"]
    values[column] = rng.choice(forms)
    rows[at] = ",".join([image, *values])


TRACKS_OF = {track.header: track for track in TRACKS.values()}


def reformat(rows, rng):
    at = some_row(rows, rng)
    row = rows[at]
    rows[at] = rng.choice(
        [
            row + ",",
            row.replace(",", ";", 1),
            row.replace(",", ", ", 1),
            row.replace(",", "\t", 1),
            "," + row,
            row + ",0",
            row + " ",
            " " + row,
            f'"{row}"',
            row.replace(",", ",,", 1),
            f"{at},{row}",
            row.split(",")[0],
            row.split(",")[0] + ",",
            row.rsplit(",", 1)[0],
            f"#{row}",
            row.replace(",", "，", 1),
        ]
    )


def blank(rows, rng):
    rows.insert(rng.randrange(0, len(rows) + 1), rng.choice(["", " ", ",", "\t"]))


def one_hot(rows, rng):
    """One probability a class instead of one index."""
    rows[1:] = [row + ",0,0,0,0,0,0,0" for row in rows[1:]]


ROW_BREAKS = [
    drop,
    repeat,
    reorder,
    reverse,
    sort,
    shift_names,
    rename,
    header,
    no_header,
    two_headers,
    retype,
    reformat,
    blank,
    one_hot,
]


def some_line_ends(data, rng, end):
    parts = data.split(b"\n")
    at = rng.randrange(len(parts) - 1)
    return b"\n".join(parts[:at]) + (b"\n" if at else b"") + parts[at] + end + b"\n".join(parts[at + 1 :])


BYTE_BREAKS = {
    "crlf": lambda data, rng: data.replace(b"\n", b"\r\n"),
    "cr": lambda data, rng: data.replace(b"\n", b"\r"),
    "lfcr": lambda data, rng: data.replace(b"\n", b"\n\r"),
    "one crlf": lambda data, rng: some_line_ends(data, rng, b"\r\n"),
    "one cr": lambda data, rng: some_line_ends(data, rng, b"\r"),
    "one unicode line end": lambda data, rng: some_line_ends(data, rng, "\u2028".encode()),
    "one vertical tab": lambda data, rng: some_line_ends(data, rng, b"\x0b"),
    "two lines in one": lambda data, rng: some_line_ends(data, rng, b""),
    "bom": lambda data, rng: b"\xef\xbb\xbf" + data,
    "two boms": lambda data, rng: b"\xef\xbb\xbf" * 2 + data,
    "utf-16": lambda data, rng: data.decode().encode("utf-16"),
    "utf-16-le": lambda data, rng: data.decode().encode("utf-16-le"),
    "utf-32": lambda data, rng: data.decode().encode("utf-32"),
    "ebcdic": lambda data, rng: data.decode().encode("cp500"),
    "latin-1 byte": lambda data, rng: data.replace(b",", b",\xe9", 1),
    "no last line end": lambda data, rng: data[:-1],
    "two last line ends": lambda data, rng: data + b"\n",
    "end of file mark": lambda data, rng: data + b"\x1a",
    "nul": lambda data, rng: data + b"\0",
    "cut short": lambda data, rng: data[: rng.randrange(len(data) - 1)],
    "started late": lambda data, rng: data[rng.randrange(1, len(data)) :],
    "twice": lambda data, rng: data * 2,
    "empty": lambda data, rng: b"",
    "gzip-like": lambda data, rng: b"\x1f\x8b\x08" + data,
}


def apply(way, data, rng):
    if isinstance(way, str):
        return BYTE_BREAKS[way](data, rng)
    rows = split(data)
    way(rows, rng)
    return joined(rows)


@settings(max_examples=700, deadline=None)
@given(st.sampled_from(sorted(TRACKS)), st.integers(0, 2**32))
def test_every_break_is_caught(track, seed):
    template, data = make(track)
    rng = random.Random(seed)
    changed = apply(rng.choice([*ROW_BREAKS, *BYTE_BREAKS]), data, rng)
    if changed == data:  # two equal rows of MTL swapped
        return
    defects = check_bytes(changed, template)
    assert defects, changed
    for defect in defects:
        assert defect.line >= 1
        assert defect.message and defect.expected and defect.mend


@pytest.mark.parametrize(
    "way", [*ROW_BREAKS, *BYTE_BREAKS], ids=lambda way: way if isinstance(way, str) else way.__name__
)
def test_each_way_breaks_something(way):
    """The ways above do what they say: each changes the file, so the test above cannot pass by doing nothing."""
    for track in TRACKS:
        data = make(track)[1]
        assert any(apply(way, data, random.Random(seed)) != data for seed in range(5))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(TRACKS)), st.data())
def test_any_change_of_one_byte_of_names_or_separators_is_caught(track, data):
    template, good = make(track)
    at = data.draw(st.integers(0, len(good) - 1))
    byte = data.draw(st.integers(0, 255))
    changed = good[:at] + bytes([byte]) + good[at + 1 :]
    if check_bytes(changed, template):
        return
    # what passes may differ from the original only in a value that is itself allowed
    for before, after in zip(split(good), split(changed), strict=True):
        assert before.split(",")[0] == after.split(",")[0]
        assert before.count(",") == after.count(",")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_defects_not_a_crash(data):
    template, _ = make("va")
    assert check_bytes(data, template)
    check_form(data)
