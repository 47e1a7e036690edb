"""What the documents show, read: a section of one, and the code blocks in it."""

import re

from pipeline.core.code import ROOT

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: str, heading: str, language: str = "") -> list[str]:
    """The code blocks of a language under a heading; commands have none."""
    _, _, rest = (ROOT / document).read_text().partition(f"\n{heading}\n")
    section = rest.partition(f"\n{heading.split(' ')[0]} ")[0]
    return [text for name, text in BLOCK.findall(section) if name == language]


def commands(document: str, heading: str) -> list[str]:
    """The commands under a heading, without their comments."""
    lines = "".join(blocks(document, heading)).splitlines()
    return [line.partition(" #")[0].strip() for line in lines if line.strip()]
