"""kill -9 at random moments over the chain in miniature: what differs, what is blocked, what is left over afterwards.

    python -m bench.kills --kills 100 --seed 0

Each try takes a stage out of the lock and its outputs away, half the time its work store too, starts `mien repro
--until` it, and kills: at a random moment from the stage's start on, or the moment a file is being published
(`.NAME.tmp-MACHINE-PID`). Four times of five everything dies, else `mien repro` alone, and what it had started goes
on. The same command is then run again, as anybody would. Writes docs/benchmarks/kills.json.
"""

import argparse
import contextlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import yaml

from pipeline.core.files import LEFTOVER, write_json
from pipeline.run.pace import TOOK
from tests.clones import environment, make_clone

RESULTS = Path("docs/benchmarks/kills.json")
PATIENCE_SECONDS = 600
PUBLISHES = 0.3  # share of kills that wait for a file being published
KEEPS_WORK = 0.5  # share of kills that find the work store of a run before
ALONE = 0.2  # share of kills that `mien repro` alone does not survive
SAID, LAST_LINES = Path(".work/said.txt"), 20
AFTERWARDS_SECONDS = 1.5  # in which DVC keeps what a stage has made, and writes its lock


@dataclass(frozen=True)
class Kill:
    """What one kill did: `seconds` after the stage's start (None: it had ended before), and what a blocked run said.

    `mended` is written into the results by hand: the test of what it found, which a later commit mended.
    """

    stage: str
    seconds: float | None
    while_publishing: bool
    alone: bool
    blocked: bool
    different: list[str]
    leftovers: list[str]
    said: list[str]
    mended: str = ""


def stages_of(clone: Path) -> dict[str, list[str]]:
    """The outputs of each stage of the lock, upstream first."""
    lock = yaml.safe_load((clone / "dvc.lock").read_text())
    return {name: [out["path"] for out in stage["outs"]] for name, stage in lock["stages"].items()}


def digests(clone: Path) -> dict[str, str]:
    """md5 of every output of the lock but the run records, which tell of the run and not of the result."""
    lock = yaml.safe_load((clone / "dvc.lock").read_text())
    outs = [out for stage in lock["stages"].values() for out in stage.get("outs", [])]  # none: the lock was cut short
    return {out["path"]: out["md5"] for out in outs if not out["path"].startswith("artifacts/runs")}


def leftovers(clone: Path) -> list[str]:
    """Files and folders of ours that were being written and belong to nobody."""
    found = [path for path in clone.rglob(".*") if LEFTOVER.fullmatch(path.name)]
    return sorted(path.relative_to(clone).as_posix() for path in found)


def start(clone: Path, *command: str) -> subprocess.Popen:
    """A command in the clone, in a process group of its own, with one worker more than one core needs.

    What it says goes to `SAID`.
    """
    (clone / SAID).parent.mkdir(exist_ok=True)
    with (clone / SAID).open("w") as said:
        return subprocess.Popen(
            command,
            cwd=clone,
            env=environment() | {"OMP_NUM_THREADS": "1", "MIEN_WORKERS": "2"},
            start_new_session=True,
            stdout=said,
            stderr=subprocess.STDOUT,
        )


def publishing(clone: Path, outs: list[str]) -> bool:
    """Whether something is being written beside where an output belongs."""
    folders = {(clone / out).parent for out in outs} | {clone / out for out in outs}
    return any(LEFTOVER.fullmatch(path.name) for folder in folders if folder.is_dir() for path in folder.iterdir())


def runs(process: subprocess.Popen, stage: str) -> bool:
    """Whether that stage's own process has started."""
    module = stage.partition("@")[0]
    with contextlib.suppress(psutil.Error):
        children = psutil.Process(process.pid).children(recursive=True)
        return any(f"stages.{module}" in child.cmdline() for child in children)
    return False


def kill(process: subprocess.Popen, alone: bool) -> None:
    """SIGKILL to a process, and unless `alone` to all that it has started, in whatever group."""
    children = [] if alone else psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            for younger in [*child.children(recursive=True), child]:
                younger.kill()
    process.wait()


