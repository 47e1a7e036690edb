"""How somebody else's data set says what a face shows, and what that is in ABAW's words: the `--map` of an import."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from pipeline.abaw.tracks import AUS, EXPRESSIONS
from pipeline.core.errors import MienError
from pipeline.core.params import Section, validated
from pipeline.core.safe_yaml import parse_yaml

Form = Literal["folders", "csv"]


class Columns(Section):
    """Names of a CSV's columns; what is left out is not there."""

    image: str
    split: str | None = None
    expression: str | None = None
    valence: str | None = None
    arousal: str | None = None
    aus: dict[str, str] = Field(default={})

    @model_validator(mode="after")
    def _some_label(self) -> "Columns":
        if bool(self.valence) != bool(self.arousal):
            raise ValueError("valence and arousal come together")
        if unknown := sorted(set(self.aus) - set(AUS)):
            raise ValueError(f"aus: there is no {unknown[0]}; ABAW has {', '.join(AUS)}")
        if not (self.expression or self.valence or self.aus):
            raise ValueError("name at least one column of labels: expression, valence and arousal, or aus")
        return self


class LabelMap(Section):
    """How a data set's own words become ABAW's.

    `classes`: its class (a folder's name, or what stands in the CSV) to ABAW's expression, null for one that ABAW has
    not (contempt). `file`: the CSV below the source; `images`: the folder that its image names start from. `splits`:
    its names of train, validation and test. `invalid`: cells that mean no label. `faces`: whether the pictures are
    aligned faces already, or whole.
    """

    source: str
    licence: str
    faces: Literal["aligned", "whole"]
    known_as: str = ""
    classes: dict[str, str | None] = Field(default={})
    file: str = ""
    images: str = ""
    columns: Columns | None = None
    splits: dict[str, Literal["train", "validation", "test"]] = Field(default={})
    invalid: list[str] = Field(default=[""])

    @model_validator(mode="after")
    def _abaw_classes(self) -> "LabelMap":
        for word, name in self.classes.items():
            if name is not None and name not in EXPRESSIONS:
                known = ", ".join(EXPRESSIONS)
                raise ValueError(f"classes.{word}: {name} is none of {known}; null leaves the class out")
        return self


def read_map(path: Path, form: Form) -> LabelMap:
    """The map of a data set, checked against the form that its labels have."""
    try:
        tree: Any = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise MienError(f"--map {path}: {' '.join(str(error).split())}", exit_code=2) from None
    if isinstance(tree, dict) and isinstance(tree.get("classes"), dict):
        tree["classes"] = {str(word): name for word, name in tree["classes"].items()}  # YAML reads 0 as a number
    if isinstance(tree, dict) and isinstance(tree.get("invalid"), list):
        tree["invalid"] = [str(cell) for cell in tree["invalid"]]
    found = validated(LabelMap, tree, "", path)
    if form == "csv" and not (found.columns and found.file):
        raise MienError(f"{path}: labels in a CSV need `file` and `columns`", exit_code=2)
    if not found.classes and (form == "folders" or (found.columns and found.columns.expression)):
        raise MienError(f"{path}: `classes` must map each class to one of {', '.join(EXPRESSIONS)}", exit_code=2)
    return found
