"""Controls: linear heads on frozen features against plain ones, and answers that look at nothing."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from bench import controls
from bench.controls import constant_answer, linear_head, mean_scores, random_answer
from pipeline.settings import load_params
from pipeline.tables.scores import official_score

RNG = np.random.default_rng(0)
KNOWN = RNG.normal(size=(60, 5))


def test_heads_are_scikit_learn_s_on_rows_with_a_label():
    classes = np.where(KNOWN[:, 0] > 0, 2, 5)
    classes[::6] = -1
    found = linear_head("expression", "lsd", KNOWN, classes, 1e-2)(KNOWN)
    plain = LogisticRegression(C=1e-2, class_weight="balanced").fit(KNOWN[classes >= 0], classes[classes >= 0])
    assert found[:, [2, 5]] == pytest.approx(plain.predict_proba(KNOWN), abs=1e-6)
    assert not found[:, [0, 1, 3, 4]].any()
    va = np.stack([KNOWN[:, 1], KNOWN[:, 2]], axis=1).clip(-1, 1)
    va[::6] = -5
    valid = va[:, 0] >= -1
    head = linear_head("va", "va", KNOWN, va, 1e-2)
    assert head(KNOWN) == pytest.approx(Ridge(100).fit(KNOWN[valid], va[valid]).predict(KNOWN))
    assert mean_scores(head, [KNOWN, -KNOWN]) == pytest.approx((head(KNOWN) + head(-KNOWN)) / 2)


def test_a_unit_that_is_never_active_keeps_its_constant():
    units = np.stack([KNOWN[:, 0] > 0, np.zeros(60, bool), np.ones(60, bool)], axis=1).astype(int)
    found = linear_head("aus", "au", KNOWN, units, 1e-2)(KNOWN)
    assert not found[:, 1].any() and (found[:, 2] == 1).all() and found[:, 0].std() > 0


def test_a_penalised_head_is_the_same_in_the_basis_of_its_rows():
    wide = RNG.normal(size=(20, 50))
    basis, target = np.linalg.qr(wide.T)[0], RNG.normal(size=20)
    new = RNG.normal(size=(7, 50))
    plain = Ridge(3.0).fit(wide, target).predict(new)
    assert Ridge(3.0).fit(wide @ basis, target).predict(new @ basis) == pytest.approx(plain)


def test_the_constant_is_the_best_there_is_and_chance_follows_the_seed(monkeypatch):
    labels = {
        "expression": np.array([0, 3, 3, 3, 1, 3]),
        "aus": RNG.integers(0, 2, (6, 12)),
        "va": RNG.uniform(-1, 1, (6, 2)),
    }
    monkeypatch.setattr(controls, "truth", lambda track: labels)
    best = constant_answer("mtl")
    assert set(best["expression"]) == {3} and best["aus"].all() and not best["va"].any()
    others = [best | {"expression": np.full(6, number)} for number in range(8)]
    scores = [official_score("mtl", labels, answer)["score"] for answer in others]
    assert official_score("mtl", labels, best)["score"] == max(scores)
    params = load_params()
    drawn = random_answer("mtl", params)
    assert drawn["va"].min() >= -1 and drawn["va"].max() <= 1 and set(np.unique(drawn["aus"])) <= {0, 1}
    assert np.array_equal(drawn["va"], random_answer("mtl", params)["va"])
    other = params.model_copy(update={"finetune": params.finetune.model_copy(update={"seed": 1})})
    assert not np.array_equal(drawn["va"], random_answer("mtl", other)["va"])
