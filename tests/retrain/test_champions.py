"""Where the champions' files lie for `mien predict`: copied once, by commit; without a history nothing is asked."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.errors import MienError
from pipeline.core.files import write_json
from pipeline.predict import members
from pipeline.predict.members import Home, load_models
from pipeline.predict.predictor import detection, sources_told
from pipeline.retrain.champions import KEPT, champion_homes, note_versions
from pipeline.retrain.history import Champion, Record, append
from pipeline.tables.fitted import Fitted, as_json


def remember(**champions: str) -> None:
    named = {track: Champion(tag=f"champion/{track}/7", commit=commit) for track, commit in champions.items()}
    append(Record(kind="run", date="", commit="f" * 40, champions=named))


@pytest.fixture
def bundled(monkeypatch) -> list[str]:
    """Bundles as they are asked for; DVC has none of `missing`."""
    asked = []

    def bundle(commit: str, track: str, folder: Path, _: object) -> None:
        asked.append(f"{track} {commit}")
        if commit == "missing":
            raise MienError("DVC's cache lacks it")
        folder.mkdir(exist_ok=True)
        (folder / "params.yaml").write_text(Path("params.yaml").read_text())
        fitted = {"va": Fitted((1.0,), 0, ())}
        write_json(folder / f"artifacts/ensemble/{track}/fitted.json", as_json(fitted, ["vit"]))

    monkeypatch.setattr("pipeline.retrain.bundle.bundle", bundle)
    return asked


def test_no_history_no_champion_and_nothing_heavy(workspace, root):
    assert champion_homes() == {}
    code = "import sys; from pipeline.retrain.champions import champion_homes; assert champion_homes() == {}\n"
    code += "sys.exit(sum(name in sys.modules for name in ('mlflow', 'dvc', 'prefect')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=workspace, env={"PYTHONPATH": str(root)}).returncode == 0


def test_a_champion_is_brought_once_and_takes_the_place_of_the_former(workspace, bundled):
    remember(va="a" * 40)
    note_versions({"va": ("a" * 40, "3")})
    first = champion_homes()
    assert first == {"va": Home(KEPT / f"va-{'a' * 40}", f"champion/va/7 (mien-va version 3) of commit {'a' * 10}")}
    assert champion_homes() == first and bundled == [f"va {'a' * 40}"]
    remember(va="b" * 40)
    assert champion_homes()["va"].name == f"champion/va/7 of commit {'b' * 10}"  # the registry knows the former alone
    assert [path.name for path in KEPT.iterdir()] == [f"va-{'b' * 40}"]


def test_a_champion_that_cannot_be_had_leaves_the_workspace_to_answer(workspace, bundled, capsys):
    remember(va="missing", au="c" * 40)
    assert champion_homes().keys() == {"au"}
    told = capsys.readouterr().err
    assert "champion/va/7 cannot be had (DVC's cache lacks it); va is answered by the workspace" in told
    assert not list(KEPT.glob("va-*"))


def test_champions_answer_from_their_own_folder(workspace, bundled, monkeypatch):
    places: list[Path] = []
    monkeypatch.setattr(members, "load_member", lambda *_: places.append(Path.cwd()))
    fitted = {"expression": Fitted((1.0,), 0, ())}
    write_json(workspace / "artifacts/ensemble/expr/fitted.json", as_json(fitted, ["vit"]))
    remember(va="a" * 40)
    models = load_models(champion_homes())
    assert places == [workspace, workspace / KEPT / f"va-{'a' * 40}"] and Path.cwd() == workspace
    told = sources_told(models)
    assert "valence and arousal: va's vit, champion/va/7 of commit aaaaaaaaaa" in told
    assert "expressions: expr's vit" in told
    assert detection(models)[1] == []
    params = KEPT / f"va-{'a' * 40}" / "params.yaml"
    params.write_text(params.read_text().replace("max_gap_frames: 15", "max_gap_frames: 3"))
    chosen, (differing,) = detection(models)
    assert chosen.max_gap_frames == 15
    assert differing == "faces are found as expr has it in its params; va was trained on faces found otherwise"


def test_weights_of_another_network_are_one_line(workspace, bundled, monkeypatch):
    def does_not_fit(*_: str) -> None:
        raise RuntimeError("Error(s) in loading state_dict for System:\n\tsize mismatch")

    monkeypatch.setattr(members, "load_member", does_not_fit)
    remember(va="a" * 40)
    with pytest.raises(MienError, match=r"champion/va/7 of commit aaaaaaaaaa: its weights do not fit this code"):
        load_models(champion_homes())
