"""Code as an input: each stage's code file against what the commit's own files give."""

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.audit.case import Case
from pipeline.audit.claims import Claim, broken, some, unchecked, verified
from pipeline.audit.locks import Item, Stage
from pipeline.audit.states import Commit
from pipeline.core.code import PACKAGES, ROOT, code_lines, locked_versions, stage_modules, syntax_digest
from pipeline.core.paths import CODE
from pipeline.run.why import compare

OWN = Path("pipeline/core/code.py")
PINS = Path("requirements.lock")


def check_code(case: Case) -> Iterator[Claim]:
    """A claim for each code file that the chain read."""
    if isinstance(case.state, Commit):
        with tempfile.TemporaryDirectory(prefix="mien-audit-") as folder:
            case.state.export([*PACKAGES, PINS.as_posix()], Path(folder))
            yield from _claims(case, Path(folder))
    else:
        yield from _claims(case, Path.cwd())


def _claims(case: Case, root: Path) -> Iterator[Claim]:
    own = root / OWN
    same_rules = own.is_file() and syntax_digest(own) == syntax_digest(ROOT / OWN)
    try:
        modules = stage_modules(root)
    except (OSError, SyntaxError, KeyError) as error:
        yield unchecked("code", "code", f"the code of {case.state.short} cannot be read: {str(error)[:120]}")
        return
    for stage in case.stages:
        for dep in stage.deps:
            if Path(dep.path).is_relative_to(CODE):
                yield _file_claim(case, stage, dep, modules.get(Path(dep.path).stem, ()), root, same_rules)


def _file_claim(case: Case, stage: Stage, dep: Item, starts: tuple[str, ...], root: Path, same_rules: bool) -> Claim:
    """One code file against the code at `root`, whose stage starts from the modules `starts`."""
    where = case.state.short
    if not starts:
        return broken(stage.name, "code", f"{dep.path}: {where} has no such stage")
    lines = code_lines(*starts, root=root)
    if hashlib.md5(("\n".join(lines) + "\n").encode()).hexdigest() == dep.md5:
        files = sum(line.split(" ")[0].endswith(".py") for line in lines)
        return verified(stage.name, "code", f"{files} files and {len(lines) - files} libraries as {where} has them")
    if not same_rules:
        return unchecked(stage.name, "code", f"{dep.path}: {where} digests code in another way ({OWN} has changed)")
    recorded = code_text(case, dep)
    if recorded is None:
        return broken(stage.name, "code", f"{dep.path}: not what the files of {where} give; its text is not here")
    wrong = compare(recorded.splitlines(), lines)
    pins = locked_versions(root / PINS)
    others = [text for text in wrong if not _is_naming(text, recorded, pins)]
    if others or not wrong:
        said = some(others) or "it holds other lines"
        return broken(stage.name, "code", f"{dep.path}: not what the files of {where} give: {said}")
    return verified(stage.name, "code", f"files as {where} has them, libraries as its {PINS} pins them")


def _is_naming(text: str, recorded: str, pins: dict[str, str]) -> bool:
    """Whether a difference is only in how this machine names a library: the recorded line is as the pins say."""
    if not text.startswith("library: "):
        return False
    name = text.removeprefix("library: ").split(" ")[0]
    told = [line for line in recorded.splitlines() if line.startswith(f"{name}==")]
    return all(line.partition("==")[2] in (pins.get(name), "not locked") for line in told)


def code_text(case: Case, dep: Item) -> str | None:
    """A code file as the lock knows it."""
    path = case.objects.find(dep.path, dep.md5)
    return path.read_text(encoding="utf-8") if path else None


def code_of(case: Case, stage: Stage) -> tuple[list[str], dict[str, str]]:
    """The files with digests, and the libraries with versions, that a stage ran; empty where its code is not here."""
    for dep in stage.deps:
        if Path(dep.path).is_relative_to(CODE) and (text := code_text(case, dep)):
            lines = text.splitlines()
            libraries = dict(line.split("==", 1) for line in lines if "==" in line)
            return [line for line in lines if "==" not in line], libraries
    return [], {}
