"""Labels mean what the face shows."""

import numpy as np
import pytest

from demo.generator.expressions import CIRCUMPLEX, CLASSES, PROTOTYPES, Expression, au_presence, sample_expression


def test_valence_and_arousal_follow_class_and_intensity() -> None:
    happy, sad, surprise = (Expression(CLASSES.index(c), {}, 1.0) for c in ("Happiness", "Sadness", "Surprise"))
    assert happy.valence_arousal[0] > 0 > sad.valence_arousal[0] and sad.valence_arousal[1] < 0
    assert surprise.valence_arousal[1] > happy.valence_arousal[1]
    half = Expression(happy.kind, {}, 0.5)
    assert half.valence_arousal == pytest.approx(tuple(v / 2 for v in happy.valence_arousal))
    assert all(np.hypot(*position) <= 1.05 for position in CIRCUMPLEX.values())


def test_labels_follow_the_rendered_intensity() -> None:
    faint, clear = (Expression(4, {12: 1.0, 6: 0.5}, intensity) for intensity in (0.2, 0.8))
    assert (faint.label, clear.label) == (0, 4)
    assert au_presence(faint.rendered_aus()) == [0] * 12
    assert au_presence(clear.rendered_aus()) == [0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0]


def test_anger_and_disgust_share_no_leading_au() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        anger, disgust = sample_expression(rng, 1), sample_expression(rng, 2)
        assert 9 not in anger.aus and 10 not in anger.aus and {23, 24} & set(anger.aus)
        assert 9 in disgust.aus and not {23, 24} & set(disgust.aus)
    assert set(PROTOTYPES) == set(CLASSES)
