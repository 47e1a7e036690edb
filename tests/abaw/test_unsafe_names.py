"""Names are not paths: every name that comes from outside is checked where it enters, and nothing leaves its folder."""

import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.abaw.names import MAX_FRAME, unsafe
from pipeline.abaw.readers import parse_template, scan_mtl
from pipeline.abaw.tracks import TRACKS
from pipeline.core.errors import MienError
from pipeline.core.files import below
from pipeline.faces.extract import shard_name
from pipeline.release.archives import safe_path
from pipeline.release.discover import find_release
from pipeline.release.files import LooseStore
from pipeline.release.importer import import_release
from pipeline.release.pack import PackStore
from pipeline.tables.manifest import MediaItem
from pipeline.validate.validate import validate_release
from tests.abaw_fixture import AU_ROW, jpeg, lines, make_release

HOSTILE = {
    "../../../../x/00001.jpg": "leads out of its folder",
    "x/../../00001.jpg": "leads out of its folder",
    "./00001.jpg": "leads out of its folder",
    "x//00001.jpg": "leads out of its folder",
    "/x/00001.jpg": "is no relative path",
    "x\\00001.jpg": "is no relative path",
    "x/\x1b[2J00001.jpg": "has characters that cannot be printed",
    "x/\u202e00001.jpg": "has characters that cannot be printed",
    f"{'x' * 300}/00001.jpg": "is too long or too deep",
    f"{'x/' * 40}00001.jpg": "is too long or too deep",
}
every_hostile = pytest.mark.parametrize(("name", "why"), HOSTILE.items(), ids=range(len(HOSTILE)))


@every_hostile
def test_hostile_names_are_told(name, why):
    assert unsafe(name) == why


@pytest.mark.parametrize("name", ["7-30-640x360/00001.jpg", "0.jpg", "Überblick/a b.jpg", "a:b/c.jpg", "...x/..y"])
def test_harmless_names_pass(name):
    assert unsafe(name) is None


@every_hostile
@pytest.mark.parametrize("track", ["expr", "lsd", "mtl"])
def test_a_template_row_is_refused_with_its_line(track, name, why):
    good = "0.jpg" if track == "lsd" else "7/00001.jpg"
    data = lines(TRACKS[track].header, f"{good},", f"{name},").encode()
    with pytest.raises(MienError) as caught:
        parse_template(data, "t.txt")
    assert str(caught.value).startswith("t.txt, line 3: ") and why in str(caught.value)
    assert str(caught.value).isprintable()


@every_hostile
def test_a_row_of_an_mtl_list_is_a_problem_with_its_line(name, why):
    row = f"0.1,0.2,3,{AU_ROW}"
    _, problems = scan_mtl(lines(TRACKS["mtl"].header, f"7/00001.jpg,{row}", f"{name},{row}").encode())
    assert [(problem.line, why in problem.message) for problem in problems] == [(3, True)]


def test_a_frame_that_no_video_has_is_refused():
    row = f"7/{MAX_FRAME + 1}.jpg,"
    with pytest.raises(MienError, match=rf"t\.txt, line 2: .* is frame {MAX_FRAME + 1}, beyond {MAX_FRAME}"):
        parse_template(lines(TRACKS["expr"].header, row).encode(), "t.txt")
    with pytest.raises(MienError, match=r"line 2: .*beyond"):
        parse_template(lines(TRACKS["expr"].header, "7/999999999.jpg,").encode(), "t.txt")
    assert len(parse_template(lines(TRACKS["expr"].header, f"7/{MAX_FRAME}.jpg,").encode(), "t.txt")) == 1


@every_hostile
def test_a_member_of_an_archive_is_refused(name, why, tmp_path):
    if name in ("./00001.jpg", "x//00001.jpg"):
        assert unsafe(safe_path(name, tmp_path / "a.tar")) is None  # as every unpacker reads them
    else:
        with pytest.raises(MienError, match=r"a\.tar: member .*Mend: repack"):
            safe_path(name, tmp_path / "a.tar")


