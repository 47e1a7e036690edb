"""An import is one pass, resumable, incremental, and gives the same release as the loose folder."""

import hashlib
import shutil
import tarfile
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.abaw.readers import scan_annotation
from pipeline.abaw.tracks import TRACKS
from pipeline.core.errors import MienError
from pipeline.release import importer, pack
from pipeline.release.discover import find_release
from pipeline.release.files import LooseStore
from pipeline.release.importer import import_release, pack_place
from pipeline.release.pack import read_listing
from pipeline.tables.manifest import Manifest
from pipeline.validate.validate import validate_release
from tests.abaw_fixture import jpeg, make_affwild2, make_release, write


@pytest.fixture
def loose(tmp_path):
    make_release(tmp_path / "loose")
    write(tmp_path / "loose" / "affwild2" / "videos" / "batch1" / "12.mp4", b"\0" * 1000)
    return tmp_path / "loose"


def run(source, tmp_path, **options):
    return import_release(source, tmp_path / "raw" / "pack", tmp_path / "work", **options)


def same_release(a, b):
    for name in vars(a):
        if name not in ("root", "store"):
            assert getattr(a, name) == getattr(b, name), name
    for video in a.crops:
        assert list(a.images(video)) == list(b.images(video))
    for annotation in a.annotations:
        assert a.read_bytes(annotation.path) == b.read_bytes(annotation.path)
        assert (b.root / annotation.path).read_bytes() == a.read_bytes(annotation.path)
    for path in a.unlabelled:
        assert a.read_bytes(path) == b.read_bytes(path)


