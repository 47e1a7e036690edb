"""The official text files: per-frame annotations, test lists and templates, MTL and LSD lists; and the filled truth."""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import numpy as np

from demo.generator.expressions import AUS, CLASSES, au_presence
from demo.generator.film import Truth
from demo.generator.params import Params
from demo.generator.plan import Recording, rng_of

TASKS = ("EXPR", "AU", "VA")
HEADERS = {"EXPR": ",".join(CLASSES), "AU": ",".join(f"AU{au}" for au in AUS), "VA": "valence,arousal"}
INVALID = {"EXPR": "-1", "AU": ",".join(["-1"] * len(AUS)), "VA": "-5,-5"}
FOLDERS = {
    "EXPR": "EXPR_Recognition_Challenge",
    "AU": "AU_Detection_Challenge",
    "VA": "VA_Estimation_Challenge",
}
TEST_LISTS = {
    "EXPR": "Expression_Recognition_Challenge_test_set_release.txt",
    "AU": "Action_Unit_Detection_Challenge_test_set_release.txt",
    "VA": "Valence_Arousal_Estimation_Challenge_test_set_release.txt",
}
FILE_TASK = {"EXPR": "Expr", "AU": "AU", "VA": "VA"}
EXAMPLES = {"EXPR": "0", "AU": "1,0,1,1,1,0,0,1,0,0,0,1", "VA": "0.5,-0.5"}
TRUTH_FILES = {"EXPR": "expr.txt", "AU": "au.txt", "VA": "va.txt"}
SPLIT_FOLDERS = {"train": "Train_Set", "validation": "Validation_Set"}
MTL_HEADER, LSD_HEADER = "image,valence,arousal,expression,aus", "image,expression"
MTL_INVALID_VA = "-5.0,-5.0"


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write `lines` with LF ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())


def label(truth: Truth, task: str) -> str:
    """The annotation of one frame for a task."""
    expression = truth.instant.expression
    if task == "EXPR":
        return str(expression.label)
    if task == "AU":
        return ",".join(str(p) for p in au_presence(truth.instant.moment.aus))
    valence, arousal = expression.valence_arousal
    return f"{valence + 0.0:.3f},{arousal + 0.0:.3f}"


def write_videos(params: Params, plan: list[Recording], truths: list[Truth], data: Path, filled: Path) -> None:
    """Annotations of train and validation, test lists, templates and examples, and the templates filled with truth."""
    longer = {person.name for recording in plan if recording.extra_row for person in recording.people}
    test: dict[str, list[Truth]] = {}
    for number, (name, group) in enumerate(groupby(truths, key=lambda t: t.name)):
        frames = list(group)
        if frames[0].split == "test":
            test[name] = frames
            continue
        for task in TASKS:
            rows = _annotate(rng_of(params.seed, f"invalid-{task}", number), frames, task)
            rows += rows[-1:] if name in longer else []
            folder = data / "annotations" / FOLDERS[task] / SPLIT_FOLDERS[frames[0].split]
            write_lines(folder / f"{name}.txt", [HEADERS[task], *rows])
    for task in TASKS:
        _write_test(task, test, data / "test_release", filled)


def _annotate(rng: np.random.Generator, frames: list[Truth], task: str) -> list[str]:
    """Labels with stretches that the annotators could not judge; a missing face is noticed two frames late."""
    rows = [label(truth, task) for truth in frames]
    missing = [i for i, truth in enumerate(frames) if truth.landmarks is None]
    for i in missing[2:]:
        rows[i] = INVALID[task]
    if rng.random() < 0.6:
        start, length = int(rng.integers(0, len(rows) - 8)), int(rng.integers(3, 9))
        rows[start : start + length] = [INVALID[task]] * length
    return rows


