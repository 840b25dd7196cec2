"""Feed altered input to every reader, in worker processes with limits of time and memory.

    python fuzz/run.py --inputs 20000 [--target NAME ...] [--seed 1] [--jobs 2]

Counts are added to `results.json`; inputs that break a rule are kept under `regressions/`.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).parent))

from targets import REGRESSIONS, TARGETS, altered

RESULTS = Path(__file__).parent / "results.json"
MEMORY_BYTES = 512 << 20
"""Address space that one input may add; the operating system refuses more."""
SECONDS = 10
BATCH = 200
"""Inputs between two reports of a worker."""


@dataclass(frozen=True)
class Report:
    """What a worker found in a batch.

    Attributes:
        inputs: that were read.
        accepted: how many of them were right in spite of the alteration.
        faults: message and input of each that broke a rule.
        slowest_seconds: of one input.
    """

    inputs: int
    accepted: int
    faults: tuple[tuple[str, bytes], ...]
    slowest_seconds: float


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"took more than {SECONDS} s")


def prepare() -> None:
    """Begin a worker: one thread, and a handler for the clock."""
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, _too_slow)


@contextmanager
def limits() -> Iterator[None]:
    """Time and memory for one input."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most, highest = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY_BYTES, resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_AS, (most, highest))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, (highest, highest))


def batch(name: str, first: int, count: int) -> Report:
    """Read the altered inputs `first`, `first + 1`, ... of a target."""
    target = TARGETS[name]
    seeds, accepted, faults, slowest = target.seeds(), 0, [], 0.0
    for seed in seeds:
        if not target.run(seed):
            raise AssertionError(f"{name}: a valid input is refused")
    for number in range(first, first + count):
        data, began = altered(target, seeds, number), time.monotonic()
        try:
            with limits():
                accepted += target.run(data)
        except BaseException as error:  # Whatever it is: it is the finding.
            faults.append((_where(error), data))
        slowest = max(slowest, time.monotonic() - began)
    return Report(count, accepted, tuple(faults), slowest)


def _where(error: BaseException) -> str:
    """Kind, text and place of an error."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"


def _work(task: tuple[str, int, int]) -> Report:
    return batch(*task)


def tasks(names: list[str], inputs: int, seed: int) -> Iterator[tuple[str, int, int]]:
    """Batches, the targets in turn."""
    for first in range(0, inputs, BATCH):
        for name in names:
            yield name, seed * 1_000_000_000 + first, min(BATCH, inputs - first)


def keep(name: str, data: bytes) -> Path:
    """Write an input to the folder of its target."""
    path = REGRESSIONS / name / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def add(counts: dict[str, dict[str, float]], name: str, report: Report) -> None:
    """Add a report to the counts of its target."""
    row = counts.setdefault(name, {"inputs": 0, "accepted": 0, "faults": 0, "slowest_seconds": 0.0})
    row["inputs"] += report.inputs
    row["accepted"] += report.accepted
    row["faults"] += len(report.faults)
    row["slowest_seconds"] = round(max(row["slowest_seconds"], report.slowest_seconds), 3)


def write(counts: dict[str, dict[str, float]], seed: int) -> None:
    """Write this run's counts beside those of other seeds."""
    written = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"runs": {}}
    written["command"] = "python fuzz/run.py --inputs N --seed S"
    written["runs"][str(seed)] = counts
    total = sum(row["inputs"] for run in written["runs"].values() for row in run.values())
    faults = sum(row["faults"] for run in written["runs"].values() for row in run.values())
    written["targets"] = [
        {"name": "altered inputs in all", "target": ">= 1000000", "ours": total,
         "met": total >= 1_000_000},
        {"name": "inputs that broke a rule", "target": "0", "ours": faults, "met": faults == 0},
    ]  # fmt: skip
    RESULTS.write_text(json.dumps(written, indent=1) + "\n")


def main() -> int:
    """Read the command line, and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=2000, help="for each target")
    parser.add_argument("--target", action="append", choices=TARGETS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    names, counts, seen = options.target or list(TARGETS), {}, set()
    work = list(tasks(names, options.inputs, options.seed))
    with multiprocessing.get_context("spawn").Pool(options.jobs, prepare) as pool:
        for (name, _, _), report in zip(work, pool.imap(_work, work), strict=True):
            add(counts, name, report)
            for message, data in report.faults:
                if (name, message) not in seen:
                    seen.add((name, message))
                    print(f"{name}: {message}\n  kept as {keep(name, data)}", flush=True)
    write(counts, options.seed)
    for name, row in counts.items():
        print(f"{name:12} " + "  ".join(f"{key} {value:g}" for key, value in row.items()))
    return 1 if seen else 0


if __name__ == "__main__":
    sys.exit(main())
