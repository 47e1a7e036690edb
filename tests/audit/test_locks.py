"""Locks and `*.dvc` files: what they say, and one line for each that DVC has not written."""

import pytest

from pipeline.audit.locks import Item, parse_lock, parse_pointer
from pipeline.core.errors import MienError

GOOD = "outs:\n- path: faces\n  md5: abc.dir\n  size: 12\n  nfiles: 3\n"
MISFITS = ["- a\n", "outs: 3\n", "outs: [x]\n", "outs: [{md5: a}]\n", "outs: [{path: x, size: 1e999}]\n", "outs: [\n"]


def test_what_a_pointer_names():
    assert parse_pointer(GOOD.encode(), "data/raw/faces.dvc", "here") == {
        "data/raw/faces": Item("data/raw/faces", "abc.dir", 12, 3)
    }
    assert parse_pointer(b"", "x.dvc", "here") == {}


@pytest.mark.parametrize("text", MISFITS)
def test_what_dvc_has_not_written_is_one_line(text):
    with pytest.raises(MienError, match=r"^data/x\.dvc of here: .*; restore it with git$"):
        parse_pointer(text.encode(), "data/x.dvc", "here")
    stage = "stages:\n  a:\n    cmd: b\n" + "".join(f"    {line}\n" for line in text.splitlines())
    with pytest.raises(MienError, match=r"^dvc\.lock of here: .*; restore it with git$"):
        parse_lock({"dvc.lock": stage.encode()}, "here")
