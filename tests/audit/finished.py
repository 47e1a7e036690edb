"""A miniature clone whose AU submission has been made and committed, and what may be done to a copy of it."""

import io
import sqlite3
import subprocess
from contextlib import closing, redirect_stdout
from pathlib import Path

from pipeline.audit.audit import check_all, look_up, open_history
from pipeline.audit.claims import Claim
from pipeline.audit.locks import Item, Lock, read_lock
from pipeline.audit.states import WorkingTree
from pipeline.cli import parser
from tests.clones import commit, make_clone, repro

FILE = Path("submissions/au/predictions.txt")
STAGE = "submit@au"


def make_finished(target: Path) -> None:
    """The clone, its stages run as far as AU needs, its lock committed."""
    target.mkdir()
    make_clone(target)
    repro(target, STAGE)
    commit(target)


def git(*arguments: str) -> str:
    """A git command of this directory as a person would give it."""
    command = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def amend() -> None:
    """All that is there into the last commit, as if it had been so from the start."""
    git("commit", "-qa", "--amend", "--no-edit")


def replace(path: Path, old: str, new: str) -> None:
    """Text for text, once; it must be there."""
    text = path.read_text()
    assert old in text, f"{path}: {old}"
    path.write_text(text.replace(old, new, 1))


def flip(path: Path, place: int = -1) -> None:
    """Another byte in the place of one; a link to elsewhere is left alone."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.unlink()
    path.write_bytes(data)


def database(change: str, *values: str) -> None:
    """A statement on MLflow's database."""
    with closing(sqlite3.connect(".mien/mlflow.db")) as connection:
        assert connection.execute(change, values).rowcount == 1
        connection.commit()


def mien(*arguments: str) -> tuple[int, str]:
    """A command's exit code and what it printed."""
    said = io.StringIO()
    with redirect_stdout(said):
        args = parser().parse_args(arguments)
        code = args.run(args)
    return code, said.getvalue()


def lock() -> Lock:
    """The workspace's lock."""
    return read_lock(WorkingTree())


def item(path: str) -> Item:
    """An output of the workspace's lock."""
    return lock().items()[path]


def cached(md5: str) -> Path:
    """An object of the workspace's cache."""
    return Path(".dvc/cache/files/md5") / md5[:2] / md5[2:]


def claims(file: Path = FILE) -> list[Claim]:
    """Every claim on a file that is found."""
    found = look_up(file, open_history())
    assert found is not None
    return check_all(found.case)


def broken(file: Path = FILE) -> dict[tuple[str, str], str]:
    """Texts of the broken claims by what they are about and their kind."""
    return {(claim.about, claim.kind): claim.text for claim in claims(file) if claim.verdict == "broken"}


def statement(change: str, *values: str) -> None:
    """A statement on MLflow's database that may touch any number of rows."""
    with closing(sqlite3.connect(".mien/mlflow.db")) as connection:
        connection.execute(change, values)
        connection.commit()
