"""Rules about the code itself: who may import whom, what DVC must know of it, and what is never written."""

import ast
import re
from collections.abc import Iterator

import pytest
import yaml

from pipeline.core.code import PACKAGES, ROOT, import_closure, stage_modules

SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in SOURCES}
MAY_IMPORT = {
    "models": ("models",),
    "pipeline": ("models", "pipeline"),
    "stages": ("models", "pipeline"),
    "demo": ("demo", "pipeline.core.errors", "pipeline.core.files", "pipeline.run.parallel", "pipeline.run.progress"),
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
        ("models", "def f():\n    import pipeline.core.errors"),
        ("models", "from . import losses"),
        ("pipeline", "from stages import ingest"),
        ("pipeline", "import demo"),
        ("stages", "from stages.ingest import main"),
        ("demo", "from pipeline.settings import load_params"),
        ("demo", "from pipeline import core"),
    ],
)
def test_a_breach_is_seen(package, line):
    assert breaches(package, imported(ast.parse(line)))


THREADS = "stages/__init__.py"  # sets the threads of a stage before torch is imported: nothing else runs earlier


@pytest.mark.parametrize("file", [file for file in TREES if file.endswith("__init__.py") and file != THREADS])
def test_package_files_hold_a_docstring_only(file):
    assert len(TREES[file].body) == 1 and ast.get_docstring(TREES[file])


# --- dvc.yaml knows the code of each stage ---------------------------------------------------------------------------


def stage_commands() -> Iterator[tuple[str, str, list[str]]]:
    """Name, module and deps of each stage (of each family, where it is a foreach)."""
    for file in ("dvc.yaml", "demo/dvc.yaml"):
        for name, entry in yaml.safe_load((ROOT / file).read_text())["stages"].items():
            body = entry.get("do", entry)
            module = re.fullmatch(r"python -m ([\w.]+)( .*)?", body["cmd"])
            assert module, f"{file}: {name}: cmd is not `python -m MODULE`"
            assert ((ROOT / file).parent / body.get("wdir", ".")).resolve() == ROOT
            yield name, module[1], body["deps"]


STAGES = {name: (module, deps) for name, module, deps in stage_commands()}


@pytest.mark.parametrize("name", [name for name in STAGES if name != "code"])
def test_a_stage_depends_on_the_file_of_its_own_code(name):
    module, deps = STAGES[name]
    own = [dep for dep in deps if dep.startswith("artifacts/code/")]
    stem = "finetune-${item.system}" if name == "finetune" else module.rpartition(".")[2]
    assert own == [f"artifacts/code/{stem}.txt"]
    assert [dep for dep in deps if dep.endswith(".py")] == []
    assert len(deps) == len(set(deps))


def test_every_code_file_is_of_a_stage_and_the_other_way_round():
    starts = {modules[0] for modules in stage_modules().values()}
    assert starts == {module for name, (module, _) in STAGES.items() if name != "code"}
    files = {f"stages.{path.stem}" for path in (ROOT / "stages").glob("*.py")} - {"stages.__init__"}
    assert {module for module, _ in STAGES.values() if module.startswith("stages.")} == files


def test_the_code_stage_depends_on_all_code():
    _, deps = STAGES["code"]
    for modules in stage_modules().values():
        for file in import_closure(*modules):
            assert any(file.is_relative_to(ROOT / dep) for dep in deps), file


def test_one_dynamic_import():
    """A system is found by its name in one place; elsewhere what a file imports can be read in it."""
    found = [file for file, tree in TREES.items() if "importlib" in {name.split(".")[0] for name in imported(tree)}]
    dynamic = [file for file in found if "import_module" in ast.unparse(TREES[file])]
    assert dynamic == ["pipeline/systems/named.py"]
    assert [file for file, tree in TREES.items() if "__import__(" in ast.unparse(tree)] == []


def test_the_readme_has_a_line_for_every_file():
    tree = (ROOT / "README.md").read_text().split("```")
    (block,) = [part for part in tree if "stages/  " in part]
    for package in ("stages", "models", "pipeline"):
        for path in (ROOT / package).rglob("*.py"):
            if path.name != "__init__.py":
                name = path.relative_to(ROOT / package)
                inner = "/".join(name.parts[1:]) if package == "pipeline" and len(name.parts) > 1 else name.as_posix()
                assert re.search(rf"^ +{re.escape(inner)} +\S", block, re.MULTILINE), f"README: no line for {path}"


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
