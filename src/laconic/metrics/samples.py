"""Distances between draws and a distribution: Kolmogorov-Smirnov and energy distances."""

import math

import numpy as np
from numpy.typing import NDArray

DoubleArray = NDArray[np.float64]


def normal_distance(values: DoubleArray) -> float:
    """Largest distance between the empirical distribution of `values` and the standard normal."""
    ordered = np.sort(values)
    cdf = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in ordered])
    steps = np.arange(ordered.size + 1) / ordered.size
    return max(float((steps[1:] - cdf).max()), float((cdf - steps[:-1]).max()))


def critical_distance(count: int, false_alarm: float) -> float:
    """The value that `normal_distance` of `count` exact draws exceeds with this probability.

    Formula: sqrt(-ln(a / 2) / (2 n)), the first term of Kolmogorov's series; never too small.
    """
    return math.sqrt(-0.5 * math.log(false_alarm / 2) / count)


def energy_rank(ours: DoubleArray, theirs: DoubleArray, keys: DoubleArray) -> int:
    """Rank of the energy distance of two samples among those of randomly mixed samples.

    Formula: E = 2 mean|x - y| - mean|x - x'| - mean|y - y'|; zero between equal distributions only.
    Source: Székely & Rizzo 2004, "Testing for equal distributions in high dimension".

    Args:
        ours: points of one sample, shape `(n, dims)`.
        theirs: as many of the other, shape `(n, dims)`.
        keys: independent random numbers, shape `(mixtures, 2 n)`; their order mixes the points.

    Returns:
        The number of mixtures with at least this distance: uniform on `0 .. mixtures` if the
        distributions are equal, so that 0 is a false alarm of rate 1 / (mixtures + 1).
    """
    points = np.concatenate([ours, theirs])
    squares = (points**2).sum(1)
    inner = points @ points.T
    apart = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * inner, 0.0))
    # With +1 on one sample and -1 on the other, E = -sign' apart sign / n².
    middle = np.partition(keys, len(ours) - 1, axis=1)[:, len(ours) - 1, None]
    signs = np.where(keys <= middle, 1.0, -1.0)
    mixed = ((signs @ apart) * signs).sum(1)
    sign = np.repeat([1.0, -1.0], len(ours))
    return int((mixed <= sign @ apart @ sign).sum())
