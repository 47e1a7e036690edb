"""How long an audit takes over a long history: 1,000 commits whose lock has 2,000 data files each.

A repository of that size is made: each commit changes a few digests of the lock, every tenth a file of params, and one
file is asked for that only the first commit made. Beside ours stands what git offers for it, `git log -S<md5>` over
the lock. Nothing of the lock's data is on disk, so this is the time to find and to walk, not to hash.

usage: python -m bench.audit
"""

import contextlib
import hashlib
import subprocess
import tempfile
import time
from pathlib import Path

import yaml

from pipeline.audit.audit import Found, look_up
from pipeline.audit.check.links import check_links
from pipeline.audit.history import History
from pipeline.audit.objects import Objects
from pipeline.audit.stranger import tell_stranger
from pipeline.core.files import write_json

RESULT = Path("docs/benchmarks/audit.json")
COMMITS, FILES = 1000, 2000
TRACKED = ("dvc.lock", "params.yaml")


def digest(*parts: object) -> str:
    """An md5 that is a function of its arguments."""
    return hashlib.md5(repr(parts).encode()).hexdigest()


def lock_text(commit: int) -> str:
    """A lock of `FILES` raw files read by one stage, of which each commit changes three, and a submission."""
    changed = {(commit * 3 + place) % FILES for place in range(3)} if commit else set()
    lines = [{"path": f"data/raw/x/{n:05d}.mp4", "hash": "md5", "md5": digest(n), "size": 1} for n in range(FILES)]
    for n in changed:
        lines[n]["md5"] = digest(n, commit)
    model = {"path": "artifacts/systems/va/vit", "hash": "md5", "md5": f"{digest('model', commit)}.dir", "size": 1}
    out = {"path": "submissions/va/predictions.txt", "hash": "md5", "md5": digest_of(commit), "size": 1}
    stages = {
        "finetune@vit-va": {"cmd": "train", "deps": lines, "outs": [model]},
        "submit@va": {"cmd": "submit", "deps": [model], "outs": [out]},
    }
    return yaml.dump({"schema": "2.0", "stages": stages}, Dumper=yaml.CSafeDumper, sort_keys=False)


def submission(commit: int) -> bytes:
    """The bytes of a commit's submission."""
    return f"image_location,valence,arousal\n1/00001.jpg,0.{commit:04d},0.0\n".encode()


def digest_of(commit: int) -> str:
    """DVC's digest of a commit's submission."""
    return hashlib.md5(submission(commit)).hexdigest()


def make_history() -> None:
    """The repository, written as one stream for `git fast-import`."""
    subprocess.run(["git", "init", "-q", "-b", "main"], check=True)
    with subprocess.Popen(["git", "fast-import", "--quiet"], stdin=subprocess.PIPE) as process:
        assert process.stdin
        for commit in range(COMMITS):
            process.stdin.write(b"commit refs/heads/main\n")
            process.stdin.write(f"committer b <b@example.org> {1700000000 + commit} +0000\n".encode())
            process.stdin.write(b"data 1\nx\n")
            contents = {"dvc.lock": lock_text(commit), "params.yaml": f"seed: {commit // 10}\n"}
            for name in TRACKED:
                data = contents[name].encode()
                process.stdin.write(f"M 100644 inline {name}\ndata {len(data)}\n".encode() + data + b"\n")
        process.stdin.close()
    subprocess.run(["git", "checkout", "-q", "main"], check=True)
    subprocess.run(["git", "repack", "-adq"], check=True)


def audited(path: Path) -> tuple[Found, int]:
    """A file found and its joints looked at; how many claims that gave."""
    found = look_up(path, History(Objects(Path("cache"))))
    assert found
    return found, len(list(check_links(found.case)))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        make_history()
        Path("first.txt").write_bytes(submission(0))
        started = time.perf_counter()
        found, claims = audited(Path("first.txt"))
        seconds = time.perf_counter() - started
        assert len(found.case.hit.commits) == 1
        Path("strange.txt").write_bytes(submission(COMMITS + 1))
        started = time.perf_counter()
        history = History(Objects(Path("cache")))
        assert look_up(Path("strange.txt"), history) is None
        assert "no submission is here" in tell_stranger(Path("strange.txt"), history)[-1]
        stranger = time.perf_counter() - started
        started = time.perf_counter()
        command = ["git", "log", "--all", "--format=%H", f"-S{digest_of(0)}", "--", "dvc.lock"]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        pickaxe = time.perf_counter() - started
        assert said[-1] == found.case.hit.commits[0]
        content = {
            "commits": COMMITS,
            "data_files_in_the_lock": FILES,
            "lock_bytes": len(Path("dvc.lock").read_bytes()),
            "seconds_to_find_walk_and_compare": round(seconds, 2),
            "claims": claims,
            "seconds_until_a_stranger_is_known": round(stranger, 2),
            "seconds_of_git_log_pickaxe_for_the_commit_alone": round(pickaxe, 2),
        }
    write_json(RESULT, content)
    for name, value in content.items():
        print(f"{name:50s} {value}")


if __name__ == "__main__":
    main()
