"""What dvc.yaml says that a stage depends on, with its params filled in: for a stage to ask about itself.

DVC's own reader takes two seconds to import; this one knows the little that our files use (`foreach`, `${a.b[0]}`) and
tests/core/test_deps.py compares the two over the whole graph.
"""

import functools
import re
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.errors import MienError
from pipeline.core.params import read_tree

DVC_FILES = (Path("dvc.yaml"), Path("demo/dvc.yaml"))  # both work from the project's root
EXPRESSION = re.compile(r"\$\{([^}]+)\}")


def _value(context: dict[str, Any], expression: str) -> Any:
    """The value of `a.b[0]`."""
    node: Any = context
    for part in re.findall(r"[^.\[\]]+", expression):
        node = node[int(part)] if isinstance(node, list) else node[part]
    return node


def _filled(text: str, context: dict[str, Any]) -> str:
    return EXPRESSION.sub(lambda match: str(_value(context, match[1])), text)


def _body(entry: dict[str, Any], key: str, tree: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A stage's definition and the names that it may use, for one member of a family or a stage of its own."""
    if not key:
        return entry, tree
    data = entry["foreach"]
    if isinstance(data, str):
        data = _value(tree, data[2:-1])
    item = data[key] if isinstance(data, dict) else next(item for item in data if str(item) == key)
    return entry["do"], tree | {"key": key, "item": item}


@functools.cache
def _definitions(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))["stages"] if path.is_file() else {}


def stage_deps(stage: str) -> list[Path]:
    """Paths that a stage (`finetune@vit-au`) depends on, each once; `MienError` when no dvc.yaml knows it."""
    name, _, key = stage.partition("@")
    for path in DVC_FILES:
        entry = _definitions(path.absolute()).get(name)
        if entry is None:
            continue
        try:
            body, context = _body(entry, key, read_tree() if path == DVC_FILES[0] else {})
            deps = [Path(_filled(dep, context)) for dep in body.get("deps", [])]
        except (KeyError, IndexError, StopIteration, TypeError):
            raise MienError(f"params.yaml: graph has no {key} for {name}", exit_code=2) from None
        return list(dict.fromkeys(deps))
    raise MienError(f"dvc.yaml: there is no stage {stage}", exit_code=2)
