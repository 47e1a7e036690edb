"""Archives are vetted before a byte is written, and read without ever leaving the target."""

import io
import os
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import MienError
from pipeline.release.archives import ArchiveStore, Limits
from pipeline.release.importer import import_release
from tests.abaw_fixture import make_mtl


def make_zip(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


def make_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


MEMBERS = [
    ("a/00002.jpg", b"two"),
    ("a/00001.jpg", b"one"),
    ("list.txt", b"x\n" * 1000),
    ("__MACOSX/a/._1", b"-"),
    ("a/.DS_Store", b"-"),
]


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "tgz"])
def test_every_kind_lists_and_reads_alike(tmp_path, kind):
    path = tmp_path / f"release.{kind}"
    if kind == "zip":
        make_zip(path, MEMBERS)
    else:
        make_tar(path, MEMBERS, "w" if kind == "tar" else f"w:{'gz' if kind == 'tgz' else kind[4:]}")
    store = ArchiveStore(path, tmp_path / "work")
    folders, files = store.list("")
    assert folders == ["a"]
    assert [(file.name, file.size) for file in files] == [("list.txt", 2000)]
    assert list(store.images("a")) == [("00001.jpg", b"one"), ("00002.jpg", b"two")]
    assert store.read("list.txt") == b"x\n" * 1000


