"""A bundle: the same bytes twice, no face in it, and an audit of its own where it was unpacked."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.audit.exchange.contents import _holds_bytes
from pipeline.audit.exchange.package import shows_pictures
from pipeline.core.errors import MienError
from tests.audit.finished import FILE, git, mien
from tests.audit.licensed import committed

SUBMISSION = "submissions/va/predictions.txt"


def claims(*arguments: str) -> dict[tuple[str, str, str], str]:
    """Verdicts of an audit by what they are about, kind and text."""
    _, said = mien("audit", *arguments, "--json")
    return {(c["about"], c["kind"], c["text"]): c["verdict"] for c in json.loads(said)["claims"]}


def broken(told: dict[tuple[str, str, str], str]) -> set[tuple[str, str]]:
    return {(about, kind) for (about, kind, _), verdict in told.items() if verdict == "broken"}


def unpack(archive: Path, target: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        file.extractall(target)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of a few files whose chain is committed, as the working directory."""
    (tmp_path / "project").mkdir()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(committed(tmp_path / "project"))
    return tmp_path


@pytest.fixture
def unpacked(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its signed bundle, unpacked far from it, as the working directory; the project is gone."""
    mien("key", "../team.key")
    mien("bundle", SUBMISSION, "-o", "../bundle.zip", "--sign", "../team.key")
    unpack(project / "bundle.zip", project / "unpacked")
    monkeypatch.chdir(project / "unpacked")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.rmtree(project / "project")
    return project / "unpacked"


def faces_in(folder: Path) -> list[str]:
    """Files that show a face, or might: pictures, films, tables with bytes or features."""
    found = []
    for path in (path for path in sorted(folder.rglob("*")) if path.is_file()):
        schema = pq.read_schema(path) if path.read_bytes()[:4] == b"PAR1" else pa.schema([])
        features = any(pa.types.is_fixed_size_list(field.type) and field.type.list_size > 64 for field in schema)
        if shows_pictures(path.read_bytes()) or _holds_bytes(schema) or features:
            found.append(path.relative_to(folder).as_posix())
    return found


def test_the_archive_itself_is_the_submission(project: Path) -> None:
    """In its project a bundle may be asked about as it is, whatever else of the chain lies in it."""
    mien("bundle", SUBMISSION, "-o", "b.zip")
    _, said = mien("audit", "b.zip", "--json")
    told = json.loads(said)
    assert (told["stage"], told["undone"]) == ("submit@va", "predictions.txt of the archive")


def test_two_bundles_are_the_same_bytes(project: Path) -> None:
    mien("key", "../team.key")
    for name in ("1.zip", "2.zip"):
        mien("bundle", SUBMISSION, "-o", name, "--sign", "../team.key")
        Path("tool.sh").touch()
    assert Path("1.zip").read_bytes() == Path("2.zip").read_bytes()


def test_what_is_in_it_and_what_is_named_instead(unpacked: Path) -> None:
    manifest = json.loads(Path("bundle.json").read_text())
    names = {p.relative_to(unpacked).as_posix() for p in unpacked.rglob("*") if p.is_file()}
    assert names == {*manifest["files"], "bundle.json"}
    assert {
        "README.md",
        "audit.html",
        "code/dvc.lock",
        "code/params.yaml",
        "git/commit",
        "outputs/artifacts/mae/encoder.safetensors",
        "outputs/artifacts/runs/finetune@vit-va/run.json",
        "outputs/artifacts/systems/va/vit/test.parquet",
        "outputs/artifacts/systems/va/vit/weights.safetensors",
        "predictions.txt",
        "statement.intoto.json",
    } <= names
    assert faces_in(unpacked) == []
    left = {one["path"] for one in manifest["left_out"]}
    assert {
        "artifacts/faces",
        "artifacts/mae/reconstruction.png",
        "data/raw/x",
        "code/docs/face.png",
        "code/docs/face.html",
    } <= left
    assert all(one["why"] and one["digest"] for one in manifest["left_out"])


def test_unpacked_it_says_no_less_than_the_project_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = claims(SUBMISSION)
    mien("bundle", SUBMISSION, "-o", "../bundle.zip")
    unpack(project / "bundle.zip", project / "unpacked")
    monkeypatch.chdir(project / "unpacked")
    shutil.rmtree(project / "project")
    here = claims("predictions.txt")
    unknown = ("finetune@vit-va", "commit")  # it says that it ran at a commit that never was: a bundle has one commit
    assert broken(there) - broken(here) == {unknown} and not broken(here) - broken(there)
    own = {key: verdict for key, verdict in here.items() if key[0] == "bundle"}
    assert set(own.values()) == {"verified"} and len(own) == 2
    assert here["artifacts/systems/va/vit", "bytes", _text(here, "artifacts/systems/va/vit")] == "unchecked"
    assert here["submissions/va/predictions.txt", "bytes", _text(here, SUBMISSION)] == "verified"
    assert "files are not here" in _text(here, "artifacts/faces")
    assert list(Path().glob(".mien")) == [] and not Path(".git").exists()  # the audit leaves nothing behind


def _text(told: dict[tuple[str, str, str], str], about: str) -> str:
    (text,) = (text for one, kind, text in told if (one, kind) == (about, "bytes"))
    return text


def test_its_statement_holds_where_it_was_unpacked(unpacked: Path) -> None:
    verify = ("--verify-attestation", "statement.intoto.json")
    code, said = mien("audit", "predictions.txt", *verify, "--key", "../team.key.pub")
    assert (code, "verified: statement: signature: by the key" in said) == (0, True)
    mien("key", "../other.key")
    code, said = mien("audit", "predictions.txt", *verify, "--key", "../other.key.pub")
    assert (code, "BROKEN: statement: signature" in said) == (1, True)
    Path("predictions.txt").write_text(Path("predictions.txt").read_text().replace("0.5", "0.6", 1))
    code, said = mien("audit", "predictions.txt", *verify)
    assert (code, "BROKEN: statement: subject: about other bytes" in said) == (1, True)


def test_pages_and_crates_come_out_of_it_too(unpacked: Path) -> None:
    mien("audit", "predictions.txt", "--html", "page.html", "--crate", "crate", "--attest", "again.json")
    assert Path("page.html").is_file() and Path("crate/ro-crate-metadata.json").is_file()
    code, said = mien("audit", "predictions.txt", "--verify-attestation", "again.json")
    assert code == 0, said


def test_what_an_installation_leaves_in_the_code_is_no_fault(unpacked: Path) -> None:
    Path("code/mien.egg-info").mkdir()
    Path("code/mien.egg-info/PKG-INFO").write_text("made by pip")
    told = claims("predictions.txt")
    assert ("bundle", "bytes") not in broken(told)
    assert Path("code/docs/überblick.md").is_file()


def test_a_list_that_leads_out_of_the_bundle(unpacked: Path) -> None:
    Path("secret.txt").write_text("mine")
    edit("git/tree", b"\ttool.sh", b"\t../secret.txt")()
    with pytest.raises(MienError, match="leads out of"):
        mien("audit", "predictions.txt")


def edit(path: str, old: bytes, new: bytes) -> Callable[[], None]:
    def do() -> None:
        data = Path(path).read_bytes()
        assert old in data
        Path(path).write_bytes(data.replace(old, new, 1))

    return do


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (edit("code/params.yaml", b"a: 1", b"a: 2"), "code/params.yaml: not as the commit has it"),
        (edit("git/tree", b"100644 blob ", b"100755 blob "), "git/tree: not the list of files of git/commit"),
        (lambda: Path("git/commit").unlink(), "git/commit: No such file"),
        (lambda: Path("bundle.json").write_text("[]"), "bundle.json: not the list of a bundle's files"),
        (edit("bundle.json", b'"README.md"', b'"../README.md"'), r"'\.\./README.md' leads out of"),
    ],
)
def test_code_that_is_not_the_commits_is_told_in_one_line(
    unpacked: Path, change: Callable[[], object], said: str
) -> None:
    change()
    with pytest.raises(MienError, match=said) as error:
        mien("audit", "predictions.txt")
    assert "\n" not in str(error.value) and error.value.exit_code == 1


def test_a_commit_of_ones_own_is_another_commit(unpacked: Path) -> None:
    """Whoever also edits git's record gets another commit, which the statement does not name."""
    edit("git/commit", b"clone", b"other")()
    code, said = mien("audit", "predictions.txt", "--verify-attestation", "statement.intoto.json")
    assert code == 1
    assert "the project: said and found: digest.gitCommit" in said
    assert "BROKEN: bundle: bytes: git/commit has other bytes" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            edit("outputs/artifacts/mae/encoder.safetensors", b"tensors", b"tensorz"),
            "outputs/artifacts/mae/encoder.safetensors has other bytes",
        ),
        (lambda: Path("README.md").unlink(), "README.md is not there"),
        (lambda: Path("code/params.yaml").unlink(), "code/params.yaml is not there"),
        (lambda: Path("outputs/more.txt").write_text("x"), "outputs/more.txt was put there"),
    ],
)
def test_other_files_than_it_was_packed_with(unpacked: Path, change: Callable[[], object], said: str) -> None:
    change()
    told = claims("predictions.txt")
    (text,) = (text for (about, kind, text), v in told.items() if (about, kind, v) == ("bundle", "bytes", "broken"))
    assert text == said


