"""Two submissions side by side: what went into them that is not the same, what that did to scores and rows."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.audit.audit import case_of, look_up
from pipeline.audit.case import Case
from pipeline.audit.check.code import code_of
from pipeline.audit.claims import some
from pipeline.audit.history import History, Hit, is_uploaded
from pipeline.audit.locks import Lock, Stage, read_lock
from pipeline.audit.outside import named_weights
from pipeline.audit.states import Commit, resolved_commit
from pipeline.audit.tried import try_causes
from pipeline.core.errors import MienError
from pipeline.core.paths import ENSEMBLE
from pipeline.run.why import compare, differences

SHOWN = 6


@dataclass
class Side:
    """One of the two: how the user named it, its case, and the submission's text."""

    name: str
    case: Case
    lines: list[str]


@dataclass
class Differences:
    """What is not the same, by kind; each a list of lines."""

    params: list[str] = field(default_factory=list)
    data: list[str] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    metrics: list[str] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)


def sides(first: str, second: str, track: str | None, history: History) -> list[tuple[Side, Side]]:
    """The two submissions, by file or by commit; of two commits, those of every track that both have."""
    found = [_file_side(name, history) for name in (first, second)]
    known = next((side.case.hit.stage for side in found if side), None)
    stages = [known] if known else [f"submit@{track}"] if track else None
    locks = [side.case.lock if side else _commit_lock(name) for side, name in zip(found, (first, second), strict=True)]
    if stages is None:
        both = set(locks[0].stages) & set(locks[1].stages)
        stages = sorted(name for name in both if name.startswith("submit@"))
    if not stages:
        raise MienError(f"{first} and {second} have no track in common; name two of one track", exit_code=2)
    return [
        (
            found[0] or _commit_side(first, locks[0], stage, history),
            found[1] or _commit_side(second, locks[1], stage, history),
        )
        for stage in stages
    ]


def _file_side(name: str, history: History) -> Side | None:
    """The side of a file; None for a name that is no file."""
    if not Path(name).is_file():
        return None
    found = look_up(Path(name), history)
    if found is None:
        raise MienError(f"{name}: Mien did not make these bytes; `mien audit {name}` tells what is near them")
    return Side(name, found.case, found.form.data.decode().splitlines())


def _commit_lock(name: str) -> Lock:
    try:
        return read_lock(Commit(resolved_commit(name)))
    except MienError:
        raise MienError(f"{name}: neither a file nor a commit; give a submission's file or a commit", 2) from None


def _commit_side(name: str, lock: Lock, stage: str, history: History) -> Side:
    """What a commit's lock tells of a track."""
    state = Commit(resolved_commit(name))
    outs = lock.stages[stage].outs if stage in lock.stages else ()
    item = next((o for o in outs if is_uploaded(o.path)), None)
    if item is None:
        raise MienError(f"{name}: its lock has no submission of {stage}; name another commit")
    case = case_of(Hit(state, (state.name,), lock, stage, item), history)
    path = history.objects.find(item.path, item.md5)
    return Side(name, case, path.read_text().splitlines() if path else [])


def differ(first: Side, second: Side, tries: bool = True) -> Differences:
    """All that is not the same; where scores are not and it `tries`, which change of the ensemble's parts did it."""
    found = Differences(rows=_rows(first.lines, second.lines), metrics=_metrics(first.case, second.case))
    ours, theirs = ({stage.name: stage for stage in side.case.stages} for side in (first, second))
    found.stages += [f"{name}: only behind {first.name}" for name in ours if name not in theirs]
    found.stages += [f"{name}: only behind {second.name}" for name in theirs if name not in ours]
    code: Counter[str] = Counter()
    for name in (name for name in ours if name in theirs):
        a, b = ours[name], theirs[name]
        found.params += [f"{name}: {text.removeprefix('params: ')}" for text in _params(a, b)]
        code.update(compare(_code(first.case, a), _code(second.case, b)))
        found.weights += _weights(first.case, second.case, a, b)
        if a.cmd != b.cmd:
            found.stages.append(f"{name}: command {a.cmd!r} -> {b.cmd!r}")
    found.code = [f"{text} ({count} stages)" for text, count in sorted(code.items())]
    found.data = _data(first.case, second.case)
    if tries and found.metrics:
        found.tried = try_causes(first.case, second.case)
    found.params, found.weights = ([*dict.fromkeys(lines)] for lines in (found.params, found.weights))
    return found


