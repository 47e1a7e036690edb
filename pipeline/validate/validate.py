"""`mien data validate`: what a release holds, and everything in it that would change the result."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.release.discover import find_release
from pipeline.validate.findings import DECODE_LIMIT, EFFECTS, Report
from pipeline.validate.official import OFFICIAL, Figures
from pipeline.validate.survey import survey_release
from pipeline.validate.videos import survey_videos

SHOWN = 200


def validate_release(root: Path, decode_limit: int = DECODE_LIMIT) -> Report:
    """Survey the loose release or imported pack at `root`, its videos too.

    At most about `decode_limit` images are decoded, evenly spaced (0: neither images nor videos are opened).
    MienError when nothing of ABAW is there.
    """
    release = find_release(root)
    report = survey_release(release, decode_limit)
    if not decode_limit:
        return report
    findings = report.findings + survey_videos(release)
    return replace(report, findings=sorted(findings, key=lambda found: found.rank()))


def print_table(report: Report, console: Console) -> None:
    """The table of what is there beside the official figures."""
    table = Table(title=Text(str(report.root)), title_justify="left")
    for column in ("track", "split", "videos", "official", "rows", "official", "labelled", "official", "no crop"):
        table.add_column(column, justify="left" if column in ("track", "split") else "right", no_wrap=True)
    table.add_column("classes or units")
    for row in report.table:
        official = OFFICIAL.get((row.track, row.split), Figures())
        pairs = ((row.videos or None, official.videos), (row.rows, official.rows), (row.valid, official.valid))
        numbers = [*(number for pair in pairs for number in pair), row.without_crop]
        classes = " ".join(str(count) for count in row.classes)
        table.add_row(row.track.upper(), row.split, *[_number(number) for number in numbers], classes)
    console.print(table)


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def print_findings(report: Report, console: Console, shown: int = SHOWN) -> None:
    """The findings by their effect, worst first, each with file, line and mend."""
    effect = None
    for finding in report.findings[:shown]:
        if finding.effect != effect:
            effect = finding.effect
            count = sum(other.effect == effect for other in report.findings)
            console.print(f"\n{EFFECTS[effect]} ({count})", style="bold", highlight=False)
        where = finding.path if finding.line is None else f"{finding.path}, line {finding.line}"
        line = f"  {where}: {finding.message}. Mend: {finding.mend}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if len(report.findings) > shown:
        console.print(f"\n... and {len(report.findings) - shown} more: see --json", highlight=False)
    tried, total = report.decoded
    sampled = "" if tried == total else " (evenly spaced; all with --decode-limit)"
    console.print(f"\n{len(report.findings)} findings; {tried:,} of {total:,} images decoded{sampled}", highlight=False)
