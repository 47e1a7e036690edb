"""What a face expresses: action units (AU), the eight expression classes, valence and arousal.

AU to ARKit blend shapes, class prototypes after EMFACS (Ekman and Friesen 1983), thinned so that anger and disgust
share no leading AU, and one stated rule for valence and arousal. An intensity of 1 is the full movement, 0 none.
"""

from dataclasses import dataclass

import numpy as np

CLASSES = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
OTHER = CLASSES.index("Other")
AUS = (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26)  # the twelve of the AU challenge, in the order of its header
AU_PRESENT = 0.3  # an AU is annotated as present from this rendered intensity on
EXPRESSION_PRESENT = 0.35  # below this intensity the label is Neutral


def _both(name: str, gain: float) -> dict[str, float]:
    return {f"{name}Left": gain, f"{name}Right": gain}


# ARKit units and their weight at AU intensity 1
UNITS: dict[int, dict[str, float]] = {
    1: {"browInnerUp": 1.5},
    2: _both("browOuterUp", 1.2),
    4: _both("browDown", 1.5),
    5: _both("eyeWide", 1.4),
    6: _both("cheekSquint", 1.2) | _both("eyeSquint", 0.5),
    7: _both("eyeSquint", 1.25) | _both("eyeBlink", 0.1),
    9: _both("noseSneer", 1.5),
    10: _both("mouthUpperUp", 1.0) | _both("noseSneer", 0.3),
    12: _both("mouthSmile", 1.1),
    14: _both("mouthDimple", 1.2),
    15: _both("mouthFrown", 1.25),
    16: _both("mouthLowerDown", 1.0),
    17: {"mouthShrugLower": 1.0},
    18: {"mouthPucker": 1.0},
    20: _both("mouthStretch", 1.15),
    22: {"mouthFunnel": 1.0},
    23: {"mouthRollUpper": 1.0, "mouthRollLower": 1.0, "mouthPucker": 0.35},
    24: _both("mouthPress", 0.7) | _both("mouthFrown", 0.35) | {"mouthRollUpper": 0.6, "mouthRollLower": 0.6},
    25: _both("mouthLowerDown", 0.85) | _both("mouthUpperUp", 0.5),
    26: {"jawOpen": 0.6},
    43: _both("eyeBlink", 1.0),
}

# class -> (AU, mean intensity at full expression, probability)
Prototype = tuple[tuple[int, float, float], ...]
PROTOTYPES: dict[str, Prototype] = {
    "Neutral": (),
    "Anger": ((4, 1.0, 1.0), (5, 0.6, 0.5), (7, 0.6, 0.8), (17, 0.4, 0.3), (23, 0.8, 0.65), (24, 0.9, 0.65)),
    "Disgust": ((9, 1.0, 1.0), (10, 1.0, 0.9), (6, 0.5, 0.4), (16, 0.5, 0.3), (25, 0.6, 0.6), (4, 0.4, 0.2)),
    "Fear": (
        (1, 1.0, 1.0),
        (2, 0.7, 0.8),
        (4, 0.6, 0.8),
        (5, 1.0, 0.9),
        (20, 0.9, 0.9),
        (25, 0.8, 0.8),
        (26, 0.5, 0.5),
    ),
    "Happiness": ((12, 1.0, 1.0), (6, 0.9, 0.85), (7, 0.4, 0.2), (25, 0.9, 0.7), (26, 0.4, 0.3)),
    "Sadness": ((1, 1.0, 1.0), (4, 0.5, 0.6), (15, 1.0, 1.0), (17, 0.6, 0.5), (43, 0.25, 0.3)),
    "Surprise": ((1, 1.0, 1.0), (2, 1.0, 1.0), (5, 0.9, 0.9), (25, 0.8, 1.0), (26, 1.0, 1.0)),
    "Other": ((24, 0.9, 0.4), (18, 1.0, 1.0), (14, 0.6, 0.4), (2, 0.7, 0.5), (7, 0.5, 0.4)),
}
# an AU that cannot be shown beside another: tight or pressed lips neither part nor pucker
EXCLUDES = {18: (24,), 25: (23, 24, 18), 26: (23, 24, 18)}

# (valence, arousal) at intensity 1: positions set by hand on the circumplex of affect (Russell 1980), in the quadrants
# it gives these emotions; "Other" is a mild doubt, slightly negative.
CIRCUMPLEX: dict[str, tuple[float, float]] = {
    "Neutral": (0.0, 0.0),
    "Anger": (-0.6, 0.7),
    "Disgust": (-0.7, 0.3),
    "Fear": (-0.6, 0.8),
    "Happiness": (0.9, 0.4),
    "Sadness": (-0.8, -0.4),
    "Surprise": (0.2, 0.9),
    "Other": (-0.2, 0.1),
}


@dataclass(frozen=True)
class Expression:
    """A class and the AU intensities it shows at full intensity; `intensity` tells how far it is rendered."""

    kind: int
    aus: dict[int, float]
    intensity: float

    def rendered_aus(self) -> dict[int, float]:
        """AU intensities as rendered."""
        return {au: value * self.intensity for au, value in self.aus.items()}

    @property
    def label(self) -> int:
        """The annotated class: Neutral while the intensity is below `EXPRESSION_PRESENT`."""
        return self.kind if self.intensity >= EXPRESSION_PRESENT else 0

    @property
    def valence_arousal(self) -> tuple[float, float]:
        """The class's position on the circumplex scaled by the intensity (at most 1)."""
        valence, arousal = CIRCUMPLEX[CLASSES[self.kind]]
        scale = min(1.0, self.intensity)
        return valence * scale, arousal * scale


def sample_expression(rng: np.random.Generator, kind: int, intensity: float = 1.0) -> Expression:
    """Draw a person's way of showing class `kind`: which AUs of the prototype take part and how strongly."""
    aus: dict[int, float] = {}
    for au, mean, probability in PROTOTYPES[CLASSES[kind]]:
        taken = rng.random() < probability
        value = float(np.clip(mean * rng.normal(1.0, 0.12), 0, 1.2))
        if taken and not any(other in aus for other in EXCLUDES.get(au, ())):
            aus[au] = value
    if kind == CLASSES.index("Anger") and not {23, 24} & set(aus):
        aus[23] = 0.8  # anger without either lip action reads as a mere frown
    return Expression(kind, aus, intensity)


def sample_mix(rng: np.random.Generator) -> Expression:
    """Two to four random AUs, the class Other: what prototypes leave out."""
    chosen = rng.choice(sorted(UNITS.keys() - {43}), size=int(rng.integers(2, 5)), replace=False).tolist()
    kept = [au for au in chosen if not set(EXCLUDES.get(au, ())) & set(chosen)]
    return Expression(OTHER, {int(au): float(rng.uniform(0.4, 1.0)) for au in kept}, 1.0)


def au_presence(aus: dict[int, float]) -> list[int]:
    """The twelve annotated AUs as 0 or 1."""
    return [int(aus.get(au, 0.0) >= AU_PRESENT) for au in AUS]


def blend_shapes(aus: dict[int, float], gain: float, asymmetry: dict[str, float]) -> dict[str, float]:
    """ARKit weights of AU intensities; where AUs share a unit the strongest wins, as muscles do not add up."""
    weights: dict[str, float] = {}
    for au, intensity in aus.items():
        for unit, weight in UNITS[au].items():
            value = intensity * weight * gain * asymmetry.get(unit, 1.0)
            weights[unit] = max(weights.get(unit, 0.0), value)
    return weights
