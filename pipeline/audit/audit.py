"""An audit: the file found, its chain walked, every claim checked."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.audit.case import Case
from pipeline.audit.check.code import check_code
from pipeline.audit.check.commit import check_commit
from pipeline.audit.check.content import check_content
from pipeline.audit.check.definition import check_definitions
from pipeline.audit.check.links import check_links, check_made
from pipeline.audit.check.people import check_people
from pipeline.audit.check.rules import check_rules
from pipeline.audit.check.runs import check_runs
from pipeline.audit.check.weights import check_weights
from pipeline.audit.claims import Claim, unchecked
from pipeline.audit.history import History, Hit, chosen, is_uploaded
from pipeline.audit.locks import read_lock
from pipeline.audit.objects import Objects, cache_folder
from pipeline.audit.states import WorkingTree, git_bytes
from pipeline.audit.subject import Form, forms

CHECKS: tuple[Callable[[Case], Iterator[Claim]], ...] = (
    check_commit,
    check_content,
    check_links,
    check_made,
    check_definitions,
    check_code,
    check_runs,
    check_weights,
    check_people,
    check_rules,
)


@dataclass(frozen=True)
class Found:
    """A file that Mien made: the form in which its bytes are known, every lock that tells of them, the case."""

    path: Path
    form: Form
    hits: list[Hit]
    case: Case
    beside: tuple[str, ...] = ()  # other members of the archive that Mien made

    @cached_property
    def branches(self) -> list[str]:
        """Branches that hold the commit; none where the lock is not committed."""
        return self._holders("refs/heads", "refs/remotes")

    @cached_property
    def experiments(self) -> list[str]:
        """DVC's experiments (`dvc exp run`) that hold the commit: no branch does until one is applied and committed."""
        return [name.rpartition("/")[2] for name in self._holders("refs/exps")]

    def _holders(self, *kinds: str) -> list[str]:
        """References of some kinds that hold the commit."""
        if not self.case.hit.commits:
            return []
        commit = self.case.hit.commits[0]
        return git_bytes("for-each-ref", "--format=%(refname:short)", "--contains", commit, *kinds).decode().split()

    @property
    def other_chains(self) -> list[Hit]:
        """The first lock of each other way in which the same bytes were made."""
        mine = self.case.hit.chain
        found: dict[tuple, Hit] = {}
        for hit in self.hits:
            found.setdefault(hit.chain, hit)
        return [hit for chain, hit in found.items() if chain != mine]


def open_history() -> History:
    """The locks of this repository, with DVC's cache beside them."""
    return History(Objects(cache_folder()))


def look_up(path: Path, history: History) -> Found | None:
    """The lock that tells of a file's bytes, in any of the forms that a copy may have; None where none does."""
    known = [(form, hits) for form in forms(path) if (hits := history.search(form.md5))]
    if not known:
        return None
    # an archive may hold much else that the chain made
    form, hits = next((one for one in known if is_uploaded(one[1][0].item.path)), known[0])
    beside = tuple(dict.fromkeys(other.undone for other, told in known if told[0].item != hits[0].item))
    return Found(path, form, hits, case_of(chosen(hits, history.present), history), beside)


def case_of(hit: Hit, history: History) -> Case:
    """The case of a lock that was found."""
    return Case(hit, history.objects, read_lock(WorkingTree()))


def check_all(case: Case, quick: bool = False) -> list[Claim]:
    """Every claim on a case; when `quick`, the bytes of outputs and data are not hashed, and that is said."""
    checks = [check for check in CHECKS if not (quick and check is check_content)]
    left_out = [unchecked("all data", "bytes", "not hashed anew, as --quick asks")] if quick else []
    return [*left_out, *(claim for check in checks for claim in check(case))]
