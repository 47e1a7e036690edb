"""What a release holds, from its lists, names and pictures: the facts and findings that the manifest records."""

from pipeline.release.discover import Release
from pipeline.validate.annotations import survey_annotations
from pipeline.validate.crop_index import CropIndex
from pipeline.validate.findings import Report, SplitSummary
from pipeline.validate.images import survey_images, survey_names
from pipeline.validate.lists import survey_lsd, survey_mtl
from pipeline.validate.templates import survey_tests


def survey_release(release: Release, decode_limit: int = 0) -> Report:
    """Survey a release without its videos; at most about `decode_limit` images are decoded, evenly spaced."""
    crops = CropIndex(release)
    table, findings = survey_annotations(release, crops)
    for rows, found in (survey_mtl(release), survey_lsd(release), survey_tests(release, crops)):
        table += rows
        findings += found
    images, decoded = survey_images(release, decode_limit)
    findings += survey_names(release, crops) + images
    return Report(release.root, sorted(table, key=_order), sorted(findings, key=lambda found: found.rank()), decoded)


def _order(row: SplitSummary) -> tuple[int, int]:
    tracks, splits = ("expr", "au", "va", "mtl", "lsd", "ce"), ("train", "validation", "test")
    return tracks.index(row.track), splits.index(row.split)
