"""Feed altered input to every reader, in worker processes with limits of time and memory.

    python fuzz/run.py --inputs 20000 [--target NAME ...] [--seed 1] [--jobs 2]

Counts go into `experiments/hardening/fuzz/results.json`, where those of all seeds are added up. A
run that was stopped goes on with the same command; a larger `--inputs` makes it longer. Inputs that
break a rule are kept under `regressions/`.
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

from targets import REGRESSIONS, ROOT, TARGETS, altered

from laconic.container import write_atomically
from laconic.evaluation.report.provenance import describe_run

RESULTS = ROOT / "experiments" / "hardening" / "fuzz" / "results.json"
GOAL = 1_000_000
Counts = dict[str, dict[str, float]]
MEMORY_BYTES = 512 << 20
"""Address space that one input may add; the operating system refuses more."""
SECONDS = 10
"""Processor time of one input; the clock would count other programs, too."""
BATCH = 200
"""Inputs between two reports of a worker."""
SAVED_BATCHES = 20
"""Batches between two writings of the counts."""


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
    """Begin a worker: one thread, and a handler for the time limit."""
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGPROF, _too_slow)


@contextmanager
def limits() -> Iterator[None]:
    """Time and memory for one input."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most, highest = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY_BYTES, resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_AS, (most, highest))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (highest, highest))


def batch(name: str, first: int, count: int) -> Report:
    """Read the altered inputs `first`, `first + 1`, ... of a target."""
    target = TARGETS[name]
    seeds, accepted, faults, slowest = target.seeds(), 0, [], 0.0
    for seed in seeds:
        if not target.run(seed):
            raise AssertionError(f"{name}: a valid input is refused")
    for number in range(first, first + count):
        data, began = altered(target, seeds, number), time.process_time()
        try:
            with limits():
                accepted += target.run(data)
        except BaseException as error:  # Whatever it is: it is the finding.
            faults.append((_where(error), data))
        slowest = max(slowest, time.process_time() - began)
    return Report(count, accepted, tuple(faults), slowest)


def _where(error: BaseException) -> str:
    """Kind, text and place of an error."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"


def _work(task: tuple[str, int, int]) -> Report:
    return batch(*task)


def tasks(
    names: list[str], inputs: int, seed: int, counts: Counts
) -> Iterator[tuple[str, int, int]]:
    """Batches that are not counted yet, the targets in turn."""
    for first in range(0, inputs, BATCH):
        for name in names:
            begin = max(first, int(counts.get(name, {}).get("inputs", 0)))
            end = min(first + BATCH, inputs)
            if begin < end:
                yield name, seed * 1_000_000_000 + begin, end - begin


def keep(name: str, data: bytes) -> Path:
    """Write an input to the folder of its target."""
    path = REGRESSIONS / name / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def add(counts: Counts, name: str, report: Report) -> None:
    """Add a report to the counts of its target."""
    row = counts.setdefault(name, {"inputs": 0, "accepted": 0, "faults": 0, "slowest_seconds": 0.0})
    row["inputs"] += report.inputs
    row["accepted"] += report.accepted
    row["faults"] += len(report.faults)
    row["slowest_seconds"] = round(max(row["slowest_seconds"], report.slowest_seconds), 3)


def read() -> dict[str, Counts]:
    """The counts of all runs so far, by seed and target."""
    found: dict[str, Counts] = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else {}
    return found


def still_wrong() -> int:
    """How many of the kept inputs break a rule today."""
    wrong = 0
    for name, target in TARGETS.items():
        for path in sorted((REGRESSIONS / name).glob("*")):
            try:
                with limits():
                    target.run(path.read_bytes())
            except BaseException:
                wrong += 1
    return wrong


def write(counts: Counts, seed: int, started: float, command: str) -> None:
    """Write this run's counts beside those of other seeds, and the sums."""
    runs = read() | {str(seed): counts}
    rows = [row for run in runs.values() for row in run.values()]
    inputs, found = (int(sum(row[key] for row in rows)) for key in ("inputs", "faults"))
    wrong = still_wrong()
    names = sorted({name for run in runs.values() for name in run})
    sums = {
        name: int(sum(run[name]["inputs"] for run in runs.values() if name in run))
        for name in names
    }
    document = {
        "title": "Altered input for every reader",
        "run": describe_run(command, started, ROOT, seeds=[int(one) for one in runs]),
        "targets": [
            {"name": "altered inputs in all", "target": f">= {GOAL:,}", "ours": inputs,
             "met": inputs >= GOAL},
            {"name": "kept inputs that break a rule today", "target": "0", "ours": wrong,
             "met": wrong == 0},
        ],
        "found_and_kept": found,
        "inputs_by_target": sums,
        "runs": runs,
    }  # fmt: skip
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(RESULTS, (json.dumps(document, indent=1) + "\n").encode())


def main() -> int:
    """Read the command line, and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=2000, help="for each target")
    parser.add_argument("--target", action="append", choices=TARGETS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    prepare()
    started, names, seen = time.time(), options.target or list(TARGETS), set()
    command = f"python fuzz/run.py --inputs {options.inputs} --seed {options.seed}"
    counts = read().get(str(options.seed), {})
    work = list(tasks(names, options.inputs, options.seed, counts))
    with multiprocessing.get_context("spawn").Pool(options.jobs, prepare) as pool:
        for k, ((name, _, _), report) in enumerate(
            zip(work, pool.imap(_work, work), strict=True), 1
        ):
            add(counts, name, report)
            for message, data in report.faults:
                if (name, message) not in seen:
                    seen.add((name, message))
                    print(f"{name}: {message}\n  kept as {keep(name, data)}", flush=True)
            if k % SAVED_BATCHES == 0:
                write(counts, options.seed, started, command)
    write(counts, options.seed, started, command)
    for name, row in counts.items():
        print(f"{name:12} " + "  ".join(f"{key} {value:g}" for key, value in row.items()))
    return 1 if seen else 0


if __name__ == "__main__":
    sys.exit(main())
