"""Teacher and student: balanced faces and views of the pool."""

import torch

from bench.jobs import recipe
from models.feedback import Feedback
from pipeline.core.paths import FACES
from tests.mini import batch_of


def test_feedback_gets_balanced_faces_and_views_of_the_pool(mini, tiny):
    made = recipe("feedback", "expr", tiny)
    assert made.train is tiny.systems["feedback"].spatial.train and made.train.balance == 1.0
    batch = batch_of(made)
    assert batch["unlabelled"].shape == (8, 3, 32, 32) and (batch["expression"] >= 0).all()
    prepared = made.prepare(batch)
    assert "unlabelled" not in prepared
    assert all(prepared[n].shape == (8, 3, 32, 32) for n in ("images", "weak", "other_weak", "strong"))


def test_without_a_pool_the_student_learns_from_labelled_faces_at_once(mini, tiny):
    made = recipe("feedback", "expr", tiny, [FACES / "aff-wild2"])
    batch = made.prepare(batch_of(made))
    assert "strong" not in batch and isinstance(made.module, Feedback)
    before = [parameter.clone() for parameter in made.module.teacher.parameters()]
    for _ in range(tiny.systems["feedback"].spatial.train.optimise.steps):
        (parts,) = made.module.steps(batch)
        assert set(parts) == {"student_labelled"}
    assert all(torch.equal(old, new) for old, new in zip(before, made.module.teacher.parameters(), strict=True))
    assert made.without == ("an unlabelled pool: trained on labelled faces alone",)
