"""Teacher and student: balanced faces and views of the pool."""

from bench.jobs import recipe
from tests.mini import batch_of


def test_feedback_gets_balanced_faces_and_views_of_the_pool(mini, tiny):
    made = recipe("feedback", "expr", tiny)
    assert made.train is tiny.systems["feedback"].spatial.train and made.train.balance == 1.0
    batch = batch_of(made)
    assert batch["unlabelled"].shape == (8, 3, 32, 32) and (batch["expression"] >= 0).all()
    prepared = made.prepare(batch)
    assert "unlabelled" not in prepared
    assert all(prepared[n].shape == (8, 3, 32, 32) for n in ("images", "weak", "other_weak", "strong"))
