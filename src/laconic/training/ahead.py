"""Batches that threads prepare in advance, while the device computes."""

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
    """The same batches; threads prepare the next ones in advance.

    A batch is a function of its number alone, so neither order nor threads change it.

    Args:
        batches: the source of the batches; several threads call it at once.
        count: number of batches that are prepared in advance, each by its own thread.
    """

    def __init__(self, batches: Batches, count: int) -> None:
        self.batches, self.count = batches, count
        self.pool = ThreadPoolExecutor(count)
        self.waiting: dict[int, Future[Tensor | Sequence[Tensor]]] = {}

    def batch(self, index: int) -> Tensor | Sequence[Tensor]:
        """Batch number `index`; starts the preparation of the next ones."""
        wanted = range(index, index + self.count + 1)
        self.waiting = {number: one for number, one in self.waiting.items() if number in wanted}
        for number in wanted:
            if number not in self.waiting:
                self.waiting[number] = self.pool.submit(self.batches.batch, number)
        return self.waiting.pop(index).result()
