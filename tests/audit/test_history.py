"""Where bytes are found: on any branch, in the workspace's lock, in a lock of former times, and in a copy's forms."""

import gzip
import subprocess
from pathlib import Path

import pytest
import yaml

from pipeline.audit.drawing import draw, inputs_first
from pipeline.audit.history import History, chosen
from pipeline.audit.locks import Lock, parse_lock, read_lock
from pipeline.audit.objects import Objects
from pipeline.audit.states import State, WorkingTree
from pipeline.audit.stranger import tell_stranger
from pipeline.audit.subject import forms
from pipeline.core.errors import MienError
from tests.audit.handmade import Project

OUT = "submissions/va/predictions.txt"


def git(*arguments: str) -> str:
    command = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def write_lock(md5: str, path: str = OUT, seed: int = 0) -> None:
    params = {"params.yaml": {"ensemble.seed": seed}}
    stage = {"cmd": "c", "params": params, "outs": [{"path": path, "hash": "md5", "md5": md5, "size": 4}]}
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"submit@va": stage}}, sort_keys=False))


def commit(message: str) -> str:
    git("add", "-A")
    git("commit", "-qm", message, "--allow-empty")
    return git("rev-parse", "HEAD")


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> History:
    """A repository without a commit, its cache beside it."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    git("init", "-q", "-b", "main")
    return History(Objects(tmp_path / "cache"))


def again(history: History) -> History:
    return History(history.objects)


def test_the_first_commit_of_a_lock_is_named(history: History) -> None:
    write_lock("a" * 32)
    first = commit("run")
    Path("README").write_text("words")
    commit("words")
    (hit,) = again(history).search("a" * 32)
    assert (hit.state.name, hit.commits, hit.stage, hit.item.path) == (first, (first,), "submit@va", OUT)


def test_a_lock_of_another_branch_and_one_that_came_back(history: History) -> None:
    write_lock("a" * 32)
    first = commit("one")
    git("checkout", "-q", "-b", "tried")
    write_lock("b" * 32)
    tried = commit("two")
    write_lock("a" * 32)
    back = commit("one again")
    git("checkout", "-q", "main")
    (hit,) = again(history).search("b" * 32)
    assert hit.commits == (tried,)
    (hit,) = again(history).search("a" * 32)
    assert hit.commits == (first, back)


def test_a_lock_that_only_a_merge_holds(history: History) -> None:
    write_lock("a" * 32)
    commit("base")
    git("checkout", "-q", "-b", "side")
    write_lock("b" * 32)
    commit("side")
    git("checkout", "-q", "main")
    write_lock("c" * 32)
    commit("main")
    subprocess.run(["git", "merge", "-q", "side"], capture_output=True)  # the two locks do not fit together
    write_lock("d" * 32)
    merged = commit("merge")
    (hit,) = again(history).search("d" * 32)
    assert hit.commits == (merged,)


def test_of_two_ways_to_the_same_bytes_the_workspaces_is_audited(history: History) -> None:
    write_lock("a" * 32, seed=1)
    first = commit("one")
    write_lock("a" * 32, seed=2)
    commit("two")
    write_lock("a" * 32, seed=1)
    one = again(history)
    hits = one.search("a" * 32)
    assert len({hit.chain for hit in hits}) == 2
    assert chosen(hits, one.present).state.name == first


def test_a_lock_that_no_commit_holds(history: History) -> None:
    write_lock("a" * 32)
    commit("one")
    write_lock("b" * 32)
    one = again(history)
    (hit,) = one.search("b" * 32)
    assert isinstance(hit.state, WorkingTree) and hit.commits == ()


def test_a_lock_that_told_of_the_folder_alone(history: History, tmp_path: Path) -> None:
    project = Project(tmp_path / "cache")
    folder = project.item("submissions/va", {"predictions.txt": b"rows", "filled.json": b"{}"})
    write_lock(folder.md5, folder.path)
    commit("of former times")
    (hit,) = again(history).search(project.put(b"rows"))
    assert hit.item.path == OUT


def test_a_stranger_is_compared_with_what_is_nearest(history: History, tmp_path: Path) -> None:
    project = Project(tmp_path / "cache")
    rows = [f"a/{n:05d}.jpg,0.1,0.2" for n in range(1, 5)]
    for seed in (1, 2):
        write_lock(project.put(("\n".join(rows) + "\n").encode()), seed=seed)
        commit(f"run {seed}")
        rows[0] = "a/00001.jpg,0.9,0.9"
    rows[3] = "a/00004.jpg,0.0,0.0"
    Path("ours.txt").write_text("\n".join(rows) + "\n")
    said = tell_stranger(Path("ours.txt"), again(history))
    assert "Mien did not make these bytes" in said[0]
    assert git("rev-parse", "HEAD")[:12] in said[1] and "75.0% of rows alike" in said[1]
    assert said[2:] == ["  line 4: 'a/00004.jpg,0.0,0.0', known: 'a/00004.jpg,0.1,0.2'"]


def test_a_folder_without_a_repository_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(MienError, match="run from the project's root, a git repository"):
        History(Objects(tmp_path)).search("a" * 32)


# --- the parts -------------------------------------------------------------------------------------------------------


def test_forms_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "p.txt.gz"
    path.write_bytes(gzip.compress(b"a\r\nb"))
    told = {form.data: form.undone for form in forms(path)}
    assert told[path.read_bytes()] == ""
    assert told[b"a\r\nb"] == "unpacked from gzip"
    assert told[b"a\nb"] == "unpacked from gzip, line ends made LF"
    assert told[b"a\nb\n"] == "unpacked from gzip, line ends made LF, one at the end"


def test_numbers_are_read_as_dvc_writes_them() -> None:
    text = b"stages: {s: {cmd: c, params: {params.yaml: {rate: 1e-06, name: '1e-06', seed: 3}}}}"
    assert parse_lock({"dvc.lock": text}, "x")["s"].params["params.yaml"] == {"rate": 1e-6, "name": "1e-06", "seed": 3}


@pytest.mark.parametrize("text", [b"stages: [1]", b"stages: {s: 3}", b"stages: {s: {outs: [{md5: x}]}}", b"a: [b"])
def test_what_is_no_lock_is_one_line(text: bytes) -> None:
    with pytest.raises(MienError, match=r"^dvc.lock of x: not .*; restore it with git$"):
        parse_lock({"dvc.lock": text}, "x")


def test_a_stage_stands_behind_all_that_it_reads() -> None:
    graph = {"d": ["b", "c"], "b": ["a"], "c": ["a", "b"], "a": []}
    assert inputs_first(graph) == ["a", "b", "c", "d"]
    verdicts = dict.fromkeys(graph, "verified") | {"b": "broken"}
    svg = draw(graph, verdicts, {name: f"s-{name}" for name in graph})
    assert svg.count("<circle") == 4 and svg.count("<path") == 5
    assert svg.count("#cf222e") == 3  # its dot, and what follows from it


def test_a_lock_is_parsed_once_for_each_way_of_making_the_bytes(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):  # what another stage makes changes with each commit, VA's seed once
        write_lock("a" * 32, seed=number // 3)
        text = Path("dvc.lock").read_text()
        Path("dvc.lock").write_text(f"{text}  other:\n    cmd: c{number}\n")
        commit(f"{number}")
    parsed: list[State] = []

    def counted(state: State) -> Lock:
        parsed.append(state)
        return read_lock(state)

    monkeypatch.setattr("pipeline.audit.history.read_lock", counted)
    hits = again(history).search("a" * 32)
    assert len(hits) == len({hit.commits for hit in hits}) == 6
    assert len(parsed) == len({hit.chain for hit in hits}) == 2
