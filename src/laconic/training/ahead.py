"""Batches that threads prepare while the device computes."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from torch import Tensor


class Batches(Protocol):
    """Data as a function of the batch number, so that resuming is exact."""

    def batch(self, index: int) -> Tensor | Sequence[Tensor]:
        """Batch number `index`: the inputs, or those and their labels."""
        ...


class Ahead:
    """The same batches, some of them prepared before they are asked for.

    A batch is a function of its number alone, so that neither order nor threads change it.

    Args:
        batches: where they come from; several threads call it at once.
        count: how many batches are prepared ahead, each by a thread of its own.
    """

    def __init__(self, batches: Batches, count: int) -> None:
        self.batches, self.count = batches, count
        self.pool = ThreadPoolExecutor(count)
        self.waiting: dict[int, Future[Tensor | Sequence[Tensor]]] = {}

    def batch(self, index: int) -> Tensor | Sequence[Tensor]:
        """Batch number `index`; those after it are begun."""
        wanted = range(index, index + self.count + 1)
        self.waiting = {number: one for number, one in self.waiting.items() if number in wanted}
        for number in wanted:
            if number not in self.waiting:
                self.waiting[number] = self.pool.submit(self.batches.batch, number)
        return self.waiting.pop(index).result()
