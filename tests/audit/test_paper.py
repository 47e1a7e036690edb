"""The paper's paragraph and references: what the chain shows, and no entry that nobody knows."""

import re
from pathlib import Path

import pytest

from pipeline.audit.exchange.paper import paper, references, systems
from pipeline.audit.exchange.references import EDITIONS, MAE, MTCNN, SYSTEMS
from pipeline.systems.named import system_names
from tests.audit.licensed import OPEN, licensed


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_paragraph_tells_what_the_chain_shows(tmp_path: Path) -> None:
    project = licensed(tmp_path, {"toy.safetensors": OPEN | {"sha256": "0" * 64}})
    text = paper(project.case("submit@va"), "abaw5").splitlines()[1]
    assert "VA track of the ABAW5 competition~\\cite{abaw5}" in text
    assert "Aff-Wild2 (faces alone)" in text and "AffectNet (valence and arousal)" in text
    assert "detected by MTCNN~\\cite{zhang2016mtcnn}" in text and "112 by 112 pixels" in text
    assert "weights/toy.safetensors~\\cite{toy} (MIT; trained on AffectNet)" in text
    assert "Libraries: torch 2.15.0." in text
    assert "rendered" not in text
    assert not re.search("dvc|mlflow", paper(project.case("submit@va")), re.IGNORECASE)


def test_every_citation_has_its_entry_and_every_entry_its_source(tmp_path: Path) -> None:
    project = licensed(tmp_path, {"a_b.safetensors": OPEN | {"sha256": "0" * 64, "source": "x_y & z"}})
    text = paper(project.case("submit@va"), "abaw7")
    cited = {key for keys in re.findall(r"\\cite\{([^}]*)\}", text) for key in keys.split(",")}
    entries = set(re.findall(r"^@misc\{([^,]+),$", text, re.MULTILINE))
    assert cited == entries == {"abaw7", "he2022mae", "zhang2016mtcnn", "ab"}
    assert text.count("% from ") == len(entries)
    assert "from x\\_y \\& z" in text
    assert text.count("{") == text.count("}")


def test_what_has_no_reference_is_said(tmp_path: Path) -> None:
    text = paper(licensed(tmp_path).case("submit@va"), "abaw9")
    (line,) = re.findall(r"^% no reference is known here for: (.*); add it$", text, re.MULTILINE)
    assert line == "the paper of abaw9, Aff-Wild2"


@pytest.mark.parametrize("system", sorted(SYSTEMS))
def test_each_system_brings_its_paper(tmp_path: Path, system: str) -> None:
    project = licensed(tmp_path)
    stage = project.lock.stages["finetune@vit-va"]
    project.stage(stage.name, stage.deps, stage.outs, **{"graph.trainings.vit-va": {"system": system, "track": "va"}})
    case = project.case("submit@va")
    assert systems(case) == [system]
    assert references(case, "abaw5") == [EDITIONS["abaw5"], SYSTEMS[system], MAE, MTCNN]


def test_facts_alone_and_an_entry_for_every_published_system() -> None:
    for reference in {*SYSTEMS.values(), *EDITIONS.values(), MAE, MTCNN}:
        assert reference.source
        assert re.fullmatch(r"\d{4}\.\d{4,5}", reference.eprint)
        empty = [line for line in reference.bibtex.splitlines() if "{}" in line or "None" in line]
        assert empty == []
    assert set(SYSTEMS) | {"vit", "temporal"} >= set(system_names())


def test_the_entries_are_those_of_the_citation_file(root: Path) -> None:
    """Authors, titles and numbers are written twice: in CITATION.cff for who cites Mien, here for who cites systems."""
    import yaml

    told = yaml.safe_load((root / "CITATION.cff").read_text())["references"]
    for entry in told:
        number = entry["identifiers"][0]["value"].removeprefix("arXiv:")
        (mine,) = {one for one in SYSTEMS.values() if one.eprint == number}
        assert (mine.title, mine.year) == (entry["title"], entry["year"])
        assert [f"{a['family-names']}, {a['given-names']}" for a in entry["authors"]] == list(mine.authors)
