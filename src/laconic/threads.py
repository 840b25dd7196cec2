"""Threads: our own, which sleep while they wait, and those of torch, which may not.

Threads of torch (OpenMP's) wait for each other in loops that keep their cores busy; next to another
busy process, two of them take ten times as long as one. And a forked child that uses them hangs if
its parent has used them: once this module is loaded, torch has one thread in forked children. So
networks run on one thread of torch, and independent parts (tiles, chains, groups of a search) run
in parallel on threads of our own: see `each`.

If threads of torch sleep while they wait (see `laconic.waiting`; the command line requests it), a
network without parallel parts uses all of them: see `using`.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch

from laconic.waiting import is_asleep

T = TypeVar("T")


class _Here(threading.local):
    """The number of threads that the current thread may use; None: as many as torch has."""

    count: int | None = None
    belongs_to_pool = False


_here = _Here()
_pools: dict[int, ThreadPoolExecutor] = {}
_is_forked = False


def thread_count() -> int:
    """Number of threads that `each` uses: that of `using`, else as many as torch has."""
    return _here.count or torch.get_num_threads()


@contextlib.contextmanager
def using(threads: int | None = None, alone: bool = False) -> Iterator[None]:
    """A context that runs networks on one thread of torch, and `each` on threads of our own.

    At the end, both settings are restored. On a thread of a pool, the number is always one.

    Args:
        threads: number of threads for `each`; None: unchanged.
        alone: nothing runs in parallel with these networks: they get all threads of torch, if those
            sleep while they wait.
    """
    own, of_torch = _here.count, torch.get_num_threads()
    _here.count = 1 if _here.belongs_to_pool else threads or thread_count()
    try:
        spread = alone and is_asleep() and not _is_forked
        _set_torch_threads(_here.count if spread else 1)
        yield
    finally:
        _here.count = own
        _set_torch_threads(of_torch)


def each(
    work: Callable[..., T], *parts: Sequence[Any], done: Callable[[Any], None] | None = None
) -> list[T]:
    """Call `work` for all parts in parallel, each on one thread; returns the results in order.

    Args:
        work: called with one part of each sequence, in the caller's inference mode.
        parts: sequences of one length.
        done: called in this thread with each part of the first sequence, in order, once its work
            is done.
    """
    threads = min(thread_count(), len(parts[0]))
    if threads <= 1:
        return _collect(map(work, *parts), parts[0], done)
    return _collect(_pool(threads).map(on_one_thread(work), *parts), parts[0], done)


def on_one_thread(work: Callable[..., T]) -> Callable[..., T]:
    """The same function for a thread of a pool: it uses no other thread.

    Args:
        work: called in the inference mode of the caller of `on_one_thread`.
    """
    inference = torch.is_inference_mode_enabled()

    def run(*arguments: Any) -> T:
        _here.belongs_to_pool = True
        with using(), torch.inference_mode(inference):
            return work(*arguments)

    return run


def _collect(
    results: Iterator[T], parts: Sequence[Any], done: Callable[[Any], None] | None
) -> list[T]:
    """All results in order; calls `done` for each part as it finishes."""
    found = []
    for part, result in zip(parts, results, strict=True):
        found.append(result)
        if done is not None:
            done(part)
    return found


def _set_torch_threads(threads: int) -> None:
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def _pool(threads: int) -> ThreadPoolExecutor:
    """The pool, which is reused, because a thread's first network is slow."""
    if threads not in _pools:
        _pools[threads] = ThreadPoolExecutor(threads, "laconic")
    return _pools[threads]


def _after_fork() -> None:
    """Give torch one thread in the child, where it would wait for the parent's threads for ever."""
    global _is_forked
    _is_forked = True
    _pools.clear()
    torch.set_num_threads(1)


os.register_at_fork(after_in_child=_after_fork)
