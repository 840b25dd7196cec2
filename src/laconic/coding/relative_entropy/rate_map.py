"""The map of rates: the bits that each dimension of a tensor gets, encoded in a few thousand bits.

A plain prior has no integers that both sides know exactly: the map is one rate for each tile of a
plane. A `RatedNormal` holds the expected rate of each dimension; then the map is a factor for each
class of expected rates, which is both finer and about ten times shorter.
"""

import math
from collections.abc import Sequence

import numpy as np
from torch.distributions import Normal

from laconic.coding.queue.stream import IntArray, QueueDecoder, QueueEncoder
from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy import tile_map
from laconic.coding.relative_entropy.standardise import DoubleArray
from laconic.distributions.rated import RatedNormal
from laconic.errors import CorruptFileError

RATES: IntArray = np.array(
    # Steps of a third below 1 bit, of 3/16 bit up to 4 bits, of 1/4 bit up to 8 bits.
    [
        *(0, 2, 3, 4, 6, 8, 11, 15, 20, 27, 36, 48, 64, 80, 100, 124, 150, 180, 215, 256),
        *range(304, 1025, 48),
        *range(1088, 2049, 64),
    ],
    np.int64,
)
"""Rates that a tile can have, in 1/256 bit per dimension."""

_EDGES: IntArray = np.array(
    [1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512, 724, 1024, 1448, 2048],
    np.int64,
)
"""Bounds of the classes of expected rates, half octaves, in 1/256 bit."""

_FACTORS: IntArray = np.concatenate(
    [[0], np.rint(2.0 ** (12 + np.arange(-24, 13) / 4)).astype(np.int64)]
)
"""Factors that a class can have, in 1/4096: 0, and quarter octaves from 1/64 to 8."""

_UNCHANGED = int(np.searchsorted(_FACTORS, 4096))
"""Index of the factor 1."""

