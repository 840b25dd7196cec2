"""Work on several tensors at once, with results in order and memory bounded.

Threads of this process are enough: the compiled loops and numpy's work on large arrays let others
run. The pool lives as long as one call, so that a process that forks later inherits none of it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from laconic.threads import on_one_thread

HELD_BYTES: Final = 1 << 27
"""Memory of jobs under way or waiting to be taken; a single one may need more."""

SMALL_BYTES: Final = 1 << 15
"""Below this a job takes less time than handing it to another thread."""

Result = TypeVar("Result")


def run_ahead(jobs: Iterable[tuple[int, Callable[[], Result]]], threads: int) -> Iterator[Result]:
    """Results of jobs in order; while one is taken, those behind it run on other threads.

    Args:
        jobs: memory that each needs, in bytes, and what to do. They are taken one by one, as
            memory allows. What to do must not depend on other jobs.
        threads: how many jobs run at once; 1: each when its turn comes, on the calling thread.
    """
    if threads == 1:
        for _, work in jobs:
            result = work()
            del work  # It holds its tensor, which must be freed before the next one is read.
            yield result
            del result
        return
    waiting, held = deque[tuple[int, Future[Result]]](), 0
    with ThreadPoolExecutor(threads) as pool:
        try:
            for size, work in jobs:
                while waiting and (held + size > HELD_BYTES or len(waiting) >= 64 * threads):
                    done, future = waiting.popleft()
                    yield future.result()
                    held -= done
                small = size < SMALL_BYTES
                waiting.append((size, _run(work) if small else pool.submit(on_one_thread(work))))
                held += size
                del work
            while waiting:
                yield waiting.popleft()[1].result()
        finally:
            for _, future in waiting:
                future.cancel()


def _run(work: Callable[[], Result]) -> Future[Result]:
    """Do it at once."""
    future = Future[Result]()
    try:
        future.set_result(work())
    except Exception as error:  # Raised where the result is taken, in order.
        future.set_exception(error)
    return future