def test_what_it_needs_is_asked_for(project: Path) -> None:
    with pytest.raises(MienError, match="a bundle is a zip file"):
        mien("bundle", SUBMISSION, "-o", "bundle.tar")
    with pytest.raises(MienError, match="Mien did not make these bytes"):
        mien("bundle", "params.yaml", "-o", "b.zip")
    with pytest.raises(MienError, match="--sign goes with --attest alone"):
        mien("audit", SUBMISSION, "--sign", "k")
    with pytest.raises(MienError, match="--key goes with --verify-attestation alone"):
        mien("audit", SUBMISSION, "--key", "k")
    git("rm", "-q", "--cached", "dvc.lock")
    git("commit", "-q", "--amend", "-m", "no lock")
    with pytest.raises(MienError, match=r"dvc\.lock of this chain is not committed"):
        mien("bundle", SUBMISSION, "-o", "b.zip")


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_whole_run_in_a_bundle(clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of rendered data: weights of encoder, system and temporal model, every code file verified, nothing broken."""
    mien("key", "../team.key")
    assert mien("bundle", str(FILE), "-o", "../bundle.zip", "--sign", "../team.key")[0] == 0
    unpack(tmp_path / "bundle.zip", tmp_path / "empty")
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.move(clone, tmp_path / "gone")
    assert faces_in(tmp_path / "empty") == []
    assert len(list(Path("outputs").rglob("*.safetensors"))) == 3
    assert sorted(p.name for p in Path("external").rglob("*.onnx")) == ["onet.onnx", "pnet.onnx", "rnet.onnx"]
    code, said = mien("audit", "predictions.txt", "--json")
    told = json.loads(said)
    assert (code, told["counts"]["broken"]) == (0, 0)
    assert told["counts"]["verified"] > 80
    kinds = {claim["kind"] for claim in told["claims"] if claim["verdict"] == "verified"}
    assert kinds >= {"bytes", "link", "params", "graph", "code", "commit", "made", "weights", "rules"}
    assert mien("rules", "predictions.txt")[0] == 0
    verify = ("--verify-attestation", "statement.intoto.json", "--key", "../team.key.pub")
    assert mien("audit", "predictions.txt", *verify)[0] == 0
