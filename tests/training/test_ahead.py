"""Batches prepared ahead are those that were requested."""

import torch
from torch import Tensor

from laconic.training.ahead import Ahead


class Numbers:
    """Batch number `index` holds `index`; it notes what was requested."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def batch(self, index: int) -> Tensor:
        self.asked.append(index)
        return torch.full((2,), float(index))


def test_batches_come_by_their_number() -> None:
    numbers = Numbers()
    ahead = Ahead(numbers, 3)
    for index in (0, 1, 2, 10, 4):
        batch = ahead.batch(index)
        assert isinstance(batch, Tensor)
        assert batch.tolist() == [index, index]


def test_none_is_prepared_twice_in_a_row() -> None:
    numbers = Numbers()
    ahead = Ahead(numbers, 2)
    for index in range(20):
        ahead.batch(index)
    ahead.pool.shutdown()
    assert sorted(numbers.asked) == list(range(22))