HOSTILE = [
    "../evil.txt",
    "a/../../evil.txt",
    "/etc/evil.txt",
    "..",
    "C:/evil.txt",
    "a\\..\\..\\evil.txt",
    "a\nb.txt",
    "/".join("x" * 40),
    "y" * 300,
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("maker", [make_zip, make_tar])
def test_names_that_leave_the_target_are_refused(tmp_path, name, maker):
    path = maker(tmp_path / ("a.zip" if maker is make_zip else "a.tar"), [("good.txt", b"1"), (name, b"2")])
    with pytest.raises(MienError, match="Mend: repack"):
        ArchiveStore(path, tmp_path)


def special_tar(path, kind):
    with tarfile.open(path, "w") as file:
        info = tarfile.TarInfo("a/00001.jpg")
        info.type, info.linkname = kind, "/etc/passwd"
        file.addfile(info)
    return path


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    with pytest.raises(MienError, match="not a regular file"):
        ArchiveStore(special_tar(tmp_path / "a.tar", kind), tmp_path)


def test_links_in_a_zip_are_refused(tmp_path):
    info = zipfile.ZipInfo("a/00001.jpg")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(info, "/etc/passwd")
    with pytest.raises(MienError, match="not a regular file"):
        ArchiveStore(tmp_path / "a.zip", tmp_path)


@pytest.mark.parametrize(
    "names", [["a.txt", "A.txt"], ["a.txt", "a.txt"], ["e\u0301.txt", "\u00e9.txt"], ["b/./a.txt", "b/a.txt"]]
)
@pytest.mark.parametrize("maker", [make_zip, make_tar])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_colliding_names_are_refused(tmp_path, names, maker):
    path = maker(tmp_path / ("a.zip" if maker is make_zip else "a.tar"), [(name, b"1") for name in names])
    with pytest.raises(MienError, match="two members"):
        ArchiveStore(path, tmp_path)


def test_a_name_that_is_file_and_folder_is_refused(tmp_path):
    with pytest.raises(MienError, match="a file and a folder"):
        ArchiveStore(make_tar(tmp_path / "a.tar", [("a", b"1"), ("a/b.txt", b"2")]), tmp_path)


def test_bombs_of_ratio_size_and_count(tmp_path):
    dense = make_zip(tmp_path / "a.zip", [("a.txt", b"\0" * 3_000_000)])
    with pytest.raises(MienError, match="as a bomb does"):
        ArchiveStore(dense, tmp_path, Limits(ratio_from_bytes=1_000_000))
    with pytest.raises(MienError, match="bytes unpacked"):
        ArchiveStore(dense, tmp_path, Limits(total_bytes=1_000_000))
    many = make_tar(tmp_path / "a.tar", [(f"{i}.txt", b"") for i in range(20)])
    with pytest.raises(MienError, match="more than 10 members"):
        ArchiveStore(many, tmp_path, Limits(members=10))


def test_a_compressed_tar_is_bounded_while_it_is_unpacked(tmp_path):
    path = make_tar(tmp_path / "a.tar.gz", [("a.txt", b"\0" * 30_000_000)], "w:gz")
    with pytest.raises(MienError, match="as a bomb does"):
        ArchiveStore(path, tmp_path / "work", Limits(ratio_from_bytes=1_000_000))
    assert sum(f.stat().st_size for f in (tmp_path / "work").rglob("*") if f.is_file()) == 0


def test_small_dense_label_files_are_no_bomb(tmp_path):
    path = make_zip(tmp_path / "a.zip", [("12.txt", b"0\n" * 1_000_000)])
    assert len(ArchiveStore(path, tmp_path).read("12.txt")) == 2_000_000


def test_overlapping_members_count_as_often_as_they_are_listed(tmp_path):
    """Many directory entries that share one block of data: the classic way to unpack 10 MB into petabytes."""
    path = make_zip(tmp_path / "a.zip", [("a.txt", b"\0" * 1_000_000)])
    data = path.read_bytes()
    start = data.rindex(b"PK\x01\x02")
    end = data.rindex(b"PK\x05\x06")
    entry = data[start:end]
    entries = b"".join(entry.replace(b"a.txt", b"%05d" % i) for i in range(300))
    tail = bytearray(data[end:])
    tail[8:10] = tail[10:12] = (300).to_bytes(2, "little")
    tail[12:16] = len(entries).to_bytes(4, "little")
    path.write_bytes(data[:start] + entries + tail)
    with pytest.raises(MienError, match=r"as a bomb does|damaged"):
        ArchiveStore(path, tmp_path)


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_damage_is_one_clear_error(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    payload = [("12.txt", os.urandom(50_000)), ("13.txt", os.urandom(50_000))]
    make_zip(path, payload) if kind == "zip" else make_tar(path, payload, "w" if kind == "tar" else "w:gz")
    path.write_bytes(path.read_bytes()[:70_000])
    with pytest.raises(MienError, match="damaged"):
        store = ArchiveStore(path, tmp_path / "work")
        store.read("13.txt")
    path.write_bytes(b"not an archive at all" * 100)
    with pytest.raises(MienError, match="damaged"):
        ArchiveStore(path, tmp_path / "work")


def test_a_flipped_bit_in_a_zip_is_found_by_its_checksum(tmp_path):
    path = make_zip(tmp_path / "a.zip", [("12.txt", b"0\n" * 100)], zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    with pytest.raises(MienError, match=r"member '12\.txt': damaged"):
        ArchiveStore(path, tmp_path).read("12.txt")


def test_encrypted_and_seven_zip(tmp_path):
    path = make_zip(tmp_path / "a.zip", [("12.txt", b"0")])
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(MienError, match="encrypted"):
        ArchiveStore(path, tmp_path)
    (tmp_path / "a.7z").write_bytes(b"7z")
    with pytest.raises(MienError, match="unpack it and import the folder"):
        ArchiveStore(tmp_path / "a.7z", tmp_path)


def test_nothing_is_written_outside_by_an_import(tmp_path):
    make_mtl(tmp_path / "src" / "mtl")
    make_tar(tmp_path / "src" / "more.tar", [("../../evil.txt", b"2")])
    before = {path for path in tmp_path.rglob("*")}
    with pytest.raises(MienError, match="leads out of its folder"):
        import_release(tmp_path / "src", tmp_path / "raw" / "pack", tmp_path / "work")
    assert {path for path in tmp_path.rglob("*")} == before


class Sound(dict):
    """Sound archives by name, with a short repr for failing examples."""

    def __repr__(self):
        return "Sound()"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    place = tmp_path_factory.mktemp("sound")
    members = [("a/00001.jpg", b"one" * 50), ("a/00002.jpg", b"two" * 50), ("list.txt", b"x\n" * 100)]
    paths = [make_zip(place / "a.zip", members), make_tar(place / "a.tar", members)]
    paths += [make_tar(place / f"a.tar.{kind}", members, f"w:{kind}") for kind in ("gz", "bz2", "xz")]
    return Sound({path.name: path.read_bytes() for path in paths})


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(["a.zip", "a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz"]), st.data())
def test_any_damage_is_read_safely_or_refused(sound, tmp_path_factory, name, data):
    """Flipped, cut and doubled bytes: content within its declared size and below the root, or one clear error."""
    content = bytearray(sound[name])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)))] if data.draw(st.booleans()) else content
    place = tmp_path_factory.mktemp("damaged")
    (place / name).write_bytes(content)
    try:
        store = ArchiveStore(place / name, place / "work", Limits(total_bytes=1 << 20))
        pending = [""]
        while pending:
            folder = pending.pop()
            folders, files = store.list(folder)
            assert all(part not in ("", "..") for part in folders)
            pending += [f"{folder}/{child}" if folder else child for child in folders]
            for file in files:
                assert len(store.read(f"{folder}/{file.name}" if folder else file.name)) == file.size
    except MienError as error:
        assert "Mend:" in str(error)


def test_a_negative_size_is_refused(tmp_path):
    path = make_tar(tmp_path / "a.tar", [("12.txt", b"0\n")])
    data = bytearray(path.read_bytes())
    data[124:136] = b"\xff" * 11 + b"\xfe"  # base-256: -2
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path.write_bytes(data)
    with pytest.raises(MienError, match="damaged"):
        ArchiveStore(path, tmp_path)
