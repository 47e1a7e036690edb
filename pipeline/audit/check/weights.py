"""Weights that were not trained here: declared in weights.yaml of the commit, and the file the declared one."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pipeline.audit.case import Case
from pipeline.audit.claims import Claim, broken, unchecked, verified
from pipeline.audit.locks import Stage
from pipeline.audit.outside import MTCNN, Origin, champion_of, made_md5, named_weights
from pipeline.core.files import file_digest
from pipeline.core.weights import DECLARATIONS, Weights


def on_disk(name: str) -> Path | None:
    """Where a declared file lies; None where it does not."""
    if name.startswith(f"{MTCNN}/"):
        from pipeline.faces.mtcnn import onnx_files

        return {path.name: path for path in onnx_files().values()}.get(PurePosixPath(name).name)
    return Path(name) if Path(name).is_file() else None


def check_weights(case: Case) -> Iterator[Claim]:
    """A claim for each weight file from outside that the chain used."""
    seen = set()
    for stage in case.stages:
        for name, entry in named_weights(case, stage).items():
            if name in seen:
                continue
            seen.add(name)
            yield _claim(case, stage, name, entry)


def _claim(case: Case, stage: Stage, name: str, entry: Weights | None) -> Claim:
    if entry is None:
        return broken(stage.name, "weights", f"{name}: {DECLARATIONS} of {case.state.short} does not declare it")
    if origin := champion_of(entry):
        return _own(case, stage, f"{name}: {entry.source}", entry, origin)
    told = f"{name}: {entry.licence}, trained on {', '.join(entry.trained_on) or 'nothing told'}"
    path = on_disk(name)
    if path is None:
        return unchecked(stage.name, "weights", f"{told}; the file is not here")
    digest = file_digest(path)
    if digest != entry.sha256:
        text = f"{name}: the file is another one: sha256 {digest[:12]}, declared {entry.sha256[:12]}"
        return broken(stage.name, "weights", text)
    return verified(stage.name, "weights", f"{told}; sha256 as declared")


def _own(case: Case, stage: Stage, told: str, entry: Weights, origin: Origin) -> Claim:
    """A champion's weights that a training went on from: those that the lock of its commit tells, and no others."""
    made = made_md5(case, origin)
    path = case.objects.find(origin.path, made) if made else None
    if path is None:
        return unchecked(stage.name, "weights", f"{told}: what that commit made is not here; `dvc fetch` brings it")
    if file_digest(path) != entry.sha256:
        return broken(stage.name, "weights", f"{told}: that commit made another file than the one declared")
    return verified(stage.name, "weights", f"{told}; the bytes that this commit's lock tells, as declared")
