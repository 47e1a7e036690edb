"""The report on a telephone: what is wide scrolls within its section, and nothing asks for more than 390 pixels."""

import re
from html.parser import HTMLParser

from pipeline.core.code import ROOT

PAGE = (ROOT / "pipeline/report/page.html").read_text()
STYLE = PAGE[PAGE.index("<style>") : PAGE.index("</style>")]
VOID = {"meta", "img", "br", "link", "input", "hr"}
NARROW = 390


class Wide(HTMLParser):
    """The classes around each table, and around the place that a script fills with one (`times`)."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[str, str]] = []
        self.around: list[set[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "table" or found.get("id") == "times":
            self.around.append({name for _, classes in self.open for name in classes.split()})
        if tag not in VOID:
            self.open.append((tag, found.get("class") or ""))

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop()[0] != tag:
            pass


def test_every_table_scrolls_in_its_section() -> None:
    page = Wide()
    page.feed(re.sub(r"<script>.*?</script>", "", PAGE, flags=re.DOTALL))
    assert len(page.around) >= 5
    assert all("scroll" in classes for classes in page.around)
    assert ".scroll { overflow-x: auto; }" in STYLE


def test_nothing_is_fixed_wider_than_the_screen() -> None:
    fixed = re.findall(r"(?<![-\w])(?:min-)?width:\s*(\d+)px", re.sub(r"@media \([^)]*\)", "", PAGE))
    assert fixed and max(map(int, fixed)) <= NARROW
    assert re.search(r"svg \{[^}]*max-width: 100%", STYLE)
    assert '<meta name="viewport" content="width=device-width' in PAGE
