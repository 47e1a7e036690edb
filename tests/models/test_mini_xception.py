"""The network of Arriaga et al.; that it computes what Keras does is shown in tests/weights/test_keras.py."""

import cv2
import pytest
import torch
import torch.nn.functional as F

from models.mini_xception import (
    EPSILON,
    FER2013,
    WIDTHS,
    Expressions,
    MiniXception,
    MiniXceptionTrunk,
    same_max_pool,
)
from models.normalise import Normalise
from pipeline.abaw.tracks import EXPRESSIONS, LSD_EXPRESSIONS
from tests.weights.forms import enliven


def test_it_has_the_published_number_of_parameters():
    """Counted from the paper's widths: kernels 3 x 3, shortcuts 1 x 1, two numbers a norm, biases in the last alone."""
    total = 9 * 8 + 9 * 8 * 8 + 2 * 2 * 8 + 9 * 128 * 7 + 7
    for inputs, outputs in zip((8, *WIDTHS), WIDTHS, strict=False):
        total += inputs * outputs + (9 * inputs + inputs * outputs) + (9 * outputs + outputs**2) + 3 * 2 * outputs
    assert total == 56951
    assert sum(parameter.numel() for parameter in MiniXception(7).parameters()) == total
    assert {m.eps for m in MiniXception(7).modules() if isinstance(m, torch.nn.BatchNorm2d)} == {EPSILON}


@torch.no_grad()
def test_shapes_at_the_papers_size():
    network = MiniXception(7).eval()
    assert network(torch.rand(2, 1, 64, 64)).shape == (2, 7)
    assert MiniXceptionTrunk().eval()(torch.rand(2, 1, 64, 64)).shape == (2, 128, 4, 4)


@pytest.mark.parametrize(("side", "before"), [(60, 0), (15, 1), (8, 0), (1, 1)])
def test_the_pooling_pads_as_keras_does(side, before):
    """Keras puts the odd place of padding behind: an even side has none before."""
    x = torch.randn(1, 2, side, side)
    padded = F.pad(x, (before, 2, before, 2), value=float("-inf"))
    expected = padded.unfold(2, 3, 2).unfold(3, 3, 2).amax(dim=(4, 5))[:, :, : -(-side // 2), : -(-side // 2)]
    assert torch.equal(same_max_pool(x), expected)


def test_grey_is_opencvs():
    images = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    found = (Normalise(colours="grey")(images) + 1) * 127.5
    for picture, ours in zip(images, found, strict=True):
        theirs = cv2.cvtColor(picture.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY)
        assert ours.shape == (1, 5, 7)
        torch.testing.assert_close(ours[0], torch.from_numpy(theirs).float(), atol=0.51, rtol=0)  # it rounds


@pytest.mark.parametrize("classes", [EXPRESSIONS, LSD_EXPRESSIONS])
def test_a_tracks_classes_have_the_probabilities_of_their_names(classes):
    system = Expressions(classes, 64, Normalise(colours="grey")).eval()
    enliven(system.network)
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    own = system.network(system.normalise(images)).softmax(-1)
    found = system.predict({"images": images})["expression"]
    assert own.std() > 0.05 and found.shape == (3, len(classes))
    shared = own[:, [FER2013.index(name) for name in classes if name != "Other"]]
    expected = shared / shared.sum(dim=1, keepdim=True)  # all of it for EXPR, without Neutral's share for LSD
    torch.testing.assert_close(found[:, [name != "Other" for name in classes]], expected)
    assert (found[:, [name == "Other" for name in classes]] == 0).all()


def test_nothing_of_the_published_network_is_trained():
    assert not any(parameter.requires_grad for parameter in Expressions(EXPRESSIONS, 64, Normalise()).parameters())
