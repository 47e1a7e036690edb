"""EMMA takes what params give."""

from bench.jobs import recipe
from models.emma import Emma
from tests.mini import changed


def test_emma_takes_the_weights_that_params_give(mini, tiny):
    given = [float(unit) for unit in range(1, 13)]
    made = recipe("emma", "mtl", changed(tiny, "emma", au_pos_weight=given))
    assert isinstance(made.module, Emma)
    assert made.module.au_pos_weight.tolist() == given
