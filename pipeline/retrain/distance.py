"""How far one quantity of new recordings lies from the champion's, as the history keeps it and people read it."""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

QUANTITIES = {
    "face_size": "side of the face's box",
    "brightness": "brightness of crops",
    "contrast": "contrast of crops",
    "yaw": "head turned to either side",
    "pitch": "pitch of the head",
    "without_face": "share of frames without a face",
    "labels": "balance of labels",
    "predictions": "balance of the champion's decisions",
    "confidence": "the champion's confidence",
}


class Drift(BaseModel):
    """One quantity of a track: distance of the new recordings from the old, its interval, and the bound for it.

    `interval` is None where the champion has too few recordings to draw; `recordings` are new, `of` the champion's;
    `old`, `new`: the means, where it is a number.
    """

    model_config = ConfigDict(extra="forbid")

    track: str
    quantity: str
    distance: float
    interval: tuple[float, float] | None
    bound: float
    recordings: int
    of: int
    old: float | None = None
    new: float | None = None

    @property
    def is_beyond(self) -> bool:
        """Whether the whole interval lies beyond the bound."""
        return self.interval is not None and (self.interval[0] > self.bound or self.interval[1] < -self.bound)

    @property
    def is_open(self) -> bool:
        """Whether the interval crosses the bound: it cannot be told from so many recordings."""
        return self.interval is None or (not self.is_beyond and max(map(abs, self.interval)) > self.bound)

    def line(self) -> str:
        """For people."""
        means = "" if self.old is None else f", {self.old:.3g} became {self.new:.3g}"
        interval = "{:+.2f} to {:+.2f}".format(*self.interval) if self.interval else "no interval"
        told = f"{self.quantity} {self.distance:+.2f} ({interval}), bound {self.bound:g}{means}"
        return f"{told}; {self.recordings} new recordings against {self.of}"


def summary(drifts: list[Drift]) -> Iterator[str]:
    """A line a track, and one for each of its quantities that is beyond its bound or may be."""
    for track in dict.fromkeys(drift.track for drift in drifts):
        mine = [drift for drift in drifts if drift.track == track]
        beyond = [drift for drift in mine if drift.is_beyond]
        still_open = [drift.quantity for drift in mine if drift.is_open]
        counts = f"{len(beyond)} of {len(mine)} quantities beyond bounds"
        told = f"{track}: drift, new recordings: {mine[0].recordings}; {counts}"
        yield told + (f"; too few recordings to tell: {', '.join(still_open)}" if still_open else "")
        yield from (f"  {drift.line()}" for drift in beyond)
