"""Commands in the documents are commands: each `mien` line is read by the parser that the command has."""

import re
import shlex
from pathlib import Path

import pytest

from pipeline.cli import parser
from pipeline.core.code import ROOT

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/GUIDE.md", "docs/ARCHITECTURE.md")
COMMAND = re.compile(r"^(?:\.venv/bin/)?mien ", re.MULTILINE)


def commands(text: str) -> list[str]:
    """Lines of the code blocks that call `mien`, without their comments."""
    blocks = "\n".join(text.split("```")[1::2])
    lines = [line for line in blocks.splitlines() if COMMAND.match(line)]
    return [line.partition(" #")[0].strip() for line in lines]


DOCUMENTED = [(name, line) for name in DOCUMENTS for line in commands((ROOT / name).read_text())]


def test_there_are_commands_to_read() -> None:
    assert len(DOCUMENTED) > 30
    assert {name for name, _ in DOCUMENTED} >= {"README.md", "docs/GUIDE.md"}


@pytest.mark.parametrize(("name", "line"), DOCUMENTED, ids=lambda value: str(value)[:60])
def test_a_documented_command_parses(name: str, line: str) -> None:
    try:
        arguments = parser().parse_args(shlex.split(line)[1:])
    except SystemExit as end:
        pytest.fail(f"{name}: {line}: the command ends with {end.code}")
    assert callable(arguments.run)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_between_documents_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text()
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert ((ROOT / name).parent / Path(target)).exists(), f"{name}: {target}"
