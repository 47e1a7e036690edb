"""Which lock tells of some bytes: the workspace's, or that of any commit on any branch.

Each distinct lock of the history is read once and searched as text; only one that holds the digest is parsed.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from pipeline.audit.lineage import fingerprint, is_below, upstream
from pipeline.audit.locks import Item, Lock, read_lock
from pipeline.audit.objects import Objects
from pipeline.audit.states import Commit, State, WorkingTree, git_bytes, git_objects
from pipeline.core.paths import SUBMISSIONS
from pipeline.run.tracking import LOCKS

OUTPUTS = re.compile(rb"path: (submissions/[^\n]+)\n +hash: md5\n +md5: ([0-9a-f]{32}(?:\.dir)?)\n")  # as DVC writes
STAGE = re.compile(rb"^  (\S[^\n]*):\n", re.MULTILINE)  # where a stage begins in a lock


@dataclass(frozen=True)
class Hit:
    """A lock that holds the digest: as which output of which stage, and the commits that have this lock, first first.

    `state` is the first of them, or the working tree where no commit has it.
    """

    state: State
    commits: tuple[str, ...]
    lock: Lock
    stage: str
    item: Item
    text: bytes = b""  # the lock as it stands

    @cached_property
    def stages(self) -> dict[str, list[str]]:
        """The stage and all that it stands on."""
        return upstream(self.lock, self.stage)

    @cached_property
    def chain(self) -> tuple:
        """What tells one way of making these bytes from another."""
        return fingerprint(self.lock, self.stages)


@dataclass(frozen=True)
class Version:
    """One distinct lock of the history with the commits that hold it, first first."""

    text: bytes
    commits: tuple[str, ...]


class History:
    """The workspace's lock and every distinct one of the history, oldest first."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self.present = WorkingTree().read(LOCKS[0]) or b""

    @cached_property
    def versions(self) -> list[Version]:
        """Every distinct lock that any commit of any branch holds."""
        log = git_bytes("log", "--all", "--full-history", "--reverse", "--topo-order", "--format=%H", "--", LOCKS[0])
        commits = log.decode().split()
        checks = git_bytes("cat-file", "--batch-check", stdin="".join(f"{c}:./{LOCKS[0]}\n" for c in commits).encode())
        holders: dict[str, list[str]] = {}
        for commit, said in zip(commits, checks.decode().splitlines(), strict=True):
            if not said.endswith("missing"):
                holders.setdefault(said.split()[0], []).append(commit)
        texts = git_objects(holders)
        return [Version(text or b"", tuple(found)) for found, text in zip(holders.values(), texts, strict=True)]

    def everything(self) -> Iterable[tuple[State, tuple[str, ...], bytes]]:
        """State, commits and text of every lock, the workspace's last where no commit has it."""
        for version in self.versions:
            yield Commit(version.commits[0]), version.commits, version.text
        if self.present and all(version.text != self.present for version in self.versions):
            yield WorkingTree(), (), self.present

    def search(self, md5: str) -> list[Hit]:
        """Every lock with an output of this digest, or with a folder of submissions that holds such a file."""
        found: list[Hit] = []
        parsed: list[tuple[dict[bytes, bytes], list[Hit]]] = []
        for state, commits, text in self.everything():
            if md5.encode() not in text and not self._folder_with(text, md5):
                continue
            blocks = _blocks(text)
            same = next((hits for former, hits in parsed if hits and _agree(former, blocks, hits)), None)
            if same is None:  # parsing takes its time: once for each way in which these bytes were made
                lock = read_lock(state)
                hits = [Hit(state, commits, lock, stage, item, text) for stage, item in self._outs(lock, md5)]
                parsed.append((blocks, hits))
            else:
                hits = [replace(hit, state=state, commits=commits, text=text) for hit in same]
            found += hits
        return found

    def _folder_with(self, text: bytes, md5: str) -> bool:
        """Whether a former lock, which told the digests of whole folders, told of a folder with this file."""
        folders = (item for item in _submitted(text) if item.is_folder)
        return any(md5 in (self.objects.listing(folder) or {}).values() for folder in folders)

    def _outs(self, lock: Lock, md5: str) -> list[tuple[str, Item]]:
        found = []
        for name, stage in lock.stages.items():
            for out in stage.outs:
                if out.md5 == md5:
                    found.append((name, out))
                elif out.is_folder and is_below(out.path, SUBMISSIONS.as_posix()):
                    paths = [p for p, digest in (self.objects.members(out) or {}).items() if digest == md5]
                    found += [(name, Item(path, md5)) for path in paths]
        return found

    def submissions(self) -> list[tuple[tuple[str, ...], Item]]:
        """Every submission that any lock tells of with the commits of that lock, latest first, each digest once."""
        found: dict[str, tuple[tuple[str, ...], Item]] = {}
        for _, commits, text in reversed(list(self.everything())):
            for out in _submitted(text):
                for path, md5 in (self.objects.members(out) or {}).items():
                    if is_uploaded(path):
                        found.setdefault(md5, (commits, Item(path, md5)))
        return list(found.values())


def is_uploaded(path: str) -> bool:
    """Whether an output is a file to upload, and not what stands beside it."""
    return is_below(path, SUBMISSIONS.as_posix()) and not path.endswith("filled.json")


def _submitted(text: bytes) -> list[Item]:
    """Outputs of submissions in a lock's text, without parsing it: a long history has thousands."""
    return [Item(path.decode(), md5.decode()) for path, md5 in OUTPUTS.findall(text)]


def _blocks(text: bytes) -> dict[bytes, bytes]:
    """The text of each stage of a lock by its name."""
    parts = STAGE.split(text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _agree(former: dict[bytes, bytes], present: dict[bytes, bytes], hits: list[Hit]) -> bool:
    """Whether two locks have the same text for every stage behind some outputs; of the main dvc.lock."""
    names = {name.encode() for hit in hits for name in hit.stages if hit.lock.stages[name].lock == LOCKS[0]}
    return all(former.get(name) == present.get(name) for name in names)


def chosen(hits: list[Hit], present: bytes) -> Hit:
    """The lock to audit by: of the chain that the workspace has, else the latest, the commit that had it first."""
    mine = [hit for hit in hits if hit.text == present]
    chain = (mine or hits)[-1].chain
    return next(hit for hit in hits if hit.chain == chain)
