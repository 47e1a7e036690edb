"""Damaged files for every reader: each must be read or refused in one line, in bounded time and memory.

`python -m bench.fuzz --inputs 1000 --seed 0` damages sound files (truncated, flipped bits, bytes put in, taken out and
repeated, huge numbers, other encodings) and writes docs/benchmarks/fuzz.json. Each reader runs in a process of its own,
whose memory and file sizes are limited, and in which a write outside its folder is a failure. A crash or an input that
takes too long counts as one, and another process goes on behind it. Input n of a seed is always the same: `--only
picture --first 417 --inputs 1` reads one again.
"""

import argparse
import json
import os
import queue
import random
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psutil

from pipeline.core.code import ROOT
from pipeline.core.files import write_json

if TYPE_CHECKING:
    from bench.fuzz_readers import Reader

OUTPUT = Path("docs/benchmarks/fuzz.json")
PATIENCE_SECONDS = 20.0  # for one input
START_SECONDS = 120.0  # for the imports of a worker
MEMORY_BYTES = 2 << 30  # beyond what the libraries take
FILE_BYTES = 64 << 20
HUGE = (b"\xff" * 4, b"\xff" * 8, b"\x7f" + b"\xff" * 3, b"\xff" * 3 + b"\x7f", b"\x00" * 8, b"\x80" + b"\x00" * 3)
HUGE_TEXT = (b"9" * 30, b"-1", b"1e999", b"nan", b"1" * 5000, b"0x7fffffff", b"-9223372036854775809")
ENCODINGS = ("utf-16", "utf-8-sig", "utf-32", "cp037")
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink")
SHOWN = 20  # failures that the report tells in full


# --- damage ----------------------------------------------------------------------------------------------------------


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes after one to three faults."""
    for _ in range(rng.randint(1, 3)):
        data = rng.choice(FAULTS)(data, rng)
    return data


def _truncated(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _flipped(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 16) if data else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _spliced(data: bytes, rng: random.Random) -> bytes:
    """Bytes put in, taken out, or repeated."""
    start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    end = min(end, start + 4096)
    middle = rng.choice((rng.randbytes(rng.randint(1, 64)), b"", data[start:end] * 3, b"\0" * rng.randint(1, 64)))
    return data[:start] + middle + data[end if rng.random() < 0.5 else start :]


def _huge(data: bytes, rng: random.Random) -> bytes:
    """A number made huge, in place: that of a binary header, or one that is written in digits."""
    numbers = list(re.finditer(rb"-?\d+(\.\d+)?", data[:20_000])) if rng.random() < 0.5 else []
    if numbers:
        found = rng.choice(numbers)
        return data[: found.start()] + rng.choice(HUGE_TEXT) + data[found.end() :]
    place, number = rng.randrange(min(len(data), 512) + 1), rng.choice(HUGE)
    return data[:place] + number + data[place + len(number) :]


def _encoded(data: bytes, rng: random.Random) -> bytes:
    return data.decode("latin-1").encode(rng.choice(ENCODINGS), "replace")


FAULTS = (_truncated, _flipped, _flipped, _spliced, _spliced, _huge, _huge, _encoded)


# --- the process that reads ------------------------------------------------------------------------------------------


def work(name: str, first: int, count: int, seed: int) -> None:
    """Read `count` inputs, a JSON line of (number, seconds, fault) each on the real standard output."""
    from bench.fuzz_readers import READERS

    reader, out = READERS[name], os.fdopen(os.dup(sys.stdout.fileno()), "w")
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
    whole = reader.whole()
    folder = Path("input")
    folder.mkdir()
    outside = _watch_writes(Path.cwd())
    _limit()
    for number in range(first, first + count):
        outside.clear()
        started = time.perf_counter()
        fault = read_damaged(reader, whole, folder, f"{seed}/{name}/{number}")
        fault = fault or (f"writes outside its folder: {outside[0]}" if outside else "")
        print(json.dumps([number, round(time.perf_counter() - started, 4), fault]), file=out, flush=True)


def read_damaged(reader: "Reader", whole: dict[str, bytes], folder: Path, draw: str) -> str:
    """Read, in `folder`, one of the whole files, damaged as `draw` has it: what is wrong with that, "" for nothing."""
    rng = random.Random(draw)
    file = rng.choice(sorted(whole))
    path = folder / file
    path.write_bytes(damaged(whole[file], rng))
    try:
        reader.read(path)
    except reader.told as error:
        return "the message has several lines" if "\n" in str(error) else ""
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else ''}"
    return ""


def _limit() -> None:
    """No more memory than the libraries have and 2 GiB, and no large files."""
    most = psutil.Process().memory_info().vms + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))


def _watch_writes(folder: Path) -> list[str]:
    """A list that from now on gets each path outside `folder` that this process writes, makes, renames or removes."""
    outside: list[str] = []
    inside = folder.resolve()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        path = arguments[0] if arguments else ""
        writes = bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) if event == "open" else event in CHANGES
        if not writes or not isinstance(path, str | bytes | os.PathLike):
            return
        place = Path(os.fsdecode(path)).absolute()
        if not place.resolve().is_relative_to(inside) and place != Path(os.devnull):
            outside.append(str(place))

    sys.addaudithook(hook)
    return outside


# --- the one that watches --------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What came of a reader's inputs."""

    inputs: int = 0
    slowest: float = 0.0
    failures: list[tuple[int, str]] = field(default_factory=list)

    def add(self, number: int, seconds: float, fault: str) -> None:
        """Count one input."""
        self.inputs, self.slowest = self.inputs + 1, max(self.slowest, seconds)
        if fault:
            self.failures.append((number, fault))

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        told = [{"input": number, "fault": fault} for number, fault in self.failures[:SHOWN]]
        slowest = round(self.slowest, 3)
        return {"inputs": self.inputs, "failures": len(self.failures), "slowest_seconds": slowest, "failed": told}


