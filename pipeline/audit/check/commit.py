"""The commit: whether git holds the lock, and whether what ran was committed."""

import hashlib
from collections.abc import Iterator
from typing import Any

from pipeline.audit.case import Case
from pipeline.audit.claims import Claim, broken, some, unchecked, verified
from pipeline.audit.states import Commit, git_bytes, git_objects


def check_commit(case: Case) -> Iterator[Claim]:
    """One claim on the lock, one on the working tree of each run."""
    if isinstance(case.state, Commit):
        yield verified("dvc.lock", "commit", f"the lock is committed: {case.state.name}")
    else:
        yield unchecked("dvc.lock", "commit", "the lock is not committed yet; compared with the working tree instead")
    for stage in case.stages:
        run = case.runs.get(stage.name)
        if run is not None:
            yield _clean(case, stage.name, run)


def _clean(case: Case, stage: str, run: dict[str, Any]) -> Claim:
    """Whether a run's working tree was that of a commit, or what was changed in it has been committed with the lock."""
    commit = run.get("git_commit")
    if not commit:
        return broken(stage, "commit", "it ran outside of any commit")
    known = next(git_objects([f"{commit}^{{commit}}"])) is not None
    if not known and git_bytes("rev-parse", "--is-shallow-repository").strip() != b"true":
        return broken(stage, "commit", f"it ran at {commit[:12]}, of which this repository does not know")
    if not known and not run.get("git_dirty"):
        return unchecked(stage, "commit", f"it ran at {commit[:12]}, before the first commit that is here")
    if not run.get("git_dirty"):
        return verified(stage, "commit", f"it ran at {commit[:12]} with nothing uncommitted")
    changed = run.get("uncommitted")
    if not changed:
        return broken(stage, "commit", f"the tree was dirty when it ran at {commit[:12]}; its run does not tell where")
    lost = [path for path, md5 in changed.items() if _md5(case, path) != md5]
    if lost:
        text = f"{some(lost)}, as it was then, is not in the lock's commit"
        return broken(stage, "commit", f"the tree was dirty when it ran at {commit[:12]}: {text}")
    if not isinstance(case.state, Commit):
        return unchecked(stage, "commit", f"{some(changed)} not committed yet when it ran at {commit[:12]}, nor now")
    text = f"it ran at {commit[:12]} with {some(changed)} changed, since committed with the same bytes"
    return verified(stage, "commit", text)


def _md5(case: Case, path: str) -> str:
    data = case.state.read(path)
    return "" if data is None else hashlib.md5(data).hexdigest()
