"""Processes of this machine, each on one thread: `--jobs`.

Processes share nothing: with them two files take half the time, where threads of one process wait
for each other. Each process has one job at a time, so that the death of a process loses one job,
which is known; a new process takes its place. Processes end when their parent does.

Where the system can, processes are forked from a server that has loaded the libraries once and has
done nothing with them: a new process is there at once.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for
from typing import Any, ClassVar, Final, final

from laconic.corpus.engines.base import DEATH, Engine, Job, Result, run_job
from laconic.limits import allow_large_pictures

ORPHAN_SECONDS: Final = 5.0
"""How long a job may go on when its parent is gone."""
THREADS: Final = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS",
)  # fmt: skip
LOADED: Final = ["torch", "numba", "PIL.Image", "laconic.api", "laconic.corpus.units"]
"""What the server loads."""


def core_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@final
class Local(Engine):
    """Processes of this machine.

    Args:
        jobs: processes at once.
    """

    id: ClassVar[str] = "local"

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def run(
        self, job: Job, arguments: Iterable[tuple[Any, ...]]
    ) -> Generator[tuple[int, Result], None, None]:
        """Run the jobs, one in each process at a time; jobs not begun wait in `arguments`."""
        numbered, ready = enumerate(arguments), list[tuple[int, Result]]()
        idle = [_Process() for _ in range(self.jobs)]
        busy: dict[Future[Result], tuple[int, _Process]] = {}

        def refill() -> None:
            while idle and (item := next(numbered, None)) is not None:
                process = idle.pop()
                busy[process.begin(job, item[1])] = item[0], process

        try:
            refill()
            while busy:
                ended, _ = wait(busy, return_when=FIRST_COMPLETED)
                for future in ended:
                    number, process = busy.pop(future)
                    ready.append((number, process.end(future)))
                    idle.append(process)
                refill()
                yield from ready
                ready.clear()
        except BaseException:
            _stop([*idle, *(process for _, process in busy.values())])
            raise
        for process in idle:
            process.pool.shutdown()


class _Process:
    """A process that is replaced when it dies."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.pool = ProcessPoolExecutor(1, _context(), _prepare)

    def begin(self, job: Job, arguments: tuple[Any, ...]) -> Future[Result]:
        try:
            return self.pool.submit(_run, job, arguments)
        except BrokenProcessPool:  # It died without a job.
            self.renew()
            return self.pool.submit(_run, job, arguments)

    def end(self, future: Future[Result]) -> Result:
        """The result of the job; where the process died under it, a new process is there."""
        try:
            return future.result()
        except BrokenProcessPool:
            self.pool.shutdown(wait=False)
            self.renew()
            return dict(DEATH)


def _stop(processes: Iterable[_Process]) -> None:
    """Interrupt the jobs, and begin no other."""
    for process in processes:
        process.pool.shutdown(wait=False, cancel_futures=True)
    for child in multiprocessing.active_children():
        if child.pid is not None:
            with contextlib.suppress(OSError):
                os.kill(child.pid, signal.SIGINT)


def _context() -> Any:
    """How processes begin: never as forks of this one, with its threads and locks."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))  # Read when the libraries are loaded.
    try:
        forkserver.ensure_running()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return context


def _prepare() -> None:
    """Prepare a process: one thread, and interruptions only while a job runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    allow_large_pictures()
    os.environ.update(dict.fromkeys(THREADS, "1"))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Interrupt the job when the parent is gone, and then end the process."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(ORPHAN_SECONDS)
        os._exit(1)


def _run(job: Job, arguments: tuple[Any, ...]) -> Result:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return run_job(job, arguments)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