def fuzz(name: str, first: int, count: int, seed: int) -> Tally:
    """Have a reader read `count` inputs; behind one that kills or stops its process, another process goes on."""
    tally, end = Tally(), first + count
    while (at := first + tally.inputs) < end:
        with tempfile.TemporaryDirectory() as folder:
            for seconds, fault in _answers(name, at, end - at, seed, Path(folder)):
                tally.add(first + tally.inputs, seconds, fault)
    return tally


def _answers(name: str, first: int, count: int, seed: int, folder: Path) -> list[tuple[float, str]]:
    """Seconds and faults of the inputs that one process has read, the last one its end where it came too early."""
    command = [sys.executable, "-m", "bench.fuzz", "--work", name]
    command += ["--first", str(first), "--inputs", str(count), "--seed", str(seed)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    lines: queue.Queue[bytes] = queue.Queue()
    assert process.stdout
    threading.Thread(target=_forward, args=(process.stdout, lines), daemon=True).start()
    answers: list[tuple[float, str]] = []
    try:
        while len(answers) < count:
            line = lines.get(timeout=PATIENCE_SECONDS if answers else START_SECONDS)
            if not line:
                return [*answers, (0.0, f"the process ended with {process.wait()}")]
            _, seconds, fault = json.loads(line)
            answers.append((seconds, fault))
    except queue.Empty:
        return [*answers, (PATIENCE_SECONDS, f"no answer in {PATIENCE_SECONDS:.0f} seconds")]
    finally:
        process.kill()
        process.wait()
    return answers


def _forward(stream: IO[bytes], lines: "queue.Queue[bytes]") -> None:
    for line in stream:
        lines.put(line)
    lines.put(b"")


def _names() -> list[str]:
    from bench.fuzz_readers import READERS  # what the readers need takes ten seconds: one alone waits for it once

    return list(READERS)


def _report(seed: int, name: str, tally: Tally) -> None:
    """Write what came of a reader; what the report says of others at the same seed stays."""
    place = ROOT / OUTPUT
    former = json.loads(place.read_text()) if place.is_file() else {}
    readers = former["readers"] if former.get("seed") == seed else {}
    write_json(place, {"seed": seed, "readers": dict(sorted((readers | {name: tally.as_json()}).items()))})


def main() -> int:
    """Fuzz all readers and write the report; exit 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--inputs", type=int, default=1000, metavar="N", help="of each reader (default 1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="READER", help="one reader alone")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="beyond 0 no report is written")
    parser.add_argument("--work", metavar="READER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.work, args.first, args.inputs, args.seed)
        return 0
    tallies = {}
    for name in [args.only] if args.only else _names():
        tallies[name] = fuzz(name, args.first, args.inputs, args.seed)
        if not args.first:
            _report(args.seed, name, tallies[name])
        tally = tallies[name].as_json()
        print(f"{name}: {tally['inputs']} inputs, {tally['failures']} failures, slowest {tally['slowest_seconds']} s")
        for failed in tally["failed"]:
            print(f"  input {failed['input']}: {failed['fault']}", flush=True)
    return 1 if any(tally.failures for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
