"""The orders of classes and columns."""

from pipeline.abaw.tracks import AUS, EXPRESSIONS, TRACKS


def test_class_orders():
    assert EXPRESSIONS[4] == "Happiness"
    assert TRACKS["expr"].header.endswith("Surprise,Other")
    assert (len(EXPRESSIONS), len(AUS)) == (8, 12)
    assert len(TRACKS["mtl"].header.split(",")) == 5
    assert TRACKS["mtl"].columns == 15
