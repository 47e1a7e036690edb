"""The folder of an unpacked bundle as a workspace that can be audited like any other.

`code/` is put together to the commit again: each file is hashed as git does, and the tree of all must be the one that
the commit names. Outputs and lists become a cache of DVC's form by their digests, so nothing is believed by its name.
"""

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.audit.claims import Claim, broken, some, verified
from pipeline.audit.exchange.bundle import CODE, COMMIT, EXTERNAL, GIT, LISTS, MANIFEST, OUTPUTS, TREE
from pipeline.audit.locks import DIRECTORY
from pipeline.audit.objects import Objects
from pipeline.audit.states import git_bytes
from pipeline.core.errors import MienError
from pipeline.core.files import below, file_digest

BRANCH = "refs/heads/bundle"
AGAIN = "unpack the bundle anew"


@contextlib.contextmanager
def as_workspace(args: argparse.Namespace) -> Iterator[list[Claim]]:
    """Where the working directory is an unpacked bundle, a workspace made of it for the length of the block.

    Yields the claims on the bundle's own files; none where there is no bundle, and then nothing is changed. Paths among
    the arguments are made absolute, since the working directory is another one then.
    """
    root = Path.cwd()
    if not (root / MANIFEST).is_file():
        yield []
        return
    for name, value in vars(args).items():
        if isinstance(value, Path):
            setattr(args, name, value.absolute())
    manifest = _manifest(root)
    with tempfile.TemporaryDirectory(prefix="mien-audit-") as folder, contextlib.chdir(folder):
        claims = [_files(root, manifest), _put_together(root, Path(folder))]
        _fill_cache(root, Path(folder), manifest)
        yield claims


def _manifest(root: Path) -> dict[str, Any]:
    try:
        tree = json.loads((root / MANIFEST).read_bytes())
        return {"files": dict(tree["files"]), "predictions": str(tree["predictions"])}
    except (ValueError, KeyError, TypeError):
        raise MienError(f"{MANIFEST}: not the list of a bundle's files; {AGAIN}") from None


def _files(root: Path, manifest: dict[str, Any]) -> Claim:
    """Every file of the bundle, and no other in its folders, with the bytes that its list tells."""
    told = manifest["files"]
    wrong = []
    for name, facts in told.items():
        path = below(root, name)
        if not path.is_file():
            wrong.append(f"{name} is not there")
        elif file_digest(path) != facts.get("sha256"):
            wrong.append(f"{name} has other bytes")
    wrong += [f"{name} was put there" for name in _lying(root) if name not in told]
    if wrong:
        return broken("bundle", "bytes", some(wrong))
    return verified("bundle", "bytes", f"{len(told)} files as {MANIFEST} lists them")


def _lying(root: Path) -> list[str]:
    """Files in the bundle's own folders; what a reader writes beside them, or into `code/`, is his."""
    found = (path for name in (GIT, OUTPUTS, EXTERNAL, LISTS) for path in sorted((root / name).rglob("*")))
    return [path.relative_to(root).as_posix() for path in found if path.is_file()]


def _put_together(root: Path, folder: Path) -> Claim:
    """A repository of the one commit, its files checked out; `MienError` where `code/` is not the commit's."""
    try:
        commit, tree = (root / COMMIT).read_bytes(), (root / TREE).read_bytes()
    except OSError as error:
        raise MienError(f"{GIT}/{Path(str(error.filename)).name}: {error.strerror}; {AGAIN}") from None
    listed = {path: line for line in tree.decode().splitlines() for line, _, path in [line.partition("\t")]}
    is_long = any(len(line.split()[2]) > len(hashlib.sha1().hexdigest()) for line in listed.values())
    git_bytes("init", "--quiet", *(["--object-format=sha256"] if is_long else []), folder.as_posix())
    _hold(root, listed, folder)
    git_bytes("update-index", "--add", "--index-info", stdin=tree)
    made = git_bytes("write-tree", "--missing-ok").decode().strip()  # pictures stayed out of the bundle
    if f"tree {made}\n".encode() != commit[: len(made) + 6]:
        raise MienError(f"{TREE}: not the list of files of {COMMIT}; {AGAIN}")
    name = git_bytes("hash-object", "-t", "commit", "-w", "--stdin", stdin=commit).decode().strip()
    (folder / ".git/shallow").write_text(f"{name}\n")
    git_bytes("update-ref", BRANCH, name)
    git_bytes("symbolic-ref", "HEAD", BRANCH)
    return verified("bundle", "commit", f"the files of {CODE}/ are those of commit {name}")


def _hold(root: Path, listed: dict[str, str], folder: Path) -> None:
    """Each file of the commit into the workspace, and into git's store under its digest, which must be the listed one.

    What else lies in `code/`, say of an installation from it, is left there.
    """
    present = [path for path in listed if below(root / CODE, path).is_file()]
    for path in present:
        below(folder, path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / CODE / path, folder / path)
    names = "".join(f"{path}\n" for path in present).encode()
    digests = git_bytes("hash-object", "-w", "--no-filters", "--stdin-paths", stdin=names).decode().split()
    wrong = [path for path, digest in zip(present, digests, strict=True) if listed[path].split()[2] != digest]
    if wrong:
        raise MienError(f"{CODE}/{some(wrong)}: not as the commit has it; {AGAIN}")


def _fill_cache(root: Path, folder: Path, manifest: dict[str, Any]) -> None:
    """Outputs and lists by their md5, where DVC would hold them; weights from outside where params look for them."""
    cache = folder / ".dvc/cache"
    (folder / ".dvc").mkdir(exist_ok=True)
    (folder / ".dvc/config.local").write_text(f"[cache]\n    dir = {cache}\n")
    for name in _lying(root):
        kind, _, rest = name.partition("/")
        if kind in (OUTPUTS, LISTS):
            _link(root / name, cache, DIRECTORY if kind == LISTS else "")
        elif kind == EXTERNAL and not (folder / rest).exists():
            below(folder, rest).parent.mkdir(parents=True, exist_ok=True)
            os.symlink(root / name, below(folder, rest))
    predictions = below(root, manifest["predictions"])
    if predictions.is_file():
        _link(predictions, cache, "")


def _link(path: Path, cache: Path, ending: str) -> None:
    md5 = file_digest(path, "md5") + ending
    place = Objects(cache).cached(md5)
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        place.symlink_to(path)
