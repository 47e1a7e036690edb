"""Code as an input: which files a module reaches, what in them counts, and which libraries they use."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.code import (
    ROOT,
    WITHOUT_EFFECT,
    code_digest,
    code_lines,
    import_closure,
    libraries,
    locked_versions,
    stage_modules,
    syntax_digest,
)

SOURCE = '''"""Module."""
import os


class Thing:
    """Class."""

    def method(self, x: int = 1) -> str:
        """Function."""
        return f"{x:>3}" + "a"  # why
'''
OTHER_PYTHON = "python3.12" if sys.version_info[:2] == (3, 11) else "python3.11"


@pytest.fixture
def digest(tmp_path: Path) -> Callable[[str], str]:
    """Digest of a text as a module."""
    numbers = iter(range(100))

    def of(text: str) -> str:
        path = tmp_path / f"m{next(numbers)}.py"
        path.write_text(text)
        return syntax_digest(path)

    return of


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # why", ""),
        ('"""Module."""\n', ""),
        ('"""Class."""', '"""A class, said better."""'),
        ('        """Function."""\n', ""),
        ('f"{x:>3}" + "a"', "(f'{x:>3}'\n                + 'a')"),
        ("import os\n", "import os  # noqa\n\n\n"),
    ],
)
def test_comments_docstrings_and_formatting_do_not_count(digest, old, new):
    assert old in SOURCE
    assert digest(SOURCE) == digest(SOURCE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x: int = 1", "x: int = 2"),
        ("x: int = 1", "x: float = 1"),
        ("def method", "def other"),
        ('+ "a"', '+ "b"'),
        (":>3", ":>4"),
        ("import os", "import sys"),
        ('return f"', 'yield f"'),
        ("class Thing:", "class Thing(object):"),
        ('"""Class."""', '"""Class."""\n    size = 1'),
    ],
)
def test_what_runs_counts(digest, old, new):
    assert old in SOURCE
    assert digest(SOURCE) != digest(SOURCE.replace(old, new))


def test_a_string_that_is_no_docstring_counts(digest):
    assert digest("x = 'a'\n") != digest("x = 'b'\n")
    assert digest("def f():\n    'doc'\n    return 'a'\n") != digest("def f():\n    'doc'\n    return 'b'\n")
    assert digest("def f():\n    'doc'\n") == digest("def f():\n    'other'\n")


def test_the_digest_does_not_depend_on_the_python_that_takes_it(tmp_path):
    """Else every stage would run again on a machine with the other supported Python."""
    path = tmp_path / "m.py"
    path.write_text(SOURCE + "\n\ndef more(*a, **k):\n    return [x for x in a if (y := x)]\n")
    script = "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from pipeline.core.code import *; "
    script += "print(syntax_digest(Path(sys.argv[2])))"
    command = [OTHER_PYTHON, "-c", script, str(ROOT), str(path)]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"needs {OTHER_PYTHON}")
    assert run.stdout.strip() == syntax_digest(path)


def names(*modules: str) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in import_closure(*modules)}


def test_closure_follows_imports_of_imports():
    assert names("pipeline.tables.curves") == {
        f"pipeline/{name}.py" for name in ("tables/curves", "core/files", "core/errors")
    }
    assert {"pipeline/core/errors.py", "pipeline/core/files.py"} < names("pipeline.core.parquet")
    with pytest.raises(ModuleNotFoundError, match=r"pipeline\.nowhere"):
        import_closure("pipeline.nowhere")


def test_what_cannot_change_a_byte_is_left_out():
    assert WITHOUT_EFFECT == "pipeline.run"
    assert "from pipeline.run." in (ROOT / "stages/finetune.py").read_text()
    for starts in stage_modules().values():
        assert not [name for name in names(*starts) if name.startswith("pipeline/run/")]


def test_every_system_has_a_file_of_its_own():
    stages = stage_modules()
    systems = {name.removeprefix("finetune-") for name in stages if name.startswith("finetune-")}
    assert systems == {"au_cvt", "cotex", "dan", "dtm", "emma", "mini_xception", "multitask", "temporal", "vit"}
    for system in systems:
        reached = names(*stages[f"finetune-{system}"])
        assert f"pipeline/systems/{system}.py" in reached
        strangers = {f"pipeline/systems/{other}.py" for other in systems - {system}} & reached
        assert strangers == ({"pipeline/systems/dan.py"} if system == "emma" else set())  # EMMA leans on DAN's sizes


def test_libraries_are_those_that_the_files_import(tmp_path):
    module = tmp_path / "m.py"
    module.write_text("import os\nimport cv2\nfrom yaml import safe_load\ndef f():\n    import sklearn.svm\n")
    lock = tmp_path / "requirements.lock"
    lock.write_text("opencv-python==4.14 \\\n    --hash=sha256:0\nPyYAML==6.0.3 ; sys_platform == 'linux' \\\n")
    assert locked_versions(lock) == {"opencv-python": "4.14", "pyyaml": "6.0.3"}
    assert libraries((module,), lock) == {"opencv-python": "4.14", "pyyaml": "6.0.3", "scikit-learn": "not locked"}


def test_lines_are_sorted_and_every_library_is_pinned():
    lines = code_lines("pipeline.backbones.features")
    files = [line for line in lines if "==" not in line]
    pins = [line for line in lines if "==" in line]
    assert files == sorted(files) and pins == sorted(pins) and lines == files + pins
    assert not [pin for pin in pins if "not locked" in pin]
    assert {pin.partition("==")[0] for pin in pins} >= {"torch", "timm", "pyarrow", "numpy"}
    assert code_digest("pipeline.backbones.features") != code_digest("pipeline.backbones.build")
