"""The import closure of a module: every project file its code can reach.

DVC sees only the files listed as `deps`; a stage whose imported module changed would look fresh (dvc#9195). A test
compares this closure with the deps in dvc.yaml, and the work store keys shards by the digest of the code that made
them.
"""

import ast
import functools
import hashlib
from pathlib import Path

PACKAGES = ("pipeline", "stages", "models", "demo")
ROOT = Path(__file__).resolve().parents[2]


def _file_of(module: str) -> Path | None:
    base = ROOT / Path(*module.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _imported_names(tree: ast.AST) -> set[str]:
    """Absolute dotted names a module imports, wherever in it (a lazy import is an import)."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name.split(".")[0] in PACKAGES}


@functools.cache
def project_imports(path: Path) -> frozenset[Path]:
    """Project files that one file imports directly, the packages' `__init__.py` on the way included."""
    found = set()
    for name in _imported_names(ast.parse(path.read_text())):
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):
            if file := _file_of(".".join(parts[:depth])):
                found.add(file)
    return frozenset(found - {path})


@functools.cache
def import_closure(module: str) -> tuple[Path, ...]:
    """All project files reachable from `module` (dotted name), itself first excluded from none, sorted.

    Raises `ModuleNotFoundError` for a name that is no project module.
    """
    start = _file_of(module)
    if start is None:
        raise ModuleNotFoundError(module)
    package = _file_of(module.split(".")[0])
    seen, queue = set(), [start] + ([package] if package else [])
    while queue:
        path = queue.pop()
        if path not in seen:
            seen.add(path)
            queue.extend(project_imports(path))
    return tuple(sorted(seen))


def code_digest(module: str) -> str:
    """Hex sha256 over the names and bytes of a module's import closure."""
    digest = hashlib.sha256()
    for path in import_closure(module):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
