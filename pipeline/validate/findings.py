"""What validation finds: facts for the table, and findings ranked by what they would do to the result."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.validate.official import OFFICIAL

Effect = Literal["labels", "rows", "leak", "submission", "faces", "note"]

# In the order of the harm done; the first two make `mien data validate` answer no.
EFFECTS: dict[Effect, str] = {
    "labels": "labels would be wrong or shifted",
    "rows": "rows or files would be lost",
    "leak": "the validation score would be too good",
    "submission": "a submission would be incomplete",
    "faces": "rows would be predicted without a face",
    "note": "nothing is lost",
}
FATAL: tuple[Effect, ...] = ("labels", "rows")
DECODE_LIMIT = 20_000  # pictures: two seconds; a release has 2.9 million crops


@dataclass(frozen=True)
class Finding:
    """One finding; `line` is 1-based, None where it is about a whole file; `rows` is how many rows it touches."""

    effect: Effect
    path: str
    line: int | None
    message: str
    mend: str
    rows: int = 0

    def rank(self) -> tuple[int, int, str, int]:
        """Sort key: harm first, then how many rows."""
        return list(EFFECTS).index(self.effect), -self.rows, self.path, self.line or 0


@dataclass
class SplitSummary:
    """What the release holds of one track's split. `valid` counts rows with a label of the track (MTL: of EXPR)."""

    track: str
    split: str
    videos: int = 0
    rows: int = 0
    valid: int | None = None
    classes: list[int] = field(default_factory=list)
    without_crop: int | None = None

    def facts(self) -> dict[str, Any]:
        """The row with the official figures beside it."""
        official = OFFICIAL.get((self.track, self.split))
        return asdict(self) | {"official": asdict(official) if official else None}


@dataclass
class Report:
    """The table of what is there and the findings, worst first; `decoded`: how many images were tried of how many."""

    root: Path
    table: list[SplitSummary]
    findings: list[Finding]
    decoded: tuple[int, int] = (0, 0)

    @property
    def good(self) -> bool:
        """Whether no finding would change labels or lose rows."""
        return not any(finding.effect in FATAL for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Everything, for machines."""
        return {
            "root": self.root.as_posix(),
            "good": self.good,
            "decoded": {"images": self.decoded[0], "of": self.decoded[1]},
            "table": [row.facts() for row in self.table],
            "findings": [asdict(finding) for finding in self.findings],
        }
