"""Other people's labelled faces: both forms of labels, and everything that can be wrong with them in one line."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.abaw.tracks import AUS, EXPRESSIONS
from pipeline.core.errors import MienError
from pipeline.core.parquet import read_parquet
from pipeline.release.external import import_external
from pipeline.release.label_map import Form, read_map
from pipeline.validate.commands import add_arguments
from tests.abaw_fixture import jpeg, write

ABOUT = {"source": "https://example.org", "licence": "research only", "faces": "aligned"}
FOLDERS = ABOUT | {
    "known_as": "raf-db",
    "classes": {"happy": "Happiness", "sad": "Sadness", "contempt": None},
    "splits": {"val": "validation"},
}
CSV = ABOUT | {
    "file": "labels/train.csv",
    "images": "faces",
    "columns": {
        "image": "path",
        "split": "set",
        "expression": "emotion",
        "valence": "v",
        "arousal": "a",
        "aus": {"AU12": "smile"},
    },
    "classes": {0: "Neutral", 1: "Happiness", 7: None},
    "splits": {"training": "train", "test": "test"},
    "invalid": ["", -2, "999"],
}
HEADER = "id,path,emotion,v,a,smile,set"


def a_map(folder: Path, tree: dict[str, Any], form: Form) -> Any:
    return read_map(write(folder / "map.yaml", yaml.safe_dump(tree)), form)


def imported(source: Path, tree: dict[str, Any], form: Form) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    _, card = import_external(source, Path("data/raw/other"), form, a_map(Path(), tree, form))
    return card, read_parquet(Path("data/raw/other/labels.parquet")).to_pylist()


@pytest.fixture
def folders(workspace: Path) -> Path:
    for number, name in enumerate(("train/happy/a.jpg", "train/happy/b.jpg", "train/contempt/c.jpg", "val/sad/d.jpg")):
        write(workspace / "source" / name, jpeg(number))
    return workspace / "source"


def with_csv(workspace: Path, *lines: str, header: str = HEADER) -> Path:
    for number, name in enumerate("abc"):
        write(workspace / f"source/faces/{name}.jpg", jpeg(number))
    write(workspace / "source/labels/train.csv", "\n".join(["\ufeff" + header, *lines]) + "\r\n")
    return workspace / "source"


def test_a_folder_a_class(folders):
    card, rows = imported(folders, FOLDERS, "folders")
    assert [(row["image"], row["split"], EXPRESSIONS[row["expression"]]) for row in rows] == [
        ("train/happy/a.jpg", "train", "Happiness"),
        ("train/happy/b.jpg", "train", "Happiness"),
        ("val/sad/d.jpg", "validation", "Sadness"),
    ]
    assert all(row["aus"] == [-1] * 12 and row["va"] == [-5, -5] for row in rows)
    assert card["label_types"] == ["expression"] and card["left_out"] == ["contempt"] and card["known_as"] == "raf-db"
    assert json.loads(Path("data/raw/other/external.json").read_text()) == card


def test_a_csv_of_any_columns(workspace):
    source = with_csv(
        workspace, "1,a.jpg,1,0.5,-0.25,1,training", "2,b.jpg,7,-2,0.1,0,training", "3,c.jpg,0,999,,,test"
    )
    card, rows = imported(source, CSV, "csv")
    assert [row["image"] for row in rows] == ["faces/a.jpg", "faces/b.jpg", "faces/c.jpg"]
    first, second, third = rows
    smile = AUS.index("AU12")
    assert (first["expression"], first["va"], first["aus"][smile]) == (EXPRESSIONS.index("Happiness"), [0.5, -0.25], 1)
    assert (second["expression"], second["va"], second["aus"][smile]) == (-1, [-5, -5], 0)  # valence marked as none
    assert (third["expression"], third["split"], max(third["aus"])) == (0, "test", -1)
    assert card["label_types"] == ["expression", "aus", "va"] and card["splits"] == {"test": 1, "train": 2}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,a.jpg,5,0,0,0,training", "line 2: the class '5' is not in the map"),
        ("1,a.jpg,1,1.5,0,0,training", "line 2: valence and arousal lie within -1 and 1, not 1.5"),
        ("1,a.jpg,1,nan,0,0,training", "line 2: valence and arousal lie within"),
        ("1,a.jpg,1,x,0,0,training", "line 2: could not convert"),
        ("1,a.jpg,1,0,0,3,training", "line 2: an action unit is 0 or 1, not 3"),
        ("1,a.jpg,1,0,0,0,dev", "line 2: the split 'dev' is not in the map"),
        ("1,../../x.jpg,1,0,0,0,training", "line 2: 'faces/../../x.jpg' leads out of its folder"),
        ("1,a.jpg,1,0,0,0,training\n2,a.jpg,1,0,0,0,training", "line 3: faces/a.jpg stands there twice"),
        ("1,nowhere.jpg,1,0,0,0,training", "1 of its pictures are not there, first faces/nowhere.jpg"),
        ("1,a.jpg,7,-2,,,training", "no picture with a label that the map knows"),
    ],
)
def test_a_bad_line_is_named(workspace, line, message):
    source = with_csv(workspace, *line.split("\n"))
    with pytest.raises(MienError) as error:
        imported(source, CSV, "csv")
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not Path("data/raw/other/labels.parquet").exists()


@pytest.mark.parametrize(
    ("change", "form", "message"),
    [
        ({"classes": {"happy": "Joy"}}, "folders", "classes.happy: Joy is none of Neutral, Anger"),
        ({"classes": {}}, "folders", "`classes` must map each class"),
        ({"licence": None}, "folders", "licence"),
        ({"columns": None}, "csv", "labels in a CSV need `file` and `columns`"),
        ({"columns": {"image": "path", "valence": "v"}}, "csv", "valence and arousal come together"),
        ({"columns": {"image": "path"}}, "csv", "name at least one column of labels"),
        ({"columns": {"image": "path", "aus": {"AU99": "x"}}}, "csv", "there is no AU99"),
    ],
)
def test_a_bad_map_is_one_line(workspace, change, form, message):
    with pytest.raises(MienError) as error:
        a_map(workspace, CSV | change, form)
    assert message in str(error.value) and "map.yaml" in str(error.value) and "\n" not in str(error.value)


def test_a_column_that_is_not_there_is_named(workspace):
    source = with_csv(workspace, "a.jpg,1", header="path,label")
    with pytest.raises(MienError, match=r"labels/train\.csv, line 1: there is no column set; there are: path, label"):
        imported(source, CSV, "csv")


def test_a_folder_that_the_map_does_not_know_is_named(folders):
    write(folders / "train/bored/e.jpg", jpeg(9))
    with pytest.raises(MienError, match="train/bored holds pictures and is no class of the map"):
        imported(folders, FOLDERS, "folders")


def test_the_command_says_what_comes_next(folders, capsys):
    import argparse

    parser = argparse.ArgumentParser()
    add_arguments(parser.add_subparsers())
    write(Path("map.yaml"), yaml.safe_dump(FOLDERS))
    args = parser.parse_args(
        ["data", "import", str(folders), "--name", "raf", "--labels", "folders", "--map", "map.yaml"]
    )
    assert args.run(args) == 0
    told = capsys.readouterr().out
    assert "3 pictures with expression; left out: contempt" in told
    assert "graph.external.raf: {path: data/raw/raf}" in told
    args.labels = None
    with pytest.raises(MienError, match=r"need both --labels folders\|csv and --map"):
        args.run(args)
