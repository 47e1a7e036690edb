"""Rules about the code itself: who may import whom, what DVC must know of it, and what is never written."""

import ast
import re
from collections.abc import Iterator

import pytest
import yaml

from pipeline.base.closure import PACKAGES, ROOT, import_closure

SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in SOURCES}
MAY_IMPORT = {
    "models": ("models",),
    "pipeline": ("models", "pipeline"),
    "stages": ("models", "pipeline"),
    "demo": ("demo", "pipeline.errors", "pipeline.publish"),
}
PICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


# --- imports ---------------------------------------------------------------------------------------------------------


def imported(tree: ast.AST) -> set[str]:
    """Every module that a file names in an import, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{'.' * node.level}{node.module or ''}"}
            if node.module in PACKAGES:  # `from pipeline import x` imports a module
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
                names.discard(node.module)
    return names


def breaches(package: str, names: set[str]) -> list[str]:
    allowed = MAY_IMPORT[package]
    ours = {name for name in names if name.split(".")[0] in PACKAGES or name.startswith(".")}
    return sorted(n for n in ours if not any(n == a or n.startswith(f"{a}.") for a in allowed))


@pytest.mark.parametrize("file", TREES)
def test_imports_keep_the_layers_apart(file):
    assert breaches(file.split("/")[0], imported(TREES[file])) == []


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("models", "def f():\n    import pipeline.errors"),
        ("models", "from . import losses"),
        ("pipeline", "from stages import ingest"),
        ("pipeline", "import demo"),
        ("stages", "from stages.ingest import main"),
        ("demo", "from pipeline.base.params import load_params"),
        ("demo", "from pipeline import base"),
    ],
)
def test_a_breach_is_seen(package, line):
    assert breaches(package, imported(ast.parse(line)))


@pytest.mark.parametrize("file", [file for file in TREES if file.endswith("__init__.py")])
def test_package_files_hold_a_docstring_only(file):
    assert len(TREES[file].body) == 1 and ast.get_docstring(TREES[file])


# --- dvc.yaml knows the code of each stage ---------------------------------------------------------------------------


def stage_code() -> Iterator[tuple[str, str, list[str]]]:
    """Name, module and code deps of each stage (of each family, where it is a matrix or foreach)."""
    for file in ("dvc.yaml", "demo/dvc.yaml"):
        for name, entry in yaml.safe_load((ROOT / file).read_text())["stages"].items():
            body = entry.get("do", entry)
            module = re.fullmatch(r"python -m ([\w.]+)( .*)?", body["cmd"])
            assert module, f"{file}: {name}: cmd is not `python -m MODULE`"
            assert (ROOT / file).parent / body.get("wdir", ".") == ROOT or (file, body["wdir"]) == (
                "demo/dvc.yaml",
                "..",
            )
            yield name, module[1], [dep for dep in body["deps"] if dep.split("/")[0] in PACKAGES]


STAGES = list(stage_code())


def closure_of(module: str) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in import_closure(module)}


def covers(dep: str, file: str) -> bool:
    return file == dep or file.startswith(f"{dep}/")


def uncovered(files: set[str], deps: list[str]) -> set[str]:
    """Files with code that no dep names."""
    return {f for f in files if not f.endswith("__init__.py") and not any(covers(dep, f) for dep in deps)}


@pytest.mark.parametrize(("stage", "module", "deps"), STAGES, ids=[stage for stage, *_ in STAGES])
def test_deps_name_all_code_that_a_stage_reaches(stage, module, deps):
    assert uncovered(closure_of(module), deps) == set()


@pytest.mark.parametrize(("stage", "module", "deps"), STAGES, ids=[stage for stage, *_ in STAGES])
def test_deps_name_no_code_that_a_stage_does_not_reach(stage, module, deps):
    files = closure_of(module)
    code = [dep for dep in deps if dep.endswith(".py") or (ROOT / dep).is_dir()]
    assert [dep for dep in deps if not (ROOT / dep).exists()] == []
    assert [dep for dep in code if not any(covers(dep, file) for file in files)] == []
    assert len(deps) == len(set(deps))


def test_a_forgotten_dep_is_seen():
    _, module, deps = next(entry for entry in STAGES if entry[0] == "pretrain_mae")
    for left_out in deps:
        if (ROOT / left_out).is_dir() or not left_out.startswith("models/system"):
            rest = [dep for dep in deps if dep != left_out]
            assert uncovered(closure_of(module), rest), left_out


def test_every_stage_file_is_a_stage():
    modules = {module for _, module, _ in STAGES}
    files = {f"stages.{path.stem}" for path in (ROOT / "stages").glob("*.py")} - {"stages.__init__"}
    assert {m for m in modules if m.startswith("stages.")} == files


# --- what is never written -------------------------------------------------------------------------------------------


def docstrings(tree: ast.AST) -> set[int]:
    """Ids of the constants that are docstrings."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    first = [node.body[0] for node in ast.walk(tree) if isinstance(node, kinds) and node.body]
    return {id(statement.value) for statement in first if isinstance(statement, ast.Expr)}


def is_machine_path(text: str) -> bool:
    """An absolute path of some machine; a lone slash or `/?query` is none."""
    return re.match(r"(/[A-Za-z_.][\w.-]*(/|$)|[A-Za-z]:\\|~/|file:///)", text) is not None


def keywords(call: ast.Call) -> dict[str, object]:
    return {k.arg: k.value.value if isinstance(k.value, ast.Constant) else k.value for k in call.keywords if k.arg}


def call_faults(call: ast.Call) -> Iterator[str]:
    name, given = ast.unparse(call.func), keywords(call)
    if given.get("shell", False) is not False:
        yield "shell=True"
    if given.get("allow_pickle", False) is not False:
        yield "allow_pickle"
    if name == "torch.load" and given.get("weights_only") is not True:
        yield "torch.load without weights_only=True"
    if name in ("eval", "exec", "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load"):
        yield name
    if name == "yaml.load" and "SafeLoader" not in ast.unparse(call):
        yield "yaml.load without a safe loader"


def faults(tree: ast.AST) -> list[str]:
    """What must not stand in our code, each with its line."""
    found, prose = [], docstrings(tree)
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Call):
            found += [f"{line}: {fault}" for fault in call_faults(node)]
        elif isinstance(node, ast.Attribute) and node.attr in ("extractall", "unpack_archive"):
            found.append(f"{line}: {node.attr}")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            found += [f"{line}: absolute path {node.value!r}"] if is_machine_path(node.value) else []
    return found + [f"{name} is imported" for name in imported(tree) if name.split(".")[0] in PICKLERS]


@pytest.mark.parametrize("file", TREES)
def test_nothing_unsafe_or_bound_to_a_machine(file):
    assert faults(TREES[file]) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "def f():\n    from joblib import load",
        "subprocess.run(x, shell=True)",
        "subprocess.run(x, shell=flag)",
        "zipfile.ZipFile(x).extractall(y)",
        "torch.load(x)",
        "torch.load(x, weights_only=False)",
        "np.load(x, allow_pickle=True)",
        "yaml.load(x)",
        "eval(x)",
        "Path('/home/me/data')",
        "open('/tmp')",
        r"open('C:\\data')",
        "f'file:///data/{x}'",
    ],
)
def test_a_fault_is_seen(line):
    assert faults(ast.parse(line))


@pytest.mark.parametrize("line", ["'/'", "'/x.txt'.strip()", "'''/etc docs'''", "yaml.load(x, yaml.CSafeLoader)"])
def test_no_false_alarm(line):
    assert [fault for fault in faults(ast.parse(line)) if "/x.txt" not in fault] == []