def _write_test(task: str, test: dict[str, list[Truth]], release: Path, filled: Path) -> None:
    """The template keeps an order of its own for every task, as the official ones do: never the sorted one."""
    names = list(test)
    turn = TASKS.index(task) + 1
    names = names[turn % len(names) :] + names[: turn % len(names)]
    if names == sorted(names):
        names.reverse()
    write_lines(release / "names_of_videos_in_each_test_set" / TEST_LISTS[task], names)
    header = f"image_location,{HEADERS[task]}"
    rows = [(f"{name}/{truth.frame:05d}.jpg", label(truth, task)) for name in names for truth in test[name]]
    sample = release / "prediction_files_format" / f"ABAW_{FILE_TASK[task]}_test_set_sample.txt"
    example = release / "test_set_examples" / f"ABAW_{FILE_TASK[task]}_test_set_example.txt"
    write_lines(sample, [header, *(f"{image}," for image, _ in rows)])
    write_lines(example, [header, *(f"{image},{EXAMPLES[task]}" for image, _ in rows)])
    write_lines(filled / TRUTH_FILES[task], [header, *(f"{image},{row}" for image, row in rows)])


def write_mtl(params: Params, truths: list[Truth], data: Path, filled: Path) -> None:
    """The three MTL lists: some parts invalid, one train row without any valid label, exact duplicate rows."""
    root = data / "mtl_s-aff-wild2"
    for split, file in (("train", "training_set_annotations.txt"), ("validation", "validation_set_annotations.txt")):
        rng = rng_of(params.seed, f"mtl-invalid-{split}", 0)
        rows = [_mtl_row(truth, rng, split == "train" and i == 1) for i, truth in enumerate(_of(truths, split))]
        write_lines(root / file, [MTL_HEADER, *_with_duplicates(rng, rows)])
    rng = rng_of(params.seed, "mtl-test", 0)
    rows = _with_duplicates(rng, [_mtl_row(truth, None, False) for truth in _of(truths, "test")])
    write_lines(root / "MTL_Challenge_test_set_release.txt", [MTL_HEADER, *(row.split(",")[0] for row in rows)])
    write_lines(filled / "mtl.txt", [MTL_HEADER, *rows])


def _of(truths: list[Truth], split: str) -> list[Truth]:
    return [truth for truth in truths if truth.split == split]


def _mtl_row(truth: Truth, rng: np.random.Generator | None, nothing_valid: bool) -> str:
    """One row; with `rng`, about an eighth of the parts is invalid."""
    invalid = {"VA": MTL_INVALID_VA, "EXPR": INVALID["EXPR"], "AU": INVALID["AU"]}
    parts = {task: label(truth, task) for task in invalid}
    if nothing_valid:
        parts = invalid
    elif rng is not None:
        lost = rng.random(3) < 0.12
        lost[2] &= not lost.all()
        parts = {task: invalid[task] if gone else parts[task] for (task, gone) in zip(invalid, lost, strict=True)}
    return f"{truth.name}/{truth.frame:05d}.jpg,{parts['VA']},{parts['EXPR']},{parts['AU']}"


def _with_duplicates(rng: np.random.Generator, rows: list[str]) -> list[str]:
    """About one row in forty twice in a row, and at least one."""
    twice = set(rng.choice(len(rows), max(1, len(rows) // 40), replace=False).tolist())
    return [row for i, row in enumerate(rows) for _ in range(2 if i in twice else 1)]


def write_lsd(truths: list[Truth], data: Path, filled: Path) -> None:
    """The LSD test list in the order of the image numbers."""
    test = sorted(_of(truths, "test"), key=lambda t: int(Path(t.name).stem))
    rows = [(Path(t.name).name, t.instant.expression.kind - 1) for t in test]
    write_lines(data / "lsd_abaw4" / "LSD_Challenge_test_set_release.txt", [LSD_HEADER, *(image for image, _ in rows)])
    write_lines(filled / "lsd.txt", [LSD_HEADER, *(f"{image},{kind}" for image, kind in rows)])