_STEP_COUNTS: IntArray = np.maximum(1, 256 >> (np.arange(2 * _FACTORS.size) + 1) // 2)
"""Table of the steps from one class's factor to the next one's: 0, -1, 1, -2, 2, ..."""

_STEPS = np.subtract.outer(np.arange(_FACTORS.size), np.arange(_FACTORS.size))
_STEP_BITS: DoubleArray = -np.log2(_STEP_COUNTS / _STEP_COUNTS.sum())[
    np.where(_STEPS < 0, -2 * _STEPS - 1, 2 * _STEPS)
]
"""Bits of the step to a factor (row) from another one (column)."""

_SLOPES: DoubleArray = np.linspace(-0.5, 0.5, 11)
"""Prices of a bit that are tried until the factors give about as many bits as they should."""

_TOLERANCE = 0.004
"""How far their sum may be from the wanted one, as a share of it."""


def _classify(mean: DoubleArray) -> IntArray:
    edges = np.sqrt(np.maximum(RATES[:-1], 0.7) * RATES[1:])
    return np.searchsorted(edges, 256 * mean).astype(np.int64)


def write(stream: QueueEncoder, bits: DoubleArray, budget: float, prior: Normal) -> IntArray:
    """Write the bits that each dimension gets; returns them flattened, in 1/256 bit.

    Args:
        stream: where to write.
        bits: wanted bits per dimension, in the prior's shape; the last two axes are tiled.
        budget: bits that a map of tiles may take; the finest tiles within it are chosen, or else
            the coarsest.
        prior: what both sides know; a `RatedNormal` needs no tiles.
    """
    if isinstance(prior, RatedNormal):
        return _write_factors(stream, bits.reshape(-1), prior.rates.reshape(-1).numpy())
    tile = tile_map.coarsest(bits.shape)
    classes = _classify(tile_map.average(bits, tile))
    for finer in range(tile - 1, 0, -1):
        trial, trial_classes = QueueEncoder(), _classify(tile_map.average(bits, finer))
        if trial_classes.size > budget * 8:
            break
        tile_map.write(trial, trial_classes, RATES.size)
        if trial.bits > budget:
            break
        tile, classes = finer, trial_classes
    stream.uniform([tile], tile_map.MAX_TILE + 1)
    tile_map.write(stream, classes, RATES.size)
    return tile_map.spread(RATES[classes], bits.shape, tile)


def read(stream: QueueDecoder, prior: Normal) -> IntArray:
    """Read what `write` wrote."""
    if isinstance(prior, RatedNormal):
        return _read_factors(stream, prior.rates.reshape(-1).numpy())
    shape = tuple(prior.loc.shape)
    tile = int(stream.uniform(1, tile_map.MAX_TILE + 1)[0])
    classes = tile_map.read(stream, tile_map.grid(shape, tile), RATES.size)
    return tile_map.spread(RATES[classes], shape, tile)


def _write_factors(stream: QueueEncoder, bits: DoubleArray, expected: IntArray) -> IntArray:
    """Write the factor between the wanted and the expected bits of each class of expected rates."""
    classes = np.searchsorted(_EDGES, expected, side="right")
    likely = np.bincount(classes, expected, _EDGES.size + 1)
    wanted = np.bincount(classes, 256 * bits, _EDGES.size + 1).astype(np.float64)
    there = np.flatnonzero(likely > 0)
    chosen = _choose_factors(
        [np.unique(expected[classes == k], return_counts=True) for k in there], wanted[there]
    )
    steps = np.diff(chosen, prepend=_UNCHANGED)
    stream.table(np.where(steps < 0, -2 * steps - 1, 2 * steps), _STEP_COUNTS)
    return _scale(expected, classes, there, chosen)


def _choose_factors(groups: Sequence[tuple[IntArray, IntArray]], wanted: DoubleArray) -> IntArray:
    """A factor for each class: few bits for the steps, and rates near the wanted ones.

    Formula: n dimensions that get d bits too many each cost n (d + (4^-d - 1) / (2 ln 2)) bits, the
    surplus and what a Gaussian's distortion at the wanted rate is worth (d ln 2 times d if small).
    The cheapest sequence of factors is found by dynamic programming, for some prices of a bit.

    Args:
        groups: the distinct expected rates of each class, and how often each occurs.
        wanted: wanted bits of each class, in 1/256 bit.
    """
    if not groups:
        return np.zeros(0, np.int64)
    sums = np.array([(rates[:, None] * _FACTORS + 2048 >> 12).T @ n for rates, n in groups])
    counts = np.array([n.sum() for _, n in groups])[:, None]
    surplus = np.clip((sums - wanted[:, None]) / (256 * counts), -30, 30)
    loss = counts * (surplus + np.expm1(-2 * math.log(2) * surplus) / (2 * math.log(2)))
    sequences = _cheapest(loss + _SLOPES[:, None, None] * sums / 256)
    each = np.arange(len(groups))
    excess = sums[each, sequences].sum(1) - wanted.sum()
    before = np.concatenate([np.full((len(_SLOPES), 1), _UNCHANGED), sequences[:, :-1]], 1)
    costs = (loss[each, sequences] + _STEP_BITS[sequences, before]).sum(1)
    beyond = np.maximum(0.0, np.abs(excess) - _TOLERANCE * wanted.sum())
    best = np.lexsort((costs, beyond))[0]
    return sequences[best] if beyond[best] == 0 else _corrected(sequences[best], sums, wanted)


def _cheapest(costs: DoubleArray) -> IntArray:
    """The cheapest sequences of factors, `(prices, classes)`.

    Args:
        costs: of each factor without the step to it, `(prices, classes, factors)`.
    """
    prices, classes, _ = costs.shape
    total = np.broadcast_to(_STEP_BITS[:, _UNCHANGED], costs[:, 0].shape) + costs[:, 0]
    back = []
    for k in range(1, classes):
        ways = total[:, None, :] + _STEP_BITS
        back.append(ways.argmin(2))
        total = ways.min(2) + costs[:, k]
    chosen = np.empty((prices, classes), np.int64)
    chosen[:, -1] = total.argmin(1)
    for k in range(classes - 2, -1, -1):
        chosen[:, k] = back[k][np.arange(prices), chosen[:, k + 1]]
    return chosen


def _corrected(chosen: IntArray, sums: IntArray, wanted: DoubleArray) -> IntArray:
    """Factors moved by one step where that brings their sum nearer to the wanted one.

    Args:
        chosen: factors of the classes.
        sums: bits of each class with each factor, in 1/256 bit.
        wanted: of each class.
    """
    chosen, each = chosen.copy(), np.arange(len(wanted))
    excess = float(sums[each, chosen].sum() - wanted.sum())
    free = np.ones(len(wanted), np.bool_)
    while bool(free.any()):
        nearby = np.clip(chosen + (-1 if excess > 0 else 1), 0, _FACTORS.size - 1)
        left = np.abs(excess + sums[each, nearby] - sums[each, chosen])
        best = int(np.argmin(np.where(free, left, np.inf)))
        if left[best] >= abs(excess):
            break
        excess += float(sums[best, nearby[best]] - sums[best, chosen[best]])
        chosen[best], free[best] = nearby[best], False
    return chosen


def _read_factors(stream: QueueDecoder, expected: IntArray) -> IntArray:
    classes = np.searchsorted(_EDGES, expected, side="right")
    there = np.flatnonzero(np.bincount(classes, expected, _EDGES.size + 1) > 0)
    codes = stream.table(there.size, _STEP_COUNTS)
    chosen = _UNCHANGED + np.cumsum(np.where(codes % 2 == 1, -(codes + 1) >> 1, codes >> 1))
    if bool(((chosen < 0) | (chosen >= _FACTORS.size)).any()):
        raise CorruptFileError("the map of rates leaves its range: the file is damaged")
    return _scale(expected, classes, there, chosen)


def _scale(expected: IntArray, classes: IntArray, there: IntArray, chosen: IntArray) -> IntArray:
    factors = np.zeros(_EDGES.size + 1, np.int64)
    factors[there] = _FACTORS[chosen]
    rates: IntArray = expected * factors[classes] + 2048 >> 12
    return rates


def order(rates: IntArray, shared: SharedRandomness) -> IntArray:
    """Dimensions sorted by rate, those of one rate shuffled."""
    key = rates << 32 | shared.child(5).bits(0, rates.size)
    return np.argsort(key, kind="stable")
