"""How much of the code each stage reaches, and which stages an edit makes stale.

An edit is made in a copy of the code; a stage is stale when its code file (`artifacts/code/<stage>.txt`) would differ.

usage: python -m bench.reach
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import yaml

from pipeline.core import code
from pipeline.core.code import ROOT, code_lines, import_closure, stage_modules
from pipeline.core.deps import stage_deps
from pipeline.core.files import write_json
from pipeline.core.params import read_tree

RESULT = Path("docs/benchmarks/reach.json")
COPIED = ("pipeline", "stages", "models", "demo/generator")
Edit = tuple[str, Callable[[str], str]]


def _replaced(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text, old
        return text.replace(old, new, 1)

    return change


EDITS: dict[str, Edit] = {
    "a comment": ("models/vit.py", lambda text: f"# a comment\n{text}"),
    "a docstring in one system's settings": (
        "pipeline/systems/cotex.py",
        _replaced('"""`systems.cotex`: masked CoTEX."""', '"""`systems.cotex`: said in other words."""'),
    ),
    "how runs are tracked": ("pipeline/run/tracking.py", _replaced("FLUSH_SECONDS = 5.0", "FLUSH_SECONDS = 9.0")),
    "one system's network": ("models/cotex.py", _replaced(".mean()", ".sum()")),
    "models/vit.py": ("models/vit.py", lambda text: f"{text}\n\nEDITED = True\n"),
    "a new torch": ("requirements.lock", _replaced("\ntorch==", "\ntorch==99.")),
}


def stage_names() -> list[str]:
    """Every stage of both dvc.yaml files, each member of a family by its key."""
    names = []
    for file in ("dvc.yaml", "demo/dvc.yaml"):
        for name, entry in yaml.safe_load((ROOT / file).read_text())["stages"].items():
            if "foreach" not in entry:
                names.append(name)
                continue
            data = entry["foreach"]
            if isinstance(data, str):
                tree = read_tree(ROOT / "params.yaml")
                for part in data[2:-1].split("."):
                    tree = tree[part]
                data = tree
            names += [f"{name}@{key}" for key in data]
    return names


def code_files(root: Path) -> dict[str, list[str]]:
    """Each stage's code file as lines."""
    for cached in (code._parsed, code._project_imports, code.syntax_digest):
        cached.cache_clear()
    return {stage: code_lines(*starts, root=root) for stage, starts in stage_modules(root).items()}


def stale_after(edit: Edit) -> list[str]:
    """Stages that an edit of one file makes stale, `code` apart."""
    path, change = edit
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "requirements.lock", copy)
        before = code_files(copy)
        (copy / path).write_text(change((copy / path).read_text()))
        after = code_files(copy)
    changed = {Path("artifacts/code") / f"{stage}.txt" for stage in before if before[stage] != after[stage]}
    return [stage for stage in stage_names() if stage != "code" and changed & set(stage_deps(stage))]


def reached() -> dict[str, dict[str, int]]:
    """Files and lines that each stage's code reaches."""
    table = {}
    for stage, starts in stage_modules().items():
        files = import_closure(*starts)
        table[stage] = {"files": len(files), "lines": sum(len(path.read_text().splitlines()) for path in files)}
    return table


def main() -> None:
    stale = {name: stale_after(edit) for name, edit in EDITS.items()}
    count, files = len(stage_names()) - 1, reached()
    content = {"stages": count, "reached": files, "stale_after": stale}
    write_json(RESULT, content)
    for stage, row in files.items():
        print(f"{stage:28s} {row['files']:3d} files {row['lines']:5d} lines")
    for name, stages in stale.items():
        print(f"{name:38s} {len(stages):2d} of {count} stages stale")


if __name__ == "__main__":
    main()
