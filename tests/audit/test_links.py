"""Bytes and joints of a chain made by hand: each fault by its name, and what cannot be known by its reason."""

from pathlib import Path

import pytest

from pipeline.audit.check.content import check_content
from pipeline.audit.check.links import check_links
from pipeline.audit.locks import Item, Lock
from tests.audit.handmade import Project, found


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Raw data, two members, an ensemble of their folder, a submission."""
    monkeypatch.chdir(tmp_path)
    made = Project(tmp_path / "cache", {"weights.yaml": b"{}"})
    raw = made.item("data/raw/mine", {"a.mp4": b"film", "sub/b.mp4": b"other"})
    made.lock.data[raw.path] = raw
    part = made.item("data/raw/mine/sub", {"b.mp4": b"other"})
    weights = Item("weights.yaml", made.put(b"{}"), 2)
    first = made.item("artifacts/systems/va/one", {"test.parquet": b"1"})
    second = made.item("artifacts/systems/va/two", {"test.parquet": b"2"})
    both = made.item("artifacts/systems/va", {"one/test.parquet": b"1", "two/test.parquet": b"2"})
    made.stage("finetune@one", [raw, weights], [first])
    made.stage("finetune@two", [part], [second])
    made.stage("submit@va", [both], [made.item("submissions/va/predictions.txt", b"rows")])
    return made


def test_every_kind_of_joint_holds(project: Project) -> None:
    case = project.case("submit@va")
    claims = [*check_links(case), *check_content(case)]
    assert {claim.verdict for claim in claims} == {"verified"}
    joints = sorted(text.split(":")[0] for text in found(check_links(case), "verified"))
    assert joints == ["artifacts/systems/va", "data/raw/mine", "data/raw/mine/sub", "weights.yaml"]
    assert {claim.about for claim in check_content(case)} >= {"data/raw/mine", "artifacts/systems/va/two"}


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("artifacts/systems/va", "but finetune@one, finetune@two has it as"),
        ("data/raw/mine/sub", "but its .dvc file has it as"),
        ("weights.yaml", "a commit has"),
    ],
)
def test_an_input_that_is_not_what_was_made(project: Project, path: str, said: str) -> None:
    for name, stage in list(project.lock.stages.items()):
        deps = [Item(dep.path, "0" * 32) if dep.path == path else dep for dep in stage.deps]
        project.stage(name, deps, stage.outs)
    (text,) = found(check_links(project.case("submit@va")), "broken")
    assert text.startswith(f"{path}: read as 000000000000")
    assert said in text


def test_what_the_cache_lacks_is_not_called_broken(project: Project) -> None:
    project.objects.cached(project.lock.data["data/raw/mine"].md5).unlink()
    case = project.case("submit@va")
    assert found(check_links(case), "broken") == []
    assert found(check_links(case), "unchecked") == [
        "data/raw/mine/sub: what data/raw/mine holds is not known here (its list is not in the cache)"
    ]
    assert "neither in the cache nor on disk" in found(check_content(case), "unchecked")[0]


def test_data_that_nobody_versions_is_told(project: Project) -> None:
    project.lock.data.clear()
    said = found(check_links(project.case("submit@va")), "unchecked")
    assert len(said) == 2
    assert all("`dvc add` would version it" in text for text in said)


def test_a_byte_of_the_cache_and_of_its_list(project: Project) -> None:
    item = project.lock.stages["finetune@one"].outs[0]
    project.objects.cached("c4ca4238a0b923820dcc509a6f75849b").write_bytes(b"9")
    (text,) = found(check_content(project.case("submit@va")), "broken")
    assert text == f"{item.path}/test.parquet: other bytes in the cache (c4ca4238)"
    listing = project.objects.cached(item.md5)
    listing.write_bytes(listing.read_bytes().replace(b"test", b"best"))
    fresh = Project(project.objects.cached("").parents[1])
    fresh.lock, fresh.state = project.lock, project.state
    (text,) = found(check_content(fresh.case("submit@va")), "broken")
    assert "the cache's list of its files was changed" in text


def test_a_file_that_was_put_beside_the_data(project: Project) -> None:
    for name, data in {"a.mp4": b"film", "sub/b.mp4": b"other", "c.mp4": b"new"}.items():
        path = Path("data/raw/mine") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    elsewhere = project.case("submit@va")  # the workspace is of another lock: what lies there is not judged
    assert found(check_content(elsewhere), "broken") == []
    here = project.case("submit@va", Lock(data=dict(project.lock.data)))
    assert found(check_content(here), "broken") == ["data/raw/mine/c.mp4: lies there and is not in the lock"]
