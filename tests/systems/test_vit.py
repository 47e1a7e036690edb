"""The ViT's batches: the teacher's share, and weights of active units."""

import pytest

from bench.jobs import EVERYTHING, recipe
from models.emma import Emma
from models.vit_heads import VitHeads
from pipeline.core.paths import PSEUDO
from pipeline.train.data import TrackData
from tests.mini import batch_of, changed, levels, write_teacher

LABELLED = 15  # training frames with a face and a label


def test_a_share_of_the_batch_has_the_teachers_labels(mini, tiny):
    made = recipe("vit", "au", tiny, [*EVERYTHING, PSEUDO / "au/extra.parquet"])
    for seed in range(12):
        batch = batch_of(made, seed)
        assert batch["pseudo"].tolist() == [False] * 6 + [True] * 2  # a fifth of eight
        for number, aus in zip(levels(batch["images"][6:]), batch["aus"][6:], strict=True):
            assert number != 4 and aus.tolist() == [(number + unit) % 2 for unit in range(12)]


@pytest.mark.parametrize("teacher", ["none", "unsure", "no share"])
def test_without_a_teachers_labels_all_of_the_batch_is_labelled(mini, tiny, teacher):
    params = changed(tiny, "vit", pseudo_fraction=0.0) if teacher == "no share" else tiny
    needs = {
        "none": lambda: [],
        "unsure": lambda: [write_teacher(mini, "extra", lambda number: False, "unsure/")],
        "no share": lambda: [PSEUDO / "au/extra.parquet"],
    }[teacher]()
    assert batch_of(recipe("vit", "au", params, [*EVERYTHING, *needs]))["pseudo"].tolist() == [False] * 8


@pytest.mark.parametrize(("system", "track", "power"), [("vit", "au", 0.5), ("vit", "mtl", 0.5), ("emma", "mtl", 1.0)])
def test_active_units_weigh_as_the_labels_ask(mini, tiny, system, track, power):
    made = recipe(system, track, tiny)
    assert isinstance(made.data, TrackData) and isinstance(made.module, VitHeads | Emma)
    aus = made.data.labels["aus"]
    odds = (aus == 0).sum(axis=0) / (aus == 1).sum(axis=0)
    assert len(aus) == LABELLED and len(set(odds)) > 1
    assert made.module.au_pos_weight.tolist() == pytest.approx((odds**power).tolist())