def _params(a: Stage, b: Stage) -> list[str]:
    files = sorted({*a.params, *b.params})
    pairs = [(dict(a.params.get(file, {})), dict(b.params.get(file, {}))) for file in files]
    return [text.replace("params: .", "", 1) for ours, theirs in pairs for text in differences("", ours, theirs)]


def _code(case: Case, stage: Stage) -> list[str]:
    files, libraries = code_of(case, stage)
    return [*files, *(f"{name}=={version}" for name, version in libraries.items())]


def _weights(first: Case, second: Case, a: Stage, b: Stage) -> list[str]:
    ours, theirs = named_weights(first, a), named_weights(second, b)
    told = []
    for name in sorted({*ours, *theirs}):
        old, new = ours.get(name), theirs.get(name)
        if old != new:
            digests = [entry.sha256[:12] if entry else "none" for entry in (old, new)]
            told.append(f"{name}: sha256 {digests[0]} -> {digests[1]}")
    return told


def _data(first: Case, second: Case) -> list[str]:
    """Raw files that were added, removed or changed."""
    told = []
    ours, theirs = _raw(first), _raw(second)
    for path in sorted({*ours, *theirs}):
        a, b = ours.get(path), theirs.get(path)
        if a and b and a.md5 == b.md5:
            continue
        before, after = ((case.objects.members(item) if item else {}) for case, item in ((first, a), (second, b)))
        if before is None or after is None:
            told.append(f"{path}: changed; which files cannot be told, the cache lacks its list")
            continue
        added, gone = sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys())
        changed = sorted(name for name in before.keys() & after.keys() if before[name] != after[name])
        for word, names in (("added", added), ("removed", gone), ("changed", changed)):
            told += [f"{len(names)} files {word}: {some(names, SHOWN)}"] if names else []
    return told


def _raw(case: Case) -> dict[str, Any]:
    """Data that no stage of the chain made, and what `synthesize` made for it to read."""
    made = {item.path: item for stage in case.stages if stage.name == "synthesize" for item in stage.outs}
    read = {dep.path for stage in case.stages for dep in stage.deps}
    return case.data | {path: item for path, item in made.items() if path in read}


def _metrics(first: Case, second: Case) -> list[str]:
    """Scores of the ensemble, before and after."""
    ours, theirs = _scores(first), _scores(second)
    told = []
    for name in ours:
        if name in theirs and ours[name] != theirs[name]:
            told.append(f"{name}: {ours[name]:.4f} -> {theirs[name]:.4f} ({theirs[name] - ours[name]:+.4f})")
    return told


def _scores(case: Case) -> dict[str, float]:
    item = case.out((ENSEMBLE / case.track).as_posix())
    path = case.objects.within(item, "metrics.json") if item else None
    tree = json.loads(path.read_text()) if path else {}
    return {name: float(value) for name, value in tree.items() if isinstance(value, int | float)}


def _rows(ours: list[str], theirs: list[str]) -> list[str]:
    """Rows with another decision, by image, and where they are."""
    if not ours or not theirs:
        return ["the bytes of one are not here: rows were not compared"]
    a, b = ({n: line.partition(",")[::2] for n, line in enumerate(lines[1:], 2)} for lines in (ours, theirs))
    changed = [n for n in a.keys() & b.keys() if a[n] != b[n]]
    if len(ours) == len(theirs) and not changed:
        return []
    videos = Counter(a[n][0].rpartition("/")[0] or a[n][0] for n in changed)
    told = [
        f"{len(changed)} of {len(a)} rows in {len(videos)} videos: {some((v for v, _ in videos.most_common()), SHOWN)}"
    ]
    told += [f"{abs(len(a) - len(b))} rows {'fewer' if len(a) > len(b) else 'more'}"] if len(a) != len(b) else []
    return told + [f"line {n}, {a[n][0]}: {a[n][1]} -> {b[n][1]}" for n in sorted(changed)[:SHOWN]]