def forget(clone: Path, stage: str, outs: list[str], work_too: bool) -> None:
    """As if a stage had never run."""
    for out in outs:
        path = clone / out
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    lock = yaml.safe_load((clone / "dvc.lock").read_text())
    del lock["stages"][stage]
    (clone / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
    shutil.rmtree(clone / ".dvc/cache/runs", ignore_errors=True)
    if work_too:
        shutil.rmtree(clone / ".work" / stage, ignore_errors=True)


def one_kill(clone: Path, stage: str, outs: list[str], usual: float, draw: random.Random, before: dict) -> Kill:
    """Kill one stage once, run it again, and look at what came of it; what an earlier kill left over is not its own."""
    known = leftovers(clone)
    forget(clone, stage, outs, work_too=draw.random() >= KEEPS_WORK)
    wait, window = draw.uniform(0.0, usual + AFTERWARDS_SECONDS), draw.random() < PUBLISHES
    alone = draw.random() < ALONE
    command = ("mien", "repro", "--until", stage)
    process = start(clone, *command)
    while process.poll() is None and not runs(process, stage):
        time.sleep(0.02)
    began, caught = time.monotonic(), False
    while process.poll() is None and time.monotonic() - began < (2 * usual if window else wait):
        if window and publishing(clone, outs):
            caught = True
            break
        time.sleep(0.002)
    seconds = None if process.poll() is not None else round(time.monotonic() - began, 2)
    if seconds is not None:
        kill(process, alone)
    again = start(clone, *command)
    try:
        blocked = bool(again.wait(PATIENCE_SECONDS))
    except subprocess.TimeoutExpired:
        kill(again, alone=False)
        blocked = True
    after = digests(clone)
    different = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    new = [name for name in leftovers(clone) if name not in known]
    struck = seconds is not None
    text = (clone / SAID).read_text().replace(f"{Path(sys.executable).parent}/", "").replace(f"{clone}/", "")
    said = text.splitlines()[-LAST_LINES:] if blocked else []  # with no path of this machine
    return Kill(stage, seconds, caught and struck, alone and struck, blocked, different, new, said)


def all_kills(clone: Path, count: int, seed: int) -> Iterator[Kill]:
    """`count` kills that struck, and tries that came too late; over all stages in turn, in a drawn order."""
    draw, stages, before = random.Random(seed), stages_of(clone), digests(clone)
    usual = json.loads((clone / TOOK).read_text())  # seconds of each stage, undisturbed
    lock = (clone / "dvc.lock").read_bytes()
    names: list[str] = []
    struck = 0
    while struck < count:
        names = names or draw.sample(sorted(stages), len(stages))
        stage = names.pop()
        tried = one_kill(clone, stage, stages[stage], usual[stage], draw, before)
        if tried.different:
            (clone / "dvc.lock").write_bytes(lock)  # the next one starts from a whole lock
        struck += tried.seconds is not None
        yield tried


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--more", action="store_true", help="beside those of the results; take another seed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = make_clone(Path(folder) / "clone")
        if start(clone, "mien", "repro", "--jobs", "2").wait():
            raise SystemExit("the chain in miniature does not run undisturbed")
        kills = [Kill(**one) for one in json.loads(RESULTS.read_text())["each"]] if arguments.more else []
        goal = summary(kills)["kills"] + arguments.kills
        for tried in all_kills(clone, arguments.kills, arguments.seed):
            kills.append(tried)
            found = summary(kills)
            write_json(RESULTS, found | {"each": [asdict(one) for one in kills]})  # kept if this is stopped
            print(f"[{found['kills']}/{goal}] {told(tried)}", flush=True)
    return 1 if any(found[name] for name in found if name.startswith("runs_")) else 0


def told(tried: Kill) -> str:
    """A try in a line."""
    moment = "ended before" if tried.seconds is None else f"after {tried.seconds:.1f} s"
    faults = [name for name in ("blocked", "different", "leftovers") if getattr(tried, name)]
    return f"{tried.stage}: {moment}; {', '.join(faults) or 'as before'}"


def summary(kills: list[Kill]) -> dict[str, int]:
    """Counts over all kills; of those named `runs_`, which leave out what has been mended, each should be 0."""
    struck = [one for one in kills if one.seconds is not None]
    standing = [one for one in kills if not one.mended]
    return {
        "kills": len(struck),
        "stages": len({one.stage for one in struck}),
        "while_publishing": sum(one.while_publishing for one in struck),
        "of_mien_repro_alone": sum(one.alone for one in struck),
        "ended_before_the_kill": len(kills) - len(struck),
        "faults_found_and_mended": len(kills) - len(standing),
        "runs_that_gave_other_bytes": sum(bool(one.different) for one in standing),
        "runs_that_were_blocked": sum(one.blocked for one in standing),
        "runs_with_leftovers": sum(bool(one.leftovers) for one in standing),
    }


if __name__ == "__main__":
    sys.exit(main())
