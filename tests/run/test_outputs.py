"""Digests of outputs as DVC has them."""

import hashlib
from pathlib import Path

from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree

from pipeline.run.outputs import dvc_md5, folder_md5, written


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def test_a_folders_digest_is_dvcs(tmp_path: Path) -> None:
    files = {"b.txt": b"2", "a/é.txt": b"1", "a/b/c": b"", ".gitignore": b"/x\n"}
    for name, data in files.items():
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_bytes(data)
    tree = Tree()
    for name, data in files.items():
        if name != ".gitignore":
            tree.add(tuple(name.split("/")), None, HashInfo("md5", md5(data)))
    tree.digest()
    assert dvc_md5(tmp_path / "out") == tree.hash_info.value
    assert folder_md5({}) == f"{md5(b'[]')}.dir"


def test_what_was_not_written_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert written([tmp_path / "file", tmp_path / "none"]) == {(tmp_path / "file").as_posix(): md5(b"x")}
