"""What may have reached a checkpoint: weights from outside, other tracks' labels, people of the test list."""

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from pipeline.abaw.names import base_video
from pipeline.audit.check.people import check_people
from pipeline.audit.check.rules import check_rules
from pipeline.audit.check.weights import check_weights
from pipeline.audit.edition import EDITIONS, latest
from pipeline.audit.locks import Item
from pipeline.core.parquet import write_parquet
from pipeline.release import pack
from pipeline.retrain.git import commit, git
from tests.audit.handmade import Project, found

TOY = "weights/toy.safetensors"
MADE = "artifacts/systems/expr/vit/weights.safetensors"


def declared(sha256: str, trained_on: list[str], label_types: list[str], source: str = "s") -> bytes:
    entry: dict[str, Any] = {"source": source, "sha256": sha256, "licence": "MIT"}
    entry |= {"trained_on": trained_on, "label_types": label_types}
    return yaml.safe_dump({Path(TOY).name: entry}).encode()


def expr_project(cache: Path, *needs: str, weights: bytes = b"{}", backbone: str | None = None) -> Project:
    """EXPR with an encoder: what the encoder reads is `needs`."""
    made = Project(cache, {"weights.yaml": weights})
    faces = [Item(path, "f" * 32) for path in needs]
    encoder = Item("artifacts/mae", "e" * 32)
    made.stage("pretrain_mae@mae", faces, [encoder])
    own = [Item("artifacts/faces/aff-wild2", "a" * 32), Item("artifacts/manifest/labels/expr.parquet", "b" * 32)]
    line = {"track": "expr"}
    params: dict[str, Any] = {"graph.trainings.vit-expr": line, "systems.vit": {"backbone": {"weights": backbone}}}
    made.stage("finetune@vit-expr", [encoder, *own], [Item("artifacts/systems/expr/vit", "d" * 32)], **params)
    deps = [Item("artifacts/systems/expr", "c" * 32)]
    made.stage("submit@expr", deps, [Item("submissions/expr/predictions.txt", "9" * 32)])
    return made


def test_an_honest_chain_keeps_the_rules(tmp_path: Path) -> None:
    project = expr_project(tmp_path, "artifacts/faces/extra", "artifacts/faces/lsd")
    claims = list(check_rules(project.case("submit@expr")))
    assert found(claims, "broken") == []
    assert len(claims) == 4  # two checkpoints, two rules


def test_an_encoder_that_saw_affwild2_is_named_with_its_way(tmp_path: Path) -> None:
    project = expr_project(tmp_path, "artifacts/faces/extra", "artifacts/faces/aff-wild2")
    said = found(check_rules(project.case("submit@expr")), "broken")
    assert len(said) == 1
    assert said[0].startswith('abaw10, "pre-trained models as long as not pre-trained on Aff-Wild2"')
    assert said[0].endswith("aff-wild2 (images) by artifacts/faces/aff-wild2 -> pretrain_mae@mae")


def test_another_tracks_labels_are_named_with_their_way(tmp_path: Path) -> None:
    project = expr_project(tmp_path, "artifacts/manifest/labels/va.parquet")
    said = found(check_rules(project.case("submit@expr"), "abaw8"), "broken")
    assert any("aff-wild2 (va) by artifacts/manifest/labels/va.parquet -> pretrain_mae@mae" in text for text in said)
    assert any("-> pretrain_mae@mae -> finetune@vit-expr" in text for text in said)


@pytest.mark.parametrize(
    ("trained_on", "verdict"), [("Aff-Wild2", "broken"), ("AffectNet", "verified"), ("unknown", "unchecked")]
)
def test_weights_from_outside_bring_what_they_saw(tmp_path: Path, trained_on: str, verdict: str) -> None:
    weights = declared("0" * 64, [trained_on], ["expression"])
    project = expr_project(tmp_path, "artifacts/faces/extra", weights=weights, backbone=TOY)
    claims = [c for c in check_rules(project.case("submit@expr")) if "pre-trained" in c.text and "finetune" in c.about]
    assert [claim.verdict for claim in claims] == [verdict]
    assert verdict == "verified" or f"{trained_on} (expression) by {TOY} -> finetune@vit-expr" in claims[0].text


def test_every_rule_has_its_words_and_their_source() -> None:
    for rules in EDITIONS.values():
        assert all(rule.words and rule.source and rule.tracks for rule in rules)
    assert (latest("expr"), latest("mtl"), latest("lsd"), latest("ce")) == ("abaw10", "abaw11", "abaw4", None)


