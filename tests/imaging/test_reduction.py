"""Insertion spread over processes: the sums of four processes are those of one."""

import multiprocessing
import warnings
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from laconic.imaging import rotations
from laconic.imaging.statistics import Statistics, Views

SIZE, IMAGES, PROCESSES = 12, 40, 4
Sums = tuple[NDArray[np.complex64], NDArray[np.float32], NDArray[np.float64], int]


def views() -> Views:
    generator = torch.Generator().manual_seed(0)
    turns = rotations.uniform(IMAGES, generator)
    return Views(torch.randn(IMAGES, SIZE, SIZE, generator=generator), turns)


def sums_of(part: tuple[int, int]) -> Sums:
    """What one process inserts."""
    seen, statistics = views(), Statistics.empty(SIZE)
    chosen = slice(*part)
    statistics.insert(Views(seen.images[chosen], seen.rotations[chosen]))
    data, weight, power = statistics.data, statistics.weight, statistics.power
    return data.numpy(), weight.numpy(), power.numpy(), statistics.number


def test_four_processes_sum_to_one() -> None:
    """The images are cut into unequal parts; order of summation changes the last digits only."""
    bounds = [0, 7, 20, 21, IMAGES]
    whole = sums_of((0, IMAGES))
    context = multiprocessing.get_context("fork")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with context.Pool(PROCESSES) as pool:
            parts = pool.map(sums_of, pairwise(bounds))
    total = Statistics.empty(SIZE)
    for data, weight, power, number in parts:
        tensors = (torch.from_numpy(array) for array in (data, weight, power))
        total = total + Statistics(*tensors, number, SIZE)
    assert total.number == whole[3]
    assert np.allclose(total.data.numpy(), whole[0], atol=1e-4)
    assert np.allclose(total.weight.numpy(), whole[1], atol=1e-4)
    assert np.allclose(total.power.numpy(), whole[2], rtol=1e-6)
