"""The trail: records, branches, tags, and where the next run starts."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.core.errors import MienError
from pipeline.core.workstore import seal
from pipeline.retrain import history, worktree
from pipeline.retrain.git import commit, git, text_at
from pipeline.retrain.history import Champion, Record, append, free_branch, mark, next_tag, now, read_history, render
from pipeline.retrain.retrain import find_base
from pipeline.retrain.rollback import former_champions, rollback
from pipeline.retrain.versions import Versions
from pipeline.retrain.worktree import link_shards, set_root
from pipeline.run.once import alone


@pytest.fixture
def project(workspace, monkeypatch) -> Path:
    """A git repository of one commit, where git knows nobody."""
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(workspace / "none"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    git("init", "-q")
    (workspace / ".gitignore").write_text("/.mien/\n/.work/\n")
    step("start")
    return workspace


def step(text: str) -> str:
    """A commit that changes a file."""
    Path("note.txt").write_text(text)
    git("add", "-A")
    return commit(Path(), text)


def record(kind: str, at: str, **champions: str) -> Record:
    names = {track: Champion(tag=f"champion/{track}/{number}", commit=at) for track, number in champions.items()}
    return Record(kind=kind, date=now(), commit=at, origin="data/raw/demo", root="data/raw/demo", champions=names)


def test_the_clock_is_one_that_can_be_set(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert now() == "1970-01-02T00:00:00Z"
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert now() > "2026"


def test_records_come_back_and_a_damaged_line_is_named(project):
    first = record("first", "abc", va="1")
    append(first)
    append(first.model_copy(update={"kind": "run"}))
    assert [r.kind for r in read_history()] == ["first", "run"] and read_history()[0] == first
    assert "va: champion/va/1 at abc" in render(read_history())
    with history.HISTORY.open("a") as file:
        file.write('{"kind": "ru\n')
    with pytest.raises(MienError, match=r"history\.jsonl:3: not a record"):
        read_history()


def test_branches_and_tags_are_made_once(project, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    head = git("rev-parse", "HEAD")
    told = record("run", head, va="1").model_copy(update={"branch": free_branch(now())})
    assert told.branch == "retrain/1970-01-01"
    for _ in range(2):
        mark(told)
    assert free_branch(now()) == "retrain/1970-01-01-2"
    assert next_tag("va", []) == "champion/va/2" and next_tag("au", []) == "champion/au/1"
    assert next_tag("va", [record("run", head, va="7")]) == "champion/va/8"
    assert git("log", "-1", "--format=%an") == "mien"


def test_where_the_next_run_starts(project):
    head = git("rev-parse", "HEAD")
    assert find_base(None).commit == head
    git("checkout", "-q", "-b", "retrain/x")
    grown = step("grown")
    git("checkout", "-q", "-")
    last = record("run", grown)
    assert find_base(last).commit == grown  # nothing here beyond it
    own = step("own work")
    base = find_base(last)
    assert (base.commit, base.data_commit) == (own, grown)  # own code, the release as it has grown
    other = last.model_copy(update={"origin": "data/raw/other", "root": "data/raw/collected"})
    assert find_base(other).data_commit == own  # params name another release now
    git("-c", "user.name=x", "-c", "user.email=x", "merge", "-q", "-X", "ours", "-m", "merged", "retrain/x")
    assert find_base(last).data_commit == git("rev-parse", "HEAD")
    assert find_base(record("run", "0" * 40)).commit == git("rev-parse", "HEAD")  # that commit is gone


def test_former_champions():
    records = [record("first", "a", va="1", au="1"), record("run", "b", va="2", au="1"), record("run", "c", va="2")]
    records[2].champions["au"] = records[0].champions["au"]
    records[1].champions["au"] = records[0].champions["au"]
    records[2].champions["va"] = records[1].champions["va"]
    assert former_champions(records) == {"va": records[0].champions["va"]}
    with pytest.raises(MienError, match="no earlier champion"):
        former_champions(records[:1])


@pytest.mark.parametrize(
    ("tag", "told"), [("v1", "no tag of a champion"), ("champion/va/9", "there is no tag champion/va/9")]
)
def test_rollback_to_nowhere(project, tag, told):
    with pytest.raises(MienError, match="no champion yet"):
        rollback(tag)
    append(record("first", git("rev-parse", "HEAD"), va="1"))
    with pytest.raises(MienError, match=told):
        rollback(tag)


def test_rollback_keeps_changes_of_ones_own(project):
    told = record("first", git("rev-parse", "HEAD"), va="1")
    append(told)
    mark(told)
    Path("params.yaml").write_text(Path("params.yaml").read_text() + "# mine\n")
    with pytest.raises(MienError, match="not all as committed"):
        rollback("champion/va/1")
    assert Path("params.yaml").read_text().endswith("# mine\n")


def test_rollback_asks_the_cache_before_it_touches_anything(project, monkeypatch):
    """`dvc checkout` deletes what stands there before it finds that the cache lacks the other."""
    lock = {"schema": "2.0", "stages": {"one": {"cmd": "x", "outs": [{"path": "made", "md5": "0" * 32}]}}}
    Path("dvc.lock").write_text(yaml.safe_dump(lock))
    at = step("lock")
    told = record("first", at, va="1")
    append(told)
    mark(told)
    Path("dvc.lock").write_text("{}")
    step("lock no more")
    Path("made").write_text("mine")
    monkeypatch.setattr(Versions, "outs", lambda self, commit: ["made"])
    monkeypatch.setattr(Versions, "place", lambda self, digest: project / "no cache" / digest)
    monkeypatch.setattr("pipeline.retrain.rollback.run_dvc", lambda *_: pytest.fail("checked out"))
    with pytest.raises(MienError, match=r"cache lacks made and 0 more of .* nothing was changed"):
        rollback("champion/va/1")
    assert Path("made").read_text() == "mine" and Path("dvc.lock").read_text() == "{}"


def test_leftovers_of_a_killed_run_are_removed(project):
    assert not worktree.remove_leftovers()
    git("worktree", "add", "-q", "--detach", str(worktree.TREE), "HEAD")
    assert worktree.remove_leftovers()
    assert not worktree.TREE.exists() and len(git("worktree", "list").splitlines()) == 1


def test_sealed_shards_alone_are_shared(workspace):
    source, target = workspace / ".work", workspace / ".work/retrain/store"
    for name in ("detect_align/a.parquet", "detect_align/unsealed.parquet", "finetune@x/key/step.safetensors"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    seal(source / "detect_align/a.parquet")
    assert link_shards(source, target) == 1 and link_shards(source, target) == 0
    assert sorted(path.name for path in target.rglob("*.*")) == ["a.parquet", "a.parquet.sha256"]
    (target / "detect_align/a.parquet").unlink()  # as a stage does that prunes its store
    assert (source / "detect_align/a.parquet").read_text() == "detect_align/a.parquet"


def test_the_root_alone_changes_in_params(workspace):
    params = Path("params.yaml")
    before = params.read_text()
    set_root(params, "data/raw/demo", "data/raw/collected")
    changed = [new for old, new in zip(before.splitlines(), params.read_text().splitlines(), strict=True) if old != new]
    assert len(changed) == 1 and changed[0].startswith("  root: data/raw/collected #")
    with pytest.raises(MienError, match=r"data\.root cannot be set"):
        set_root(params, "data/raw/elsewhere", "x")


def test_text_of_a_commit(project):
    assert text_at("HEAD", "note.txt") == "start" and text_at("HEAD", "nowhere") is None


def test_a_second_run_waits_for_the_first(workspace, root):
    """Two processes: the second says whom it waits for, and has the lock as soon as the first is killed."""
    hold = "from pathlib import Path; from pipeline.run.once import alone; import sys, time\n"
    hold += "with alone(Path('lock')): print('held', flush=True); time.sleep(float(sys.argv[1]))"

    def start(seconds: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", hold, seconds]
        return subprocess.Popen(
            command, cwd=workspace, env={"PYTHONPATH": str(root)}, stdout=subprocess.PIPE, text=True
        )

    with start("60") as first:
        assert first.stdout and first.stdout.readline() == "held\n"
        with start("0") as second:
            assert second.stdout
            assert second.stdout.readline() == f"another run is at work (process {first.pid}); waiting for it\n"
            first.kill()
            assert second.stdout.readline() == "held\n" and second.wait() == 0
    with (
        pytest.raises(MienError, match=r"process \d+ holds lock"),
        alone(Path("lock")),
        alone(Path("lock"), wait=False),
    ):
        pass
