"""Facts and findings of the MTL lists and the LSD folders."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.abaw.names import base_video, is_video_name
from pipeline.abaw.readers import scan_mtl, split_images
from pipeline.abaw.tracks import EXPRESSIONS, LSD_EXPRESSIONS
from pipeline.release.discover import Release
from pipeline.validate.findings import Finding, SplitSummary


class ImageFolders:
    """Image names of the folders below some roots, each listed once."""

    def __init__(self, release: Release, roots: list[Path]) -> None:
        self._release, self._roots = release, roots
        self._names: dict[str, set[str]] = {}

    def has(self, image: str) -> bool:
        """Whether `VIDEO/00001.jpg` lies below one of the roots."""
        video, _, name = image.rpartition("/")
        if video not in self._names:
            folders = [root / video for root in self._roots if video in self._release.store.list(root.as_posix())[0]]
            self._names[video] = {name for folder in folders for name in self._release.image_names(folder)}
        return name in self._names[video]


def absent_images(release: Release, roots: list[Path], images: list[str]) -> list[int] | None:
    """Rows whose image lies below none of `roots`; None when there are no roots to look in."""
    if not roots:
        return None
    folders = ImageFolders(release, roots)
    return [row for row, image in enumerate(images) if not folders.has(image)]


def duplicate_rows(keys: list[str]) -> list[int]:
    """Rows whose key stood in an earlier row."""
    seen: set[str] = set()
    return [row for row, key in enumerate(keys) if key in seen or seen.add(key)]  # type: ignore[func-returns-value]


def survey_mtl(release: Release) -> tuple[list[SplitSummary], list[Finding]]:
    """Table rows of the MTL training and validation lists and what is wrong in or between them."""
    table, findings = [], []
    videos: dict[str, set[str]] = {}
    for split, path in sorted(release.mtl_lists.items()):
        labels, problems = scan_mtl(release.read_bytes(path))
        findings += [Finding("labels", path.as_posix(), p.line, p.message, p.mend, len(labels)) for p in problems]
        row = _mtl_row(split, labels)
        images = labels.column("image").to_pylist()
        absent = absent_images(release, release.mtl_images.get("train", []), images)
        row.without_crop = None if absent is None else len(absent)
        findings += _mtl_findings(path.as_posix(), labels, images, absent)
        videos[split] = {base_video(image.rpartition("/")[0]) for image in images}
        table.append(row)
    for video in sorted(videos.get("train", set()) & videos.get("validation", set())):
        message, mend = f"raw video {video} is in both lists", "group own folds by the base video"
        findings.append(Finding("leak", release.mtl_lists["validation"].as_posix(), None, message, mend))
    return table, findings


def _mtl_row(split: str, labels: pa.Table) -> SplitSummary:
    classes = labels.column("expression").to_numpy()
    valid = classes[classes >= 0]
    videos = {image.rpartition("/")[0] for image in labels.column("image").to_pylist()}
    counts = np.bincount(valid, minlength=len(EXPRESSIONS)).tolist()
    return SplitSummary("mtl", split, len(videos), len(labels), len(valid), counts)


def _mtl_findings(path: str, labels: pa.Table, images: list[str], absent: list[int] | None) -> list[Finding]:
    findings = _duplicates(path, labels, images) + _image_names(path, images)
    if absent:
        message = f"{len(absent)} rows have no image, the first is {images[absent[0]]}"
        mend = "unpack the images of s-Aff-Wild2 beside the lists"
        findings.append(Finding("faces", path, absent[0] + 2, message, mend, len(absent)))
    masked = _unlabelled(labels)
    if len(masked):
        message = f"{len(masked)} rows have no valid label in any task, the first here"
        findings.append(Finding("note", path, int(masked[0]) + 2, message, "none: they are masked", len(masked)))
    return findings


def _unlabelled(labels: pa.Table) -> np.ndarray:
    aus = labels.column("aus").combine_chunks().flatten().to_numpy().reshape(len(labels), -1)
    va = np.minimum(labels.column("valence").to_numpy(), labels.column("arousal").to_numpy())
    return np.flatnonzero((labels.column("expression").to_numpy() < 0) & (aus < 0).any(axis=1) & (va < -1))


def _duplicates(path: str, labels: pa.Table, images: list[str]) -> list[Finding]:
    """Exact duplicate rows are official and kept; the same image with other labels is a contradiction."""
    repeated = duplicate_rows(images)
    if not repeated:
        return []
    wanted = set(images[row] for row in repeated)
    candidates = [row for row, image in enumerate(images) if image in wanted]
    first: dict[str, dict] = {}
    exact: list[int] = []
    contrary: list[int] = []
    for row, record in zip(candidates, labels.take(candidates).to_pylist(), strict=True):
        known = first.setdefault(record["image"], record)
        if known is not record:
            (exact if known == record else contrary).append(row)
    findings = []
    if exact:
        message = f"{len(exact)} exact duplicate rows, the first is {images[exact[0]]}"
        findings.append(
            Finding("note", path, exact[0] + 2, message, "none: the official lists have them; kept", len(exact))
        )
    if contrary:
        message = f"{len(contrary)} images come again with other labels, the first is {images[contrary[0]]}"
        mend = "take the list from the official release again"
        findings.append(Finding("labels", path, contrary[0] + 2, message, mend, len(contrary)))
    return findings


def _image_names(path: str, images: list[str]) -> list[Finding]:
    videos, frames = split_images(pa.array(images, pa.string()))
    bad_videos = {video for video in set(videos.to_pylist()) if not video or not is_video_name(video)}
    bad = [row for row, video in enumerate(videos.to_pylist()) if video in bad_videos or frames[row] < 1]
    if not bad:
        return []
    message = f"{len(bad)} image names are not VIDEO/00001.jpg, the first is {images[bad[0]][:60]!r}"
    return [Finding("rows", path, bad[0] + 2, message, "take the list from the official release again", len(bad))]


def survey_lsd(release: Release) -> tuple[list[SplitSummary], list[Finding]]:
    """Table rows of the LSD class folders; missing classes are findings."""
    table, findings = [], []
    for split, folders in sorted(release.lsd_classes.items()):
        counts = [sum(len(release.image_names(f)) for f in folders.get(i, [])) for i in range(len(LSD_EXPRESSIONS))]
        table.append(SplitSummary("lsd", split, 0, sum(counts), sum(counts), counts))
        home = next(iter(folders.values()))[0].parent.as_posix() if folders else split
        for index, count in enumerate(counts):
            if not count:
                message = f"no images of class {index} ({LSD_EXPRESSIONS[index]})"
                findings.append(Finding("rows", home, None, message, "unpack the class folders again"))
    return table, findings
