"""How many threads compiled loops may use; this module loads nothing heavy.

Networks have threads of their own (`laconic.threads`).
"""

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

_limit: ContextVar[int | None] = ContextVar("_limit", default=None)


def allowed() -> int:
    """The number of `limited`; without one that of OMP_NUM_THREADS, or the processor's cores."""
    limit = _limit.get()
    if limit is not None:
        return limit
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def limited(threads: int | None) -> Iterator[None]:
    """A context in which `allowed` is this number; None: unchanged."""
    token = _limit.set(_limit.get() if threads is None else threads)
    try:
        yield
    finally:
        _limit.reset(token)


def take_limited(threads: int | None, items: Iterator[T]) -> Iterator[T]:
    """The items, each made in the context `limited`."""
    while True:
        try:
            with limited(threads):
                item = next(items)
        except StopIteration:
            return
        yield item
