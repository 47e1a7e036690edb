"""What code a module can reach, as digests: code is an input like any other.

The stage `code` writes one file for each stage, `artifacts/code/<stage>.txt`: a line for each project file that the
stage's module can reach, with a digest of its syntax tree (comments, docstrings and formatting do not count), and a
line for each library that those files import, with its pinned version. Every stage depends on its own file, so DVC
runs it again when something that it runs has changed, and not otherwise. `pipeline/run` is left out: it cannot change
a byte of a result. The work store keys shards by the same digests.
"""

import ast
import functools
import hashlib
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("pipeline", "stages", "models", "demo")
WITHOUT_EFFECT = "pipeline.run"  # tests/core/test_code.py shows it
ROOT = Path(__file__).resolve().parents[2]
SCOPES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


# --- which files -----------------------------------------------------------------------------------------------------


def file_of(module: str, root: Path = ROOT) -> Path | None:
    """The project file of a dotted name; None where there is none."""
    base = root / Path(*module.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def imported_names(tree: ast.AST) -> set[str]:
    """Absolute dotted names that a module imports, wherever in it: a lazy import is an import."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def _is_left_out(module: str) -> bool:
    return module == WITHOUT_EFFECT or module.startswith(f"{WITHOUT_EFFECT}.")


@functools.cache
def _project_imports(path: Path, root: Path) -> frozenset[Path]:
    """Project files that one file imports; packages' `__init__.py` hold a docstring and nothing to reach."""
    names = {name for name in imported_names(_parsed(path)) if name.split(".")[0] in PACKAGES}
    files = {file_of(name, root) for name in names if not _is_left_out(name)}
    return frozenset(file for file in files if file and file.name != "__init__.py" and file != path)


def import_closure(*modules: str, root: Path = ROOT) -> tuple[Path, ...]:
    """All project files that some modules (dotted names) can reach, themselves included, sorted.

    Raises `ModuleNotFoundError` for a name that is no project module.
    """
    queue = []
    for module in modules:
        if (start := file_of(module, root)) is None:
            raise ModuleNotFoundError(module)
        queue.append(start)
    reached: set[Path] = set()
    while queue:
        path = queue.pop()
        if path not in reached:
            reached.add(path)
            queue.extend(_project_imports(path, root))
    return tuple(sorted(reached))


# --- what is in them -------------------------------------------------------------------------------------------------


@functools.cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _canonical(node: Any) -> Any:
    """A syntax tree as nested lists without positions, docstrings and empty fields.

    Not `ast.dump`: Python 3.12 added fields, and the same code must have the same digest under 3.11.
    """
    if isinstance(node, list):
        return [_canonical(item) for item in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    if isinstance(node, SCOPES) and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = node.body[1:]
    kept = [[name, _canonical(value)] for name, value in fields.items() if value is not None and value != []]
    return [type(node).__name__, kept]


@functools.cache
def syntax_digest(path: Path) -> str:
    """Hex sha256 (32 digits) of a Python file's syntax tree."""
    return hashlib.sha256(repr(_canonical(_parsed(path))).encode()).hexdigest()[:32]


# --- which libraries -------------------------------------------------------------------------------------------------


@functools.cache
def _distributions() -> dict[str, list[str]]:
    """Top-level import names and the distributions that bring them."""
    found = metadata.packages_distributions()
    return {name: sorted({_normal(owner) for owner in owners}) for name, owners in found.items()}


def _normal(name: str) -> str:
    """A distribution's name as the lock writes it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked_versions(lock: Path) -> dict[str, str]:
    """Pinned version of each distribution in a requirements.lock."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock.read_text(encoding="utf-8"), re.MULTILINE)
    return {_normal(name): version for name, version in pins}


def libraries(files: tuple[Path, ...], lock: Path) -> dict[str, str]:
    """Pinned versions of the libraries that files import, by distribution; those of the standard library are none.

    A plain-data distribution that is read without an import (`importlib.metadata`) does not show here: its files are
    declared in weights.yaml by their digests.
    """
    names = {name.split(".")[0] for file in files for name in imported_names(_parsed(file))}
    names -= {*PACKAGES, *sys.stdlib_module_names}
    pins = locked_versions(lock)
    owners = {owner for name in names for owner in _distributions().get(name, [_normal(name)])}
    return {owner: pins.get(owner, "not locked") for owner in sorted(owners)}


# --- together --------------------------------------------------------------------------------------------------------


def code_lines(*modules: str, root: Path = ROOT) -> list[str]:
    """What modules run, a line a file and a line a library."""
    files = import_closure(*modules, root=root)
    lines = [f"{path.relative_to(root).as_posix()} {syntax_digest(path)}" for path in files]
    return lines + [f"{name}=={version}" for name, version in libraries(files, root / "requirements.lock").items()]


def code_digest(*modules: str) -> str:
    """Hex sha256 over what modules run; a key of the work store."""
    return hashlib.sha256("\n".join(code_lines(*modules)).encode()).hexdigest()


def stage_modules(root: Path = ROOT) -> dict[str, tuple[str, ...]]:
    """Modules that each stage starts from, by the name of its code file.

    `finetune` is told its system by name, so it has a file for each: its own module and the system's; `check_params`
    looks at the sections of all. The renderer of the demo is a stage like the others.
    """
    stages = sorted(path.stem for path in (root / "stages").glob("[!_]*.py") if path.stem != "code")
    found: dict[str, tuple[str, ...]] = {stage: (f"stages.{stage}",) for stage in stages if stage != "finetune"}
    systems = sorted((root / "pipeline/systems").glob("[!_]*.py"))
    named = {path.stem: f"pipeline.systems.{path.stem}" for path in systems if "Settings" in _defined(path)}
    found["check_params"] += tuple(named.values())
    trained = [path.stem for path in systems if {"Settings", "recipe"} <= _defined(path)]
    found |= {f"finetune-{name}": ("stages.finetune", named[name]) for name in trained}
    return found | {"synthesize": ("demo.generator.synthesize",)}


def _defined(path: Path) -> set[str]:
    """Names of the functions and classes that a module defines, and names that it assigns (`Settings = Mine`)."""
    body = _parsed(path).body
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    given = {target.id for target in targets if isinstance(target, ast.Name)}
    return given | {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
