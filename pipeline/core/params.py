"""params.yaml as frozen, validated sections: units in the names, an unknown key is a named error.

Each section's class stands beside the code that it sets (`faces/detector.py` has DetectAlign); a stage reads the
sections that it uses and no others. `pipeline/settings.py` knows them all and checks the whole file.
"""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.core.errors import MienError
from pipeline.core.safe_yaml import parse_yaml
from pipeline.core.secrets import is_secret_key, redacted

PARAMS = Path("params.yaml")
DEEPEST, MOST_VALUES = 20, 100_000


class Section(BaseModel):
    """A params section: immutable, no unknown keys, no silent conversion of types, no number that is none."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Kind = TypeVar("Kind", bound=Section)


def _refuse_knots(text: str, path: Path) -> None:
    """A file of a few lines whose aliases (`*name`) stand for each other has no end once they are followed."""
    values: dict[str | None, int] = {}  # how many each anchor stands for
    open_ones: list[tuple[str | None, int]] = [(None, 0)]
    for event in yaml.parse(text, yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_ones.append((event.anchor, 1))
        elif isinstance(event, yaml.ScalarEvent | yaml.AliasEvent | yaml.CollectionEndEvent):
            anchor, held = open_ones.pop() if isinstance(event, yaml.CollectionEndEvent) else (event.anchor, 1)
            held = values.get(anchor, 1) if isinstance(event, yaml.AliasEvent) else held
            values[anchor] = held
            outer, before = open_ones.pop()
            open_ones.append((outer, before + held))
        if len(open_ones) > DEEPEST or open_ones[-1][1] > MOST_VALUES:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise MienError(f"{path}:{line}: too deep or too many values for params; restore it from the repository", 2)


def _refuse_secrets(node: Any, path: str, where: str) -> None:
    if isinstance(node, dict):
        for key, value in node.items():
            if is_secret_key(str(key)):
                raise MienError(
                    f"{path}: {where}{key} looks like a secret; keep it in the environment, params are copied"
                )
            _refuse_secrets(value, path, f"{where}{key}.")
    elif isinstance(node, list):
        for item in node:
            _refuse_secrets(item, path, where)
    elif isinstance(node, str) and redacted(node) != node:
        raise MienError(f"{path}: {where.rstrip('.')} holds a URL with credentials; keep them in the environment")


def _complaint(error: ValidationError, where: str) -> str:
    """The first fault in one phrase: the key's full name and what is wrong with it."""
    first = error.errors()[0]
    key = ".".join([*([where] if where else []), *(str(part) for part in first["loc"])])
    if first["type"] == "extra_forbidden":
        return f"unknown key {key}; remove it or mend its spelling"
    what = first["msg"].removeprefix("Value error, ")
    return f"{key}: {what}" if key else what


def read_tree(path: Path | None = None) -> dict[str, Any]:
    """The whole file as it stands; `MienError` when it is no YAML mapping or holds what looks like a secret."""
    path = path or PARAMS
    try:
        text = path.read_text(encoding="utf-8")
        _refuse_knots(text, path)
        tree = parse_yaml(text)
    except FileNotFoundError:
        raise MienError(f"{path}: no such file; run from the project's root", exit_code=2) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise MienError(f"{path}: not readable as YAML: {' '.join(str(error).split())}", exit_code=2) from None
    if not isinstance(tree, dict):
        raise MienError(f"{path}: holds no sections; restore it from the repository", exit_code=2)
    _refuse_secrets(tree, str(path), "")
    return tree


def validated(kind: type[Kind], tree: Any, where: str = "", path: Path | None = None) -> Kind:
    """`tree` as a section of this kind; `MienError` names the file, the key and the mend."""
    try:
        return kind.model_validate(tree, context={"path": path})
    except ValidationError as error:
        raise MienError(f"{path or PARAMS}: {_complaint(error, where)}", exit_code=2) from None


def read_value(name: str, path: Path | None = None) -> Any:
    """One value of params.yaml by its dotted name, as it stands there."""
    tree: Any = read_tree(path)
    for depth, part in enumerate(name.split(".")):
        if not isinstance(tree, dict) or part not in tree:
            parent = ".".join(name.split(".")[:depth]) or "the file"
            raise MienError(f"{path or PARAMS}: {parent} has no {part}", exit_code=2)
        tree = tree[part]
    return tree


def read_section(name: str, kind: type[Kind], path: Path | None = None) -> Kind:
    """One section of params.yaml by its dotted name (`systems.vit`)."""
    return validated(kind, read_value(name, path), name, path)
