"""Many files in several processes, each on one thread: `--jobs`.

Processes share nothing: with them two files take half the time, where threads of one process wait
for each other. Each file is written by its process, whole or not at all.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from laconic.errors import InputError, LaconicError

Job = Callable[..., dict[str, Any]]


def core_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def in_processes(
    job: Job, arguments: Sequence[tuple[Any, ...]], jobs: int
) -> Iterator[list[Callable[[], dict[str, Any]]]]:
    """Begin all jobs; yields for each a function that waits for its result.

    On an error or an interruption no further job begins, and those at work are interrupted, too.

    Args:
        job: a function of a module, called in a process of its own.
        arguments: of each job, all of which can be sent to another process.
        jobs: processes at once.
    """
    context = multiprocessing.get_context("spawn")  # A fork would copy threads and locks of torch.
    pool = ProcessPoolExecutor(jobs, context, _begin)
    futures = [pool.submit(_run, job, some) for some in arguments]
    try:
        yield [lambda future=future: _result(future) for future in futures]  # type: ignore[misc]
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            if child.pid is not None:
                os.kill(child.pid, signal.SIGINT)
        raise


def _begin() -> None:
    """Prepare a process: one thread, and interruptions only while a job runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"


def _run(job: Job, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """Run a job; an error of Laconic's becomes a result, since not all of them can be sent."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return job(*arguments)
    except LaconicError as error:
        return {"error": str(error)}
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _result(future: Future[dict[str, Any]]) -> dict[str, Any]:
    """The result of a job.

    Raises:
        InputError: the job failed, or its process was ended.
    """
    from concurrent.futures.process import BrokenProcessPool

    try:
        result = future.result()
    except BrokenProcessPool as error:
        raise InputError("a process was ended from outside; give a smaller --jobs") from error
    if "error" in result and "output" not in result:
        raise InputError(result["error"])
    return result
