"""What may be handed on: weights, scores of the test list and records; never a face, whatever its name."""

import base64
import hashlib
import zipfile
from pathlib import Path

import pytest
import yaml

from pipeline.audit.exchange.contents import STAGES, is_rendered, kept_outputs, kept_weights, raw_data, report_of
from pipeline.audit.exchange.package import Member, is_media, shows_pictures, write_package
from pipeline.core.errors import MienError
from tests.audit.licensed import CLOSED, JPEG, OPEN, PNG, TOY, licensed, parquet


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_outputs_by_what_they_are(tmp_path: Path) -> None:
    kept, left = kept_outputs(licensed(tmp_path).case("submit@va"))
    assert sorted(kept) == [
        "artifacts/code/finetune-vit.txt",
        "artifacts/mae/encoder.safetensors",
        "artifacts/runs/finetune@vit-va/run.json",
        "artifacts/systems/va/vit/test.parquet",
        "artifacts/systems/va/vit/weights.safetensors",
        "submissions/va/predictions.txt",
    ]
    assert {one.path: one.why for one in left} == {
        "artifacts/faces": "made of the data, and may show them",
        "artifacts/mae/reconstruction.png": "a picture",
        "artifacts/systems/va/vit/validation.parquet": "neither weights nor scores of the test list nor a record",
        "data/raw/x": "data under their own terms",
    }


def test_the_stages_that_are_trusted_are_stages(root: Path) -> None:
    """And those that read faces to write tables of them are not among them."""
    stages = set(yaml.safe_load((root / "dvc.yaml").read_text())["stages"])
    assert set(STAGES) <= stages
    closed = {"ingest", "detect_align", "external_faces", "cache_features", "pseudo_label_aus", "report"}
    assert stages - set(STAGES) == closed | {"pseudo_label_expressions"}  # a new stage is decided upon here


@pytest.mark.parametrize("head", [JPEG, PNG, b"\x00\x00\x00 ftypisom", b"RIFF....AVI ", b"\x1a\x45\xdf\xa3"])
def test_a_face_under_a_weights_name_stays_out(tmp_path: Path, head: bytes) -> None:
    project = licensed(tmp_path)
    item = project.item("artifacts/systems/va/vit", {"weights.safetensors": head, "metrics.json": b"{}"})
    project.stage("finetune@vit-va", [], [item])
    kept, left = kept_outputs(project.case("submit@va"))
    assert "artifacts/systems/va/vit/metrics.json" in kept
    assert "artifacts/systems/va/vit/weights.safetensors" not in kept
    assert [one.why for one in left if one.path.endswith("weights.safetensors")] == ["a picture"]


def test_a_column_of_bytes_stays_out(tmp_path: Path) -> None:
    project = licensed(tmp_path)
    item = project.item("artifacts/systems/va/vit", {"test.parquet": parquet(tmp_path, crops=[[JPEG]], va=[0.5])})
    project.stage("finetune@vit-va", [], [item])
    _, left = kept_outputs(project.case("submit@va"))
    assert [one.why for one in left if one.path.endswith("test.parquet")] == ["it has a column of bytes"]


def test_weights_from_outside_by_their_licence(tmp_path: Path) -> None:
    Path("weights").mkdir()
    Path(TOY).write_bytes(b"toy")
    Path(CLOSED).write_bytes(b"closed")
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("toy", "closed")}
    declared = {
        "toy.safetensors": OPEN | {"sha256": digests["toy"]},
        "closed.safetensors": OPEN | {"sha256": digests["closed"], "licence": "CC-BY-NC 4.0"},
        "gone.safetensors": OPEN | {"sha256": "3" * 64},
    }
    kept, left = kept_weights(licensed(tmp_path, declared).case("submit@va"))
    assert list(kept) == [TOY]
    why = {one.path: one.why for one in left if "mtcnn" not in one.path}
    assert why.keys() == {CLOSED, "weights/gone.safetensors"}
    assert "whose licence, CC-BY-NC 4.0, is not one that lets anybody pass them on" in why[CLOSED]
    assert all(text.endswith("from https://example.org/toy") for text in why.values())
    Path(TOY).write_bytes(b"another")
    _, left = kept_weights(licensed(tmp_path, declared).case("submit@va"))
    assert any(one.path == TOY and "the file here is another one" in one.why for one in left)


def test_the_report_goes_along_with_rendered_data_alone(tmp_path: Path) -> None:
    project = licensed(tmp_path)
    report = project.item("reports/index.html", b"<img src=data:image/jpeg;base64,/9j/>")
    project.stage("report", [], [report])
    assert not is_rendered(project.case("submit@va"))
    assert report_of(project.case("submit@va")) is None
    raw = project.lock.data.pop("data/raw/x")
    assert not is_rendered(project.case("submit@va"))  # data that nobody versions are not rendered ones
    project.stage("synthesize", [], [raw])
    case = project.case("submit@va")
    assert is_rendered(case) and report_of(case) is not None
    assert raw_data(case) == [raw]


def test_same_members_same_bytes_whenever_and_whatever_their_files_are(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"weights" * 1000)
    members = {"b/two": Member(path), "a": Member(b"one", executable=True)}
    write_package(tmp_path / "1.zip", members)
    path.chmod(0o600)
    path.touch()
    write_package(tmp_path / "2.zip", dict(reversed(members.items())))
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "1.zip") as archive:
        facts = {one.filename: (one.date_time, one.external_attr >> 16) for one in archive.infolist()}
        assert facts == {"a": ((1980, 1, 1, 0, 0, 0), 0o100755), "b/two": ((1980, 1, 1, 0, 0, 0), 0o100644)}
        assert archive.read("b/two") == path.read_bytes()


def test_a_folder_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years")
    with pytest.raises(MienError, match="is there already and is not overwritten"):
        write_package(tmp_path / "mine", {"a": Member(b"")})
    assert (tmp_path / "mine/thesis.txt").read_text() == "years"
    with pytest.raises(MienError, match="leads out of"):
        write_package(tmp_path / "new", {"../a": Member(b"")})


@pytest.mark.parametrize("name", ["jpg", "png", "webp", "gif", "bmp"])
def test_pictures_are_known_by_their_first_bytes(tmp_path: Path, name: str) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / f"face.{name}")
    assert is_media(tmp_path / f"face.{name}")
    assert not is_media(b"{}") and not is_media(b"") and not is_media(b"BMI of a person")


def test_pictures_within_pages_and_notebooks() -> None:
    picture = base64.b64encode(JPEG * 9)
    assert shows_pictures(b'<img src="data:image/jpeg;base64,' + picture + b'">')
    assert shows_pictures(b'{"data": {"image/png": "' + picture + b'"}}')
    assert shows_pictures(PNG)
    assert not shows_pictures(b'<img src="data:image/jpeg;base64,{{ face }}">')
