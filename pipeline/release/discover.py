"""What an official release holds, found by the names of challenge folders and files, whatever its root."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from pipeline.abaw import text
from pipeline.abaw.names import base_video, is_video_name
from pipeline.abaw.readers import recognise
from pipeline.abaw.tracks import LSD_EXPRESSIONS
from pipeline.core.errors import MienError
from pipeline.core.suffixes import is_image, is_video
from pipeline.release.files import File, LooseStore, Store, join, parent
from pipeline.release.pack import PackStore, is_pack, is_unfinished

Split = Literal["train", "validation"]

# EXPR_Recognition_Challenge, EXPR_Classification_Challenge, AU_Detection_Challenge, EXPR_Set
CHALLENGE = re.compile(r"(EXPR|AU|VA)_(?:.*Challenge|Set)", re.IGNORECASE)
CHALLENGE_TRACKS: dict[str, Literal["expr", "au", "va"]] = {"expr": "expr", "au": "au", "va": "va"}
SPLIT = re.compile(r"(train|valid)[a-z]*_set", re.IGNORECASE)
MTL_LIST = re.compile(r"(train|valid)[a-z]*_set(?:_annotations?)?\.txt", re.IGNORECASE)
TEMPLATE = re.compile(r"(^|/)(prediction_files_format|test_set_examples)/|test_set[^/]*\.(txt|csv)$", re.IGNORECASE)
CROPS = re.compile(r"cropped(_aligned)?(_.*)?", re.IGNORECASE)
LSD_FOLDER = re.compile(r"(train|valid)[a-z]*_set_(synthetic|real)_images", re.IGNORECASE)
LSD_TEST = re.compile(r"lsd.*test|test.*lsd", re.IGNORECASE)
UNLABELLED = re.compile(r"unlabell?ed|extras?", re.IGNORECASE)
COMPOUND = re.compile(r"(^|/)[^/]*(c[-_]?expr|(^|[-_/])ce([-_/]|$))", re.IGNORECASE)
LSD_CLASSES = {name.upper(): index for index, name in enumerate(LSD_EXPRESSIONS)} | {"ANGRER": 0}  # an official typo
TEST_LIST_TASKS = (
    ("expr", re.compile("expr", re.I)),
    ("au", re.compile("action|^au", re.I)),
    ("va", re.compile("val|^va", re.I)),
)


@dataclass(frozen=True, order=True)
class AnnotationFile:
    """A per-video annotation file; line i + 1 is frame i of `video`."""

    track: Literal["expr", "au", "va"]
    split: Split
    video: str
    path: Path


@dataclass
class Release:
    """Everything found below `root`; all paths are relative to it and sorted.

    `crops`: the folders that hold a video's aligned crops, `cropped_aligned` before its later additions;
    `unaligned_crops`: those of `cropped`, wider and larger. `mtl_images`: image roots, searched in this order, of the
    lists ("train", which also serves validation) and of the test list. `lsd_classes`: folder of each class index.
    `compounds`: raw videos of C-EXPR-DB. `templates`: best first. `skipped`: files that looked like part of a
    release and were left out, with the reason.
    """

    root: Path
    store: Store
    annotations: list[AnnotationFile] = field(default_factory=list)
    videos: dict[str, Path] = field(default_factory=dict)
    compounds: dict[str, Path] = field(default_factory=dict)
    crops: dict[str, list[Path]] = field(default_factory=dict)
    unaligned_crops: dict[str, list[Path]] = field(default_factory=dict)
    mtl_lists: dict[Split, Path] = field(default_factory=dict)
    mtl_images: dict[Literal["train", "test"], list[Path]] = field(default_factory=dict)
    lsd_classes: dict[Split, dict[int, list[Path]]] = field(default_factory=dict)
    lsd_test: Path | None = None
    templates: dict[str, list[Path]] = field(default_factory=dict)
    test_videos: dict[str, Path] = field(default_factory=dict)
    unlabelled: list[Path] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)

    def template(self, track: str) -> Path | None:
        """The template to fill for `track`, relative to the root; None when the release has none."""
        return self.templates.get(track, [None])[0]

    def read_bytes(self, path: Path | str) -> bytes:
        """Bytes of the file at `path`, relative to the root; works for a loose folder and for a pack."""
        return self.store.read(PurePosixPath(path).as_posix())

    def image_names(self, folder: Path | str) -> list[str]:
        """Sorted names of the images right in `folder`."""
        return [file.name for file in self.store.list(PurePosixPath(folder).as_posix())[1] if is_image(file.name)]

    def crop_folders(self, video: str) -> list[Path]:
        """The folders of a video's crops: aligned where it has them, else unaligned."""
        return self.crops.get(video) or self.unaligned_crops.get(video, [])

    def images(self, video: str) -> Iterator[tuple[str, bytes]]:
        """Crop names and bytes of `video`, sorted within each of its folders; the first folder wins."""
        seen: set[str] = set()
        for folder in self.crop_folders(video):
            for name, data in self.store.images(folder.as_posix()):
                if name not in seen:
                    seen.add(name)
                    yield name, data


