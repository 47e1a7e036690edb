"""How a time grows with the size of its input."""

import math
from collections.abc import Sequence


def exponent(sizes: Sequence[float], seconds: Sequence[float], least: float = 1.0) -> float | None:
    """`e` of a + b * size ** e through the last three sizes, each as many times the one before.

    The start-up `a` falls out of the differences. None where these are as small as the clock's noise (the last size
    takes less than `least` seconds over the first of the three, or the middle one less than a quarter of that), or
    there are no three: too little to tell.
    """
    if len(seconds) < 3:
        return None
    few, more, most = seconds[-3:]
    if most - few < least or more - few < least / 4 or most <= more:
        return None
    return round(math.log((most - more) / (more - few)) / math.log(sizes[-1] / sizes[-2]), 2)


def at_size(sizes: Sequence[float], seconds: Sequence[float], size: float) -> float:
    """Seconds at another size, by the line through the first and the last."""
    slope = max(0.0, (seconds[-1] - seconds[0]) / (sizes[-1] - sizes[0]))
    return seconds[-1] + slope * (size - sizes[-1])