def test_a_replaced_weight_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights").mkdir()
    Path(TOY).write_bytes(b"tensors")
    weights = declared(hashlib.sha256(b"tensors").hexdigest(), ["AffectNet"], ["expression"])
    case = expr_project(tmp_path / "cache", weights=weights, backbone=TOY).case("submit@expr")
    assert found(check_weights(case), "verified") == [f"{TOY}: MIT, trained on AffectNet; sha256 as declared"]
    Path(TOY).write_bytes(b"tensorz")
    (text,) = found(check_weights(case), "broken")
    assert text.startswith(f"{TOY}: the file is another one: sha256 ")
    Path(TOY).unlink()
    assert found(check_weights(case), "unchecked") == [f"{TOY}: MIT, trained on AffectNet; the file is not here"]


def test_a_weight_file_that_nobody_declared(tmp_path: Path) -> None:
    (text,) = found(check_weights(expr_project(tmp_path, backbone=TOY).case("submit@expr")), "broken")
    assert text == f"{TOY}: weights.yaml of a commit does not declare it"


@pytest.mark.parametrize(("label", "verdict"), [("expression", "verified"), ("va", "broken")])
def test_a_champion_that_a_training_goes_on_from_is_the_project_s_own(tmp_path: Path, label: str, verdict: str) -> None:
    """It has seen Aff-Wild2, as its track's training may; another track's champion brings another task's labels."""
    weights = declared("0" * 64, ["aff-wild2"], [label], source=f"champion/expr/2 at {'a' * 40}: {MADE}")
    project = expr_project(tmp_path, "artifacts/faces/extra", weights=weights, backbone=TOY)
    claims = [claim for claim in check_rules(project.case("submit@expr")) if "finetune" in claim.about]
    assert {claim.verdict for claim in claims} == {"verified", verdict}


def test_a_champions_file_is_what_its_commit_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    sha256 = hashlib.sha256(b"tensors").hexdigest()
    made = Project(tmp_path / "cache").item(Path(MADE).parent.as_posix(), {"weights.safetensors": b"tensors"})
    outs = [{"path": made.path, "md5": made.md5}]
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": {"finetune@vit-expr": {"cmd": "x", "outs": outs}}}))
    git("add", "dvc.lock")
    at = commit(Path(), "made")

    def claims(sha256: str, at: str, path: str = MADE) -> Any:
        weights = declared(sha256, ["aff-wild2"], ["expression"], source=f"champion/expr/1 at {at}: {path}")
        return list(check_weights(expr_project(tmp_path / "cache", weights=weights, backbone=TOY).case("submit@expr")))

    (text,) = found(claims(sha256, at), "verified")
    assert text.startswith(f"{TOY}: champion/expr/1 at {at}: {MADE}; the bytes that this commit's lock tells")
    (text,) = found(claims("0" * 64, at), "broken")
    assert "that commit made another file than the one declared" in text
    assert found(claims(sha256, "b" * 40), "unchecked") and found(claims(sha256, at, "elsewhere/x"), "unchecked")


# --- people ----------------------------------------------------------------------------------------------------------


def table(folder: Path, rows: list[dict[str, Any]]) -> bytes:
    write_parquet(folder / "t.parquet", pa.Table.from_pylist(rows))
    return (folder / "t.parquet").read_bytes()


def listed(split: str, video: str) -> dict[str, Any]:
    return {"split": split, "video": video, "base_video": base_video(video), "frame": 1, "image": f"{video}/00001.jpg"}


def people_project(folder: Path, train: str, test: str, files: dict[str, bytes] | None = None) -> Project:
    """VA with a video of each side, and a pool of unlabelled pictures."""
    made = Project(folder / "cache")
    raw = made.item("data/raw/x", files or {"train.mp4": b"1", "test.mp4": b"2", "pool/p.jpg": b"3"})
    made.lock.data[raw.path] = raw
    media = [
        {"dataset": "aff-wild2", "video": train, "paths": ["train.mp4"]},
        {"dataset": "aff-wild2", "video": test, "paths": ["test.mp4"]},
        {"dataset": "extra", "video": "pool", "paths": ["pool"]},
    ]
    splits = [{"dataset": "aff-wild2", "video": v, "split": s} for v, s in ((train, "train"), (test, "test"))]
    tables = {
        "labels/va.parquet": [listed("train", train), listed("validation", "other")],
        "templates/va.parquet": [listed("test", test)],
        "media.parquet": media,
        "splits.parquet": splits,
    }
    manifest = made.item("artifacts/manifest", {name: table(folder, rows) for name, rows in tables.items()})
    made.stage("ingest", [raw], [manifest], data={"root": "data/raw/x"})
    faces = [Item(f"artifacts/faces/{name}", "f" * 32) for name in ("aff-wild2", "extra")]
    labels = Item("artifacts/manifest/labels/va.parquet", "1" * 32)
    made.stage("finetune@x", [*faces, labels, manifest], [Item("artifacts/systems/va/x", "d" * 32)])
    deps = [Item("artifacts/systems/va", "c" * 32)]
    made.stage("submit@va", deps, [Item("submissions/va/predictions.txt", "9" * 32)])
    return made