def find_release(root: Path) -> Release:
    """Discover the release, or the imported pack, at `root`. MienError when nothing of ABAW is there."""
    if not root.is_dir():
        raise MienError(f"{root}: no such folder. Mend: give the folder of an official release or an imported pack")
    if is_unfinished(root):
        raise MienError(f"{root}: its import was interrupted. Mend: run `mien data import` again, it goes on")
    release = discover(root, PackStore(root) if is_pack(root) else LooseStore(root))
    if is_empty(release):
        raise MienError(
            f"{root}: nothing of an official release is below. Mend: look for the folder that holds "
            "EXPR_*_Challenge, cropped_aligned, training_set_annotations.txt, *_test_set_* or videos"
        )
    return release


def is_empty(release: Release) -> bool:
    """Whether nothing of ABAW was found."""
    return release == Release(release.root, release.store, skipped=release.skipped)


def is_meaningful(folder: str) -> bool:
    """Whether discovery reads something from a folder's name."""
    patterns = (CHALLENGE, CROPS, LSD_FOLDER, UNLABELLED)
    return any(pattern.fullmatch(folder) for pattern in patterns) or bool(LSD_TEST.search(folder))


def discover(root: Path, store: Store) -> Release:
    """Walk `store` once; crop, class and image folders are listed by name only, never entered."""
    release = Release(root, store)
    crop_roots: list[tuple[str, list[str]]] = []
    mtl_files: list[str] = []
    pending = [""]
    while pending:
        folder = pending.pop()
        name = folder.rpartition("/")[2]
        folders, files = store.list(folder)
        if CHALLENGE.fullmatch(name):
            _add_challenge(release, folder, folders)
            continue
        if CROPS.fullmatch(name) and folders:
            inner = [child for child in folders if CROPS.fullmatch(child)]  # an archive unpacked into its own name
            crop_roots.append((folder, [child for child in folders if child not in inner]))
            pending += [join(folder, child) for child in reversed(inner)]
            continue
        if UNLABELLED.fullmatch(name):
            _add_unlabelled(release, folder, folders, files)
            continue
        if _add_lsd(release, folder, folders, files):
            continue
        _add_files(release, folder, files, mtl_files)
        pending += [join(folder, child) for child in reversed(folders)]
    _place_crops(release, sorted(crop_roots), mtl_files)
    return _sorted(release)


def _add_challenge(release: Release, folder: str, folders: list[str]) -> None:
    match = CHALLENGE.fullmatch(folder.rpartition("/")[2])
    assert match
    track = CHALLENGE_TRACKS[match.group(1).lower()]
    for child in folders:
        split = SPLIT.fullmatch(child)
        for file in release.store.list(join(folder, child))[1] if split else []:
            if split and file.name.endswith(".txt"):
                path = Path(folder, child, file.name)
                release.annotations.append(AnnotationFile(track, _split(split), file.name[:-4], path))


def _split(match: re.Match[str]) -> Split:
    return "train" if match.group(1).lower() == "train" else "validation"


def _add_unlabelled(release: Release, folder: str, folders: list[str], files: list[File]) -> None:
    release.unlabelled += [Path(folder, file.name) for file in files if is_image(file.name) or is_video(file.name)]
    for child in folders:
        _add_unlabelled(release, join(folder, child), *release.store.list(join(folder, child)))


def _add_lsd(release: Release, folder: str, folders: list[str], files: list[File]) -> bool:
    """Take `folder` when it holds LSD class folders or LSD test images."""
    name = folder.rpartition("/")[2]
    split = LSD_FOLDER.fullmatch(name)
    if split:
        classes = release.lsd_classes.setdefault(_split(split), {})
        for child in folders:
            if child.upper() in LSD_CLASSES:
                classes.setdefault(LSD_CLASSES[child.upper()], []).append(Path(folder, child))
            else:
                release.skipped.append((Path(folder, child), "no class of the LSD track"))
        return True
    if LSD_TEST.search(name) and any(is_image(file.name) for file in files):
        release.lsd_test = Path(folder)
        return True
    return False


def _add_files(release: Release, folder: str, files: list[File], mtl_files: list[str]) -> None:
    for file in files:
        path = join(folder, file.name)
        if is_video(file.name):
            _add_video(release, path)
        elif split := MTL_LIST.fullmatch(file.name):
            _add_mtl_list(release, path, _split(split), mtl_files)
        elif TEMPLATE.search(path) and file.name.lower().endswith((".txt", ".csv")):
            _add_test_file(release, path, mtl_files)