def pack_of(tmp_path: Path) -> Path:
    target = tmp_path / "raw" / "pack"
    import_release(make_release(tmp_path / "loose"), target)
    return target


def rewritten(path: Path, column: str, change: Callable[[str], str]) -> None:
    table = pq.read_table(path)
    values = [change(value) for value in table[column].to_pylist()]
    index = table.column_names.index(column)
    pq.write_table(table.set_column(index, table.schema.field(column), pa.array(values, pa.string())), path)


@pytest.mark.parametrize(("file", "column"), [("index.parquet", "folder"), ("index.parquet", "shard")])
def test_a_pack_s_listing_is_refused(tmp_path, file, column):
    target = pack_of(tmp_path)
    rewritten(target / file, column, lambda value: f"../../{value}")
    with pytest.raises(MienError, match=r"the pack lists '\.\./\.\..*leads out of its folder"):
        PackStore(target)


def test_an_image_in_a_pack_is_refused(tmp_path):
    target = pack_of(tmp_path)
    shard = next((target / "shards").rglob("*.parquet"))
    rewritten(shard, "name", lambda value: f"../{value}")
    store = PackStore(target)
    folder = shard.parent.relative_to(target / "shards").as_posix()
    with pytest.raises(MienError, match="it holds an image called"):
        store.list(folder)


@pytest.mark.parametrize("path", ["../secret", "/etc/hostname", "a/../../secret"])
def test_a_loose_folder_gives_nothing_from_outside(tmp_path, path):
    (tmp_path / "secret").write_text("s")
    (tmp_path / "release").mkdir()
    with pytest.raises(MienError, match="Mend: give a path below the release"):
        LooseStore(tmp_path / "release").read(path)


def test_nothing_is_written_outside(tmp_path):
    item = MediaItem("aff-wild2", "../../../x", "x", "", 0, 0, "crops", (), 3)
    with pytest.raises(MienError, match="leads out of"):
        below(tmp_path / "faces", shard_name(item))
    assert below(tmp_path / "faces", "aff-wild2/7.parquet") == tmp_path / "faces/aff-wild2/7.parquet"


@pytest.fixture
def hostile_release(workspace: Path) -> Path:
    """A release whose template names a frame outside; params point to it."""
    root = make_release(workspace / "data/raw/hostile")
    template = find_release(root).template("expr")
    assert template
    with (root / template).open("a") as file:
        file.write("../../../../escaped/00001.jpg,\n")
    tree = yaml.safe_load(Path("params.yaml").read_text())
    tree["data"]["root"] = "data/raw/hostile"
    Path("params.yaml").write_text(yaml.safe_dump(tree))
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"ingest": {"cmd": "x", "deps": ["data/raw/hostile"]}}}))
    return root


@pytest.mark.slow
def test_what_validate_finds_ingest_refuses(hostile_release, monkeypatch):
    from stages.ingest import main

    report = validate_release(hostile_release, decode_limit=0)
    assert not report.good
    assert any("leads out of its folder" in finding["message"] for finding in report.to_json()["findings"])
    monkeypatch.setenv("MIEN_WORKERS", "1")
    with pytest.raises(MienError, match=r"line \d+: '\.\./\.\./\.\./\.\./escaped/00001\.jpg' leads out of its folder"):
        main()
    assert not Path("artifacts/manifest").exists()
    assert not list(Path("..").glob("escaped*"))


def test_archives_are_checked_before_anything_is_written(tmp_path):
    source = tmp_path / "src"
    source.mkdir()
    with zipfile.ZipFile(source / "a.zip", "w") as archive:
        archive.writestr("cropped_aligned/7/00001.jpg", jpeg(0))
        archive.writestr("../../outside.jpg", jpeg(1))
    with tarfile.open(source / "b.tar", "w") as archive:
        archive.add(__file__, "/absolute.txt")
    with pytest.raises(MienError, match=r"member .*Mend: repack"):
        import_release(source, tmp_path / "raw/pack")
    assert not list(tmp_path.rglob("outside.jpg")) and not Path("/absolute.txt").exists()
