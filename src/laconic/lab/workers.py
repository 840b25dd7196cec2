"""Several processes work off a sweep, one run each at a time; they end when their parent does.

```
 parent ── a run as one line of JSON ──► worker's stdin, open as long as the parent lives
        ◄── stage, done, total ───────── worker's stdout, line by line
        ◄── why it failed ────────────── worker.log in the run's folder
```

A worker whose stdin ends saves a checkpoint and stops, so killing the parent stops everything.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import IO

import torch

from laconic.lab.recipes import read_recipe
from laconic.lab.runs import complete, is_finished
from laconic.lab.sweep import Run, Sweep

COMMAND = (sys.executable, "-c", "from laconic.cli import main; main()", "rd", "work")
"""Starts a worker of a sweep."""

GRACE_SECONDS = 30.0
"""How long a stopped worker may take to save."""

Report = Callable[[Run, str], None]
"""Called with a run that has ended and an empty text, or why it failed."""


@dataclass
class Outcome:
    """What came of a sweep, by the names of its runs.

    Attributes:
        done: finished now.
        skipped: finished before.
        failed: why, by name.
    """

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def check(sweep: Sweep) -> list[Run]:
    """Everything that can be known to fail before anything is trained; returns what is left to do.

    Raises:
        LaconicError: a setting, a data set or an extra is missing or impossible, or a run was made
            with other settings.
    """
    checked: set[str] = set()
    for run in sweep.runs:
        read_recipe(run.recipe).check(checked)
    return [run for run in sweep.runs if not is_finished(read_recipe(run.recipe))]


def run_sweep(
    sweep: Sweep,
    report: Report,
    progress: Callable[[float, int], None],
    command: Sequence[str] = COMMAND,
) -> Outcome:
    """Do whatever is left of a sweep.

    Args:
        sweep: what to do.
        report: called with every run that has ended.
        progress: called with how many runs are done, in fractions, and how many there are.
        command: starts a worker, which calls `work`.

    Raises:
        LaconicError: something is wrong that can be known before anything is trained.
    """
    left = {run.name for run in check(sweep)}
    outcome = Outcome(skipped=[run.name for run in sweep.runs if run.name not in left])
    pool = _Pool(command, outcome, report, lambda done: progress(done, len(left)))
    chains = [[run for run in chain if run.name in left] for chain in sweep.chains]
    with ThreadPoolExecutor(sweep.processes) as threads:
        futures = [threads.submit(pool.work_off, chain) for chain in chains if chain]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.stop()
            threads.shutdown(cancel_futures=True)
            raise
    return outcome


class _Pool:
    """The workers of a sweep, each run by a thread of the parent."""

    def __init__(
        self,
        command: Sequence[str],
        outcome: Outcome,
        report: Report,
        progress: Callable[[float], None],
    ) -> None:
        self.command, self.outcome, self.report, self.progress = command, outcome, report, progress
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.shares: dict[str, float] = {}
        self.workers: set[subprocess.Popen[str]] = set()

    def work_off(self, chain: Sequence[Run]) -> None:
        """Runs one after another; what follows on a failed one cannot begin."""
        broken = ""
        for run in chain:
            if self.stopping.is_set():
                return
            why = f"{broken}, which it starts from, failed" if broken else self._work(run)
            broken = broken or (run.name if why else "")
            with self.lock:
                if self.stopping.is_set():
                    return
                if why:
                    self.outcome.failed[run.name] = why
                else:
                    self.outcome.done.append(run.name)
                self._tick(run, 1.0)
                self.report(run, why)

    def stop(self) -> None:
        """Let every worker save and end."""
        with self.lock:
            self.stopping.set()
            workers = list(self.workers)
        for worker in workers:
            with contextlib.suppress(OSError):
                _pipe(worker.stdin).close()
        for worker in workers:
            try:
                worker.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                worker.kill()

    def _work(self, run: Run) -> str:
        """Do one run in a process of its own; returns why it failed, or nothing."""
        try:
            return self._start_and_follow(run)
        except OSError as error:  # No folder, no process.
            return str(error)

    def _start_and_follow(self, run: Run) -> str:
        folder = run.folder
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "worker.log").open("w+") as log, self._started(log) as worker:
            if worker is None:
                return "stopped"
            with contextlib.suppress(OSError):  # A worker that died at once says so in its log.
                _pipe(worker.stdin).write(json.dumps(asdict(run)) + "\n")
                _pipe(worker.stdin).flush()
            for line in _pipe(worker.stdout):
                self._follow(run, line)
            if not worker.wait():
                return ""
            log.seek(0)
            lines = [line.strip() for line in log if line.strip()]
            return lines[-1] if lines else f"ended with status {worker.returncode}"

    @contextlib.contextmanager
    def _started(self, log: IO[str]) -> Iterator[subprocess.Popen[str] | None]:
        with self.lock:
            if self.stopping.is_set():
                yield None
                return
            worker = subprocess.Popen(
                [*self.command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is for the parent, which then stops the workers.
            )
            self.workers.add(worker)
        try:
            yield worker
        finally:
            for pipe in (worker.stdin, worker.stdout):
                with contextlib.suppress(OSError):
                    _pipe(pipe).close()
            worker.wait()
            with self.lock:
                self.workers.discard(worker)

    def _follow(self, run: Run, line: str) -> None:
        with contextlib.suppress(ValueError, TypeError):
            stage, done, total = json.loads(line)
            with self.lock:
                self._tick(run, 0.95 * done / max(total, 1) if stage == "train" else 0.95)

    def _tick(self, run: Run, share: float) -> None:
        self.shares[run.name] = share
        self.progress(sum(self.shares.values()))


def work(given: IO[str], answer: IO[str]) -> None:
    """A worker: read a run, do it, report progress; stop when the parent is gone.

    Raises:
        LaconicError: the run failed.
        KeyboardInterrupt: the parent is gone.
    """
    run = Run(**json.loads(given.readline()))
    # A shell starts background jobs with SIGINT ignored, and their children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def watch() -> None:
        given.read()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()

    def report(stage: str, done: int, total: int) -> None:
        with contextlib.suppress(OSError):  # The parent may be gone: `watch` stops this process.
            print(json.dumps([stage, done, total]), file=answer, flush=True)

    torch.set_num_threads(run.threads)
    complete(read_recipe(run.recipe), report)


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