def _add_mtl_list(release: Release, path: str, split: Split, mtl_files: list[str]) -> None:
    """An MTL annotation list; one whose header is broken is kept, so that reading it says what is wrong."""
    if _header_track(release, path) != "mtl" and "annotation" not in path.rpartition("/")[2].lower():
        release.skipped.append((Path(path), "the header is not that of MTL"))
    elif split in release.mtl_lists:
        release.skipped.append((Path(path), f"second MTL list for {split}"))
    else:
        release.mtl_lists[split] = Path(path)
        mtl_files.append(path)


def _add_video(release: Release, path: str) -> None:
    name = path.rpartition("/")[2].rpartition(".")[0]
    if not is_video_name(name):
        release.skipped.append((Path(path), "the name is not of the official grammar"))
        return
    videos = release.compounds if COMPOUND.search(parent(path)) else release.videos
    if base_video(name) in videos:
        release.skipped.append((Path(path), f"second file for video {base_video(name)}"))
    else:
        videos[base_video(name)] = Path(path)


def _header_track(release: Release, path: str) -> str | None:
    track = recognise(text.first_line(text.normalise(release.store.read(path)[:4096])))
    return track.name if track else None


def _add_test_file(release: Release, path: str, mtl_files: list[str]) -> None:
    """A template (recognised by its header) or a list of test videos (by its first line)."""
    track = _header_track(release, path)
    if track:
        release.templates.setdefault(track, []).append(Path(path))
        if track == "mtl":
            mtl_files.append(path)
        return
    name = path.rpartition("/")[2]
    first = text.first_line(text.normalise(release.store.read(path)[:4096])).strip()
    task = next((task for task, pattern in TEST_LIST_TASKS if pattern.search(name)), None)
    if task and is_video_name(first):
        release.test_videos.setdefault(task, Path(path))
    else:
        release.skipped.append((Path(path), f"header {first[:60]!r} is of no known track"))


def _place_crops(release: Release, crop_roots: list[tuple[str, list[str]]], mtl_files: list[str]) -> None:
    """Give each crop root to MTL or to Aff-Wild2: MTL's lie below the folder of its lists."""
    homes = {_mtl_home(path) for path in mtl_files}
    challenges = [annotation.path.as_posix() for annotation in release.annotations]
    own = {home for home in homes if not any(path.startswith(f"{home}/" if home else "") for path in challenges)}
    affwild2 = [root for root in crop_roots if not _below(root[0], own)]
    mtl = [root[0] for root in crop_roots if _below(root[0], own)] or [root[0] for root in affwild2]
    for folder, videos in sorted(affwild2):
        for video in videos:
            home = release.unaligned_crops if _unaligned(folder) else release.crops
            home.setdefault(video, []).append(Path(folder, video))
    if mtl_files:
        test = [root for root in mtl if re.search("test", root, re.IGNORECASE)]
        train = [root for root in mtl if root not in test]
        release.mtl_images = {"train": _paths(train or test), "test": _paths(test or train)}


def _mtl_home(path: str) -> str:
    """The folder that holds the images of an MTL list: its own, or the one above `test_set_examples`."""
    folder = parent(path)
    inner = folder.rpartition("/")[2].lower()
    return parent(folder) if inner in ("test_set_examples", "prediction_files_format") else folder


def _below(path: str, homes: set[str]) -> bool:
    return any(path.startswith(f"{home}/" if home else "") for home in homes)


def _unaligned(folder: str) -> bool:
    return "aligned" not in folder.rpartition("/")[2].lower()


def _paths(folders: list[str]) -> list[Path]:
    return [Path(folder) for folder in sorted(folders, key=lambda folder: (_unaligned(folder), folder))]


def _template_rank(path: Path) -> tuple[int, str]:
    """Files to fill before filled examples; the shorter path wins between equals."""
    text_path = path.as_posix().lower()
    rank = 0 if "prediction_files_format" in text_path else 2 if "example" in text_path else 1
    return rank, text_path


def _sorted(release: Release) -> Release:
    release.annotations.sort()
    release.unlabelled.sort()
    release.skipped.sort()
    release.videos = dict(sorted(release.videos.items()))
    release.compounds = dict(sorted(release.compounds.items()))
    release.crops = dict(sorted(release.crops.items()))
    release.unaligned_crops = dict(sorted(release.unaligned_crops.items()))
    release.templates = {track: sorted(paths, key=_template_rank) for track, paths in sorted(release.templates.items())}
    return release