def test_nobody_on_two_sides(tmp_path: Path) -> None:
    claims = list(check_people(people_project(tmp_path, "a", "t").case("submit@va")))
    assert {claim.verdict for claim in claims} == {"verified"}
    assert claims[-1].text == "none of 1 test files has the bytes of one of 2 trained on"


@pytest.mark.parametrize(("train", "test"), [("t", "t"), ("t_left", "t"), ("t_left", "t_left")])
def test_a_test_videos_frames_among_the_training_ones(tmp_path: Path, train: str, test: str) -> None:
    said = found(check_people(people_project(tmp_path, train, test).case("submit@va")), "broken")
    assert said[0] == "t: a recording of train and of test; the same person on both sides"
    assert said[1].startswith(f"{train}/00001.jpg: of the test list, and among the labelled rows of ")


def test_the_two_people_of_one_recording_are_two(tmp_path: Path) -> None:
    claims = list(check_people(people_project(tmp_path, "t_left", "t_right").case("submit@va")))
    assert found(claims, "broken") == []
    assert any("of t the one person and the other, as released" in claim.text for claim in claims)


@pytest.mark.parametrize("name", ["train.mp4", "pool/p.jpg"])
def test_a_test_file_under_another_name(tmp_path: Path, name: str) -> None:
    files = {"train.mp4": b"1", "test.mp4": b"2", "pool/p.jpg": b"3"} | {name: b"2"}
    (text,) = found(check_people(people_project(tmp_path, "a", "t", files).case("submit@va")), "broken")
    assert text == f"{name} has the bytes of test.mp4: a test item among the training inputs"


@pytest.mark.parametrize(("pool", "said"), [(b"3", "verified"), (b"2", "broken")])
def test_a_test_file_in_a_packed_release(tmp_path: Path, pool: bytes, said: str) -> None:
    root = tmp_path / "pack"
    for name, data in (("train.mp4", b"1"), ("test.mp4", b"2")):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(data)
    shard = pack.shard_path("pool", 0)
    rows, size = pack.write_shard(root / shard, "pool", [("p.jpg", pool)])
    sources = [
        pack.Source(n, 1, hashlib.sha256((root / n).read_bytes()).hexdigest()) for n in ("train.mp4", "test.mp4")
    ]
    pack.write_listing(root, [pack.Shard("pool", shard, rows, size)], sources)
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    case = people_project(tmp_path, "a", "t", files).case("submit@va")
    (text,) = [claim.text for claim in check_people(case) if claim.verdict == said and "bytes" in claim.text]
    assert ("pool/p.jpg has the bytes of test.mp4" in text) == (said == "broken")
    assert said == "broken" or text == "none of 1 test files has the bytes of one of 2 trained on"


@pytest.mark.parametrize(("label", "verdict"), [("expression", "unchecked"), ("identity", "verified")])
def test_labels_of_real_faces_behind_lsd_are_told_and_left_to_the_organisers(
    tmp_path: Path, label: str, verdict: str
) -> None:
    """No page of LSD's rules was found: what expressions of real faces have taught is no breach, and no proof."""
    made = Project(tmp_path, {"weights.yaml": declared("0" * 64, ["FER-2013"], [label])})
    own = [Item("artifacts/faces/lsd", "a" * 32), Item("artifacts/manifest/labels/lsd.parquet", "b" * 32)]
    params: dict[str, Any] = {"graph.trainings.fer-lsd": {"track": "lsd"}, "systems.mini_xception": {"weights": TOY}}
    made.stage("finetune@fer-lsd", own, [Item("artifacts/systems/lsd/fer", "d" * 32)], **params)
    deps = [Item("artifacts/systems/lsd", "c" * 32)]
    made.stage("submit@lsd", deps, [Item("submissions/lsd/predictions.txt", "9" * 32)])
    claims = [claim for claim in check_rules(made.case("submit@lsd")) if "synthetic" in claim.text]
    assert [claim.verdict for claim in claims] == [verdict]
    assert verdict == "verified" or (
        f"FER-2013 (expression) by {TOY} -> finetune@fer-lsd; whether labels of real faces may" in claims[0].text
    )