def tree(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_pack_is_the_loose_folder(loose, tmp_path):
    summary = run(loose, tmp_path)
    release, packed = find_release(loose), find_release(summary.target)
    same_release(release, packed)
    assert find_release(summary.target).crops == release.crops
    assert not list(summary.target.rglob("*.jpg"))
    assert summary.images == len(list(loose.rglob("*.jpg")))
    annotation = packed.annotations[0].path
    copied = summary.target / annotation.parent.parent.parent / "EXPR_Recognition_Challenge/Train_Set/12.txt"
    values, problems = scan_annotation(copied.read_bytes(), TRACKS["expr"])
    assert (values[:, 0].tolist(), problems) == ([4] * 4, [])
    left, right = validate_release(loose).to_json(), validate_release(summary.target).to_json()
    assert {**left, "root": ""} == {**right, "root": ""}


def test_ingest_reads_a_pack_and_a_loose_folder_alike(loose, tmp_path):
    left, right = Manifest(find_release(loose)), Manifest(find_release(run(loose, tmp_path).target))
    assert left.tracks() == right.tracks()
    for track in set(left.tracks()) - {"ce"}:
        assert left.template(track).equals(right.template(track))
        assert left.labels(track).equals(right.labels(track))
    assert left.media() == right.media()


def test_hashes_of_every_source_file_are_kept(loose, tmp_path):
    target = run(loose, tmp_path).target
    sources = {source.path: source for source in read_listing(target)[1]}
    hashes: dict[str, str] = {}
    for shard in read_listing(target)[0]:
        table = pq.read_table(target / shard.shard)
        names, digests = table.column("name").to_pylist(), table.column("sha256").to_pylist()
        hashes |= {f"{shard.folder}/{name}": digest.hex() for name, digest in zip(names, digests, strict=True)}
    hashes |= {path: source.sha256 for path, source in sources.items()}
    assert hashes == {path: hashlib.sha256(data).hexdigest() for path, data in tree(loose).items()}


def test_shards_do_not_compress_images_again(loose, tmp_path):
    target = run(loose, tmp_path).target
    shard = target / read_listing(target)[0][0].shard
    columns = pq.ParquetFile(shard).metadata.row_group(0)
    found = {columns.column(i).path_in_schema: columns.column(i).compression for i in range(columns.num_columns)}
    assert found["data"] == "UNCOMPRESSED"
    assert found["name"] == "ZSTD"


def test_same_source_same_bytes_whatever_the_threads(loose, tmp_path):
    one = import_release(loose, tmp_path / "a" / "pack", tmp_path / "work1", threads=1).target
    many = import_release(loose, tmp_path / "b" / "pack", tmp_path / "work2", threads=8).target
    assert tree(one) == tree(many)


def test_a_second_import_makes_nothing(loose, tmp_path):
    first = run(loose, tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in first.target.rglob("*.parquet") if "shards" in path.parts}
    second = run(loose, tmp_path)
    assert (second.made, second.kept) == (0, first.made)
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    assert (second.images, second.bytes) == (first.images, first.bytes)


def test_only_what_is_new_or_changed_is_made_again(loose, tmp_path):
    run(loose, tmp_path)
    crops = loose / "affwild2" / "cropped_aligned"
    write(crops / "12" / "00002.jpg", jpeg(5))
    write(crops / "99" / "00001.jpg", jpeg(6))
    (crops / "video3_1" / "00005.jpg").unlink()
    again = run(loose, tmp_path)
    assert again.made == 3
    same_release(find_release(loose), find_release(again.target))


def test_a_damaged_or_missing_output_is_made_again(loose, tmp_path):
    target = run(loose, tmp_path).target
    shards = sorted(target.rglob("*/12/*.parquet"))
    shards[0].unlink()
    write(target / "affwild2" / "test" / "prediction_files_format" / "CVPR_6th_ABAW_VA_test_set_sample.txt", b"cut")
    assert run(loose, tmp_path).made == 2
    same_release(find_release(loose), find_release(target))


def test_a_killed_import_goes_on(loose, tmp_path, monkeypatch):
    whole = import_release(loose, tmp_path / "whole" / "pack", tmp_path / "work0").target
    real = importer.write_shard
    made: list[str] = []

    def killed(target, folder, images):
        if len(made) == 4:
            raise KeyboardInterrupt
        made.append(folder)
        return real(target, folder, images)

    monkeypatch.setattr(importer, "write_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        run(loose, tmp_path, threads=1)
    target = tmp_path / "raw" / "pack"
    with pytest.raises(MienError, match="its import was interrupted"):
        find_release(target)
    with pytest.raises(MienError, match="interrupted"):
        find_release(target)  # never half a release
    (target / "shards" / ".00000.parquet.tmp-1").write_bytes(b"half a shard")
    with open(tmp_path / "work" / "ledger.jsonl", "ab") as ledger:
        ledger.write(b'{"output": "cut')
    monkeypatch.setattr(importer, "write_shard", real)
    summary = run(loose, tmp_path)
    assert summary.kept >= 4
    assert tree(summary.target) == tree(whole)


def test_raw_videos_are_linked_not_copied(loose, tmp_path):
    target = run(loose, tmp_path).target
    path = "affwild2/videos/batch1/12.mp4"
    assert (target / path).stat().st_ino == (loose / path).stat().st_ino
    assert (target / path).read_bytes() == (loose / path).read_bytes()


def archived(loose: Path, place: Path) -> Path:
    """The release as it is downloaded: crops as one archive without a top folder, labels as another with one."""
    place.mkdir()
    affwild2 = loose / "affwild2"
    with zipfile.ZipFile(place / "cropped_aligned.zip", "w") as file:
        for path in sorted((affwild2 / "cropped_aligned").rglob("*")):
            file.write(path, path.relative_to(affwild2 / "cropped_aligned"))
    with tarfile.open(place / "labels.tar.gz", "w:gz") as file:
        file.add(affwild2 / "6th_ABAW_Annotations", "6th_ABAW_Annotations")
    for rest in ("test", "cropped_aligned_new_50_vids", "videos"):
        shutil.copytree(affwild2 / rest, place / rest)
    return place


def test_archives_give_the_same_release_as_the_folder(loose, tmp_path):
    source = archived(loose, tmp_path / "downloads")
    target = run(source, tmp_path).target
    same_release(find_release(loose / "affwild2"), find_release(target))
    assert not list((tmp_path / "work").glob("*.tar"))
    assert run(source, tmp_path).made == 0


def test_one_archive_as_the_source(tmp_path):
    make_affwild2(tmp_path / "affwild2")
    archive = shutil.make_archive(str(tmp_path / "release"), "zip", tmp_path, "affwild2")
    target = run(Path(archive), tmp_path).target
    assert find_release(target).crops.keys() == find_release(tmp_path / "affwild2").crops.keys()


def test_a_later_source_adds_to_a_pack(loose, tmp_path):
    first = run(loose / "lsd_abaw4", tmp_path)
    second = run(loose / "affwild2", tmp_path)
    release = find_release(second.target)
    assert release.lsd_classes and release.annotations
    assert len(second.stale) == first.made


def test_sources_with_the_same_paths_do_not_mix(loose, tmp_path):
    run(loose / "affwild2", tmp_path)
    with pytest.raises(MienError, match="came from another source"):
        run(loose / "mtl", tmp_path)  # its cropped_aligned/12 holds other images


def test_what_the_source_no_longer_has_is_removed(loose, tmp_path):
    run(loose, tmp_path)
    shutil.rmtree(loose / "affwild2" / "cropped_aligned" / "12")
    (loose / "affwild2" / "test" / "prediction_files_format" / "CVPR_6th_ABAW_VA_test_set_sample.txt").unlink()
    same_release(find_release(loose), find_release(run(loose, tmp_path).target))


def test_large_folders_become_several_shards(loose, tmp_path, monkeypatch):
    monkeypatch.setattr(importer, "SHARD_ROWS", 2)
    target = run(loose, tmp_path).target
    assert len(list((target / "shards/affwild2/cropped_aligned/video3_1").iterdir())) == 3
    same_release(find_release(loose), find_release(target))


def test_a_read_opens_the_shard_that_holds_the_image(loose, tmp_path, monkeypatch):
    """However many come before it: a folder of two million images has a hundred."""
    monkeypatch.setattr(importer, "SHARD_ROWS", 1)
    target = run(loose, tmp_path).target
    folder = "affwild2/cropped_aligned/video3_1"
    expected = {name: data for name, data in LooseStore(loose).images(folder)}
    monkeypatch.setattr(pack, "OPEN_SHARDS", 2)
    opened = []
    start = pack._OpenShard.__init__

    def counted(self, path):
        opened.append(path.name)
        start(self, path)

    monkeypatch.setattr(pack._OpenShard, "__init__", counted)
    store = pack.PackStore(target)
    names = sorted(expected)
    assert len(names) > 2 * pack.OPEN_SHARDS
    for name in reversed(names):
        assert store.read(f"{folder}/{name}") == expected[name]
    assert len(opened) == len(names)
    assert not store.has(f"{folder}/absent.jpg") and not store.has(f"{folder}/zzz.jpg")
    assert len(opened) <= len(names) + 1


def test_wrong_usage(loose, tmp_path):
    for name in ("../evil", "", "a/b", ".hidden", "x" * 200):
        with pytest.raises(MienError) as caught:
            pack_place(name)
        assert caught.value.exit_code == 2
    write(tmp_path / "raw" / "pack" / "precious.txt", "mine")
    with pytest.raises(MienError, match="exists and is no pack"):
        run(loose, tmp_path)
    with pytest.raises(MienError, match="within each other"):
        import_release(loose, loose / "pack", tmp_path / "work")
    write(loose / "index.parquet", b"mine")
    with pytest.raises(MienError, match="a pack already"):
        import_release(loose, tmp_path / "raw" / "other", tmp_path / "work")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MienError, match="nothing of an official release"):
        import_release(tmp_path / "empty", tmp_path / "raw" / "new", tmp_path / "work")


def test_a_damaged_pack_is_one_clear_error(loose, tmp_path):
    target = run(loose, tmp_path).target
    shard = next(target.rglob("*/12/*.parquet"))
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(MienError, match="import the release again"):
        list(find_release(target).images("12"))
    (target / "index.parquet").write_bytes(b"no parquet")
    with pytest.raises(MienError, match="listing is damaged"):
        find_release(target)
    same_release(find_release(loose), find_release(run(loose, tmp_path).target))
