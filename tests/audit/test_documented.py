"""The documents' commands, run: a release from its check to a commit, other people's faces, a video of one's own, a
submission from its audit to its bundle.
"""

import csv
import os
import shlex
import shutil
import zipfile
from pathlib import Path

import pytest

from tests.abaw_fixture import jpeg, make_release
from tests.audit.finished import FILE, git, mien
from tests.clones import run_in
from tests.documents import blocks, commands

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
# minutes or files of others: test_rebuild.py, test_chain.py, tests/weights; of one's own data: test_partial_releases.py
ELSEWHERE = {"--rebuild", "repro", "weights", "--no-deps"}


def run(line: str) -> int:
    """A line as the shell of this directory would run it, but for the interpreter's start."""
    words = [os.path.expanduser(word) for word in shlex.split(line)]
    if words[0] in (".venv/bin/mien", "mien"):
        return mien(*words[1:])[0]
    run_in(Path.cwd(), Path(words[0]).name, *words[1:])
    return 0


def given(document: str, heading: str) -> list[str]:
    """Those of a section that a miniature clone can run; there is one submission in it, of AU."""
    lines = [line.replace("/va/", "/au/").replace("--track va", "--track au") for line in commands(document, heading)]
    kept = [line for line in lines if not ELSEWHERE & set(line.split())]
    assert kept, f"{document} has no section {heading} with commands"
    return [line.replace("/va.txt", "/au.txt") for line in kept]


@pytest.mark.parametrize(
    ("document", "heading"),
    [("README.md", "## What made this file?"), ("docs/GUIDE.md", "## 3. The test release")],
)
def test_a_submission_is_asked_and_handed_over(
    document: str, heading: str, clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copy(FILE, "predictions.txt")
    git("commit", "-q", "--allow-empty", "-m", "a second one to compare with")
    video, _, picture = FILE.read_text().splitlines()[1].partition(",")[0].partition("/")
    for line in given(document, heading):
        if "affwild2" in line:
            continue  # the release comes in below
        if line.startswith("unzip"):
            with zipfile.ZipFile("team.zip") as archive:
                archive.extractall(tmp_path / "team")
            shutil.copy("team.key.pub", tmp_path / "team/team.key.pub")
            monkeypatch.chdir(tmp_path / "team")
            monkeypatch.delenv("MLFLOW_TRACKING_URI")
            continue
        line = line.replace("122/37", f"{video}/{int(picture[:5])}")
        assert run(line) == 0, line
        if " key " in line:  # whoever checks has been sent the public one
            shutil.copy(tmp_path / ".config/mien/team.key.pub", "team.key.pub")
    if document == "README.md":
        assert {"face.jpg", "audit.html", "team.zip", "crate.zip"} <= {path.name for path in clone.iterdir()}
        assert Path.cwd() == tmp_path / "team"


def test_a_release_comes_in(clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    make_release(tmp_path / "affwild2")
    shutil.rmtree("artifacts")
    shutil.rmtree("data/raw/demo")
    lines = given("docs/GUIDE.md", "## 1. Before the test release")
    ran = [line for line in lines if "affwild2" in line or line.startswith("git add")]
    for line in ran:
        if line.startswith("git "):
            git("add", "-A")
            git("commit", "-m", "Aff-Wild2, as imported")
        else:
            assert run(line) == 0, line
    assert [Path(line.split()[0]).name for line in ran] == ["mien", "mien", "dvc", "mien", "git"]
    assert git("status", "--short") == ""
    assert Path("data/raw/affwild2.dvc").is_file()


def test_other_peoples_faces_come_in(clone: Path, tmp_path: Path) -> None:
    (example,) = blocks("README.md", "## Your own data", "yaml")
    Path("raf.yaml").write_text(example.partition("# params.yaml")[0])
    for number in range(1, 8):
        (tmp_path / f"raf/{number}").mkdir(parents=True)
        (tmp_path / f"raf/{number}/face.jpg").write_bytes(jpeg(number, 112))
    lines = [line for line in given("README.md", "## Your own data") if "raf" in line]
    assert [Path(line.split()[0]).name for line in lines] == ["mien", "dvc"]
    for line in lines:
        assert run(line.replace("/path/to/raf", str(tmp_path / "raf"))) == 0, line
    assert Path("data/raw/raf.dvc").is_file()


def test_a_video_of_ones_own_is_annotated(clone: Path) -> None:
    video = min(Path("data/raw/demo").rglob("*.mp4"))
    shutil.copy(video, "holiday.mp4")
    (line,) = given("README.md", "## On your own faces")
    assert run(line) == 0
    with Path("holiday.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) > 1 and {row["source"] for row in rows} == {"holiday.mp4"}
    assert any(path.stem == "holiday" for path in Path("annotated").rglob("*"))
