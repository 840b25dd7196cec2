"""Parts of all dithered coders: classes of steps, kernels of noise, integer frequency tables.

A dithered coder adds a noise of fixed shape to the target's mean m: u = m + s e, where e has
variance 1 and the distribution of a `Kernel`. The scale s is one of the classes in `SCALES`, which
`step_map` encodes. The coder sends an integer t such that u = w (t + o). The step w depends on the
class; the offset o, in [-1/2, 1/2), depends on shared randomness and on the integers sent before.
Under the prior, u has the density f = N(0, σ²) * noise, so

    P(t | o) = f(w (t + o)) / sum over j of f(w (j + o)).

For uniform noise of width w this is Φ((w (t + o) + w/2) / σ) - Φ((w (t + o) - w/2) / σ).

If the means have the variance that the prior implies then σ² = 1 - s²; for other classes σ is
encoded. The receiver computes its tables from integers with multiplications, additions, roots and
comparisons that IEEE 754 rounds correctly; Φ is a look-up in the table of quantiles.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from laconic.coding.queue.stream import AdaptiveModel, IntArray, QueueDecoder, QueueEncoder
from laconic.coding.random import UInt32Array, quantile_table
from laconic.coding.relative_entropy.standardise import DoubleArray

STEPS = 16
"""Classes of scales in an octave."""

CLASSES = 12 * STEPS + 1
"""Scales run from 2 down to 2^-11."""

_SIXTEENTHS = (
    *(65536, 68438, 71468, 74632, 77936, 81386, 84990, 88752),
    *(92682, 96785, 101070, 105545, 110218, 115098, 120194, 125515),
)
"""2^(i/16) in 2^-16, so that no machine's power function is needed."""

_SPREADS = 33
"""σ is encoded as 16 + d, d in quarter octaves from the σ of means that vary as in the prior."""

USUAL_SPREAD = _SPREADS // 2
"""The encoded σ of means that vary as under the prior."""

_MIN_VARIANCE = 1 / 64
_GRID = 4096
_REACH = 8
_TOTAL = 1 << 16
_MAX_BINS = 64
_ESCAPE_LIMIT = 1 << 31


def _power(sixteenths: int) -> float:
    """2^(sixteenths / 16), the same on every machine."""
    octave, rest = divmod(sixteenths, STEPS)
    return _SIXTEENTHS[rest] * 2.0 ** (octave - 16)


SCALES: DoubleArray = np.array([_power(STEPS - c) for c in range(CLASSES)])
"""Scale s of each class, in units of the prior's."""


@dataclass(frozen=True)
class Kernel:
    """The distribution of one coordinate of the noise: a mixture of centred uniforms.

    Attributes:
        moment: variance in units of the squared step.
        halves: half-widths of the uniforms, in eighths of a step.
        heights: their heights, in integers.
        checks: share of the coordinates whose parity is known before they are coded.
    """

    moment: float
    halves: tuple[int, ...]
    heights: tuple[int, ...]
    checks: float = 0.0

    def step(self, scale: float) -> float:
        """Step w at which the noise has this scale."""
        return float(scale / np.sqrt(self.moment))


CUBE = Kernel(1 / 12, (4,), (1,))
"""Noise of the integers: uniform on [-1/2, 1/2] steps."""


@dataclass(frozen=True)
class _Tables:
    """Counts of t >> shift, less `low`, for every bin of offsets; the last symbol is an escape."""

    counts: IntArray
    low: int
    shift: int
    bin_bits: int


@cache
def _half_normal() -> IntArray:
    """P(0 < x < i / 4096) in 2^-32, i up to 8 * 4096, from the shared table of quantiles."""
    table, x = quantile_table(), np.arange(_GRID * _REACH) / _GRID
    v = np.searchsorted(table[0], x).astype(np.int64) << 16
    tail = np.searchsorted(table[1], x).astype(np.int64)
    v = np.where(v >= (1 << 31) - (1 << 24), (1 << 31) - (1 << 24) + (tail << 9), v)
    tail = np.searchsorted(table[2], x).astype(np.int64)
    v = np.where(v >= (1 << 31) - (1 << 17), (1 << 31) - (1 << 17) + (tail << 2), v)
    v.flags.writeable = False
    return v


def phi(x: DoubleArray) -> IntArray:
    """Φ(x) in 2^-32."""
    place = np.minimum(np.abs(x) * _GRID + 0.5, _GRID * _REACH - 1).astype(np.int64)
    half = _half_normal()[place]
    result: IntArray = (1 << 31) + np.where(x < 0, -half, half)
    return result


def spread_of(scale_class: int, spread: int) -> float:
    """Standard deviation σ of the means of a class."""
    variance = max(1 - float(SCALES[scale_class]) ** 2, _MIN_VARIANCE)
    return float(np.sqrt(variance)) * _power(4 * (spread - USUAL_SPREAD))


@cache
def _tables(kernel: Kernel, stretch: int, scale_class: int, spread: int) -> _Tables:
    """Tables of t for u = stretch step (t + o)."""
    sigma, step = spread_of(scale_class, spread), kernel.step(float(SCALES[scale_class]))
    width, shift, bin_bits = stretch * step, 0, 0
    while width * 2 ** (shift + 1) <= sigma / 8:
        shift += 1
    while (1 << bin_bits) < _MAX_BINS and 16 * width > sigma * (1 << bin_bits) and not shift:
        bin_bits += 1
    reach = int((6 * sigma + step) / (width * 2**shift)) + 2
    points = 4 << bin_bits
    offset = (np.arange(points) + 0.5) / points - 0.5
    first = np.arange(-reach, reach + 1) * 2**shift
    if shift:  # the noise is narrow beside σ: the kernel's shape does not matter
        edges = (np.append(first, first[-1] + 2**shift) - 0.5 + offset[:, None]) * (width / sigma)
        mass = np.diff(phi(edges), axis=1)
    else:
        centre = (first + offset[:, None]) * (width / sigma)
        mass = np.zeros(centre.shape, np.int64)
        for half, height in zip(kernel.halves, kernel.heights, strict=True):
            reach_of_half = half / 8 * (step / sigma)
            mass += height * (phi(centre + reach_of_half) - phi(centre - reach_of_half))
    mass = mass.reshape(1 << bin_bits, 4, -1).sum(1)
    total = np.maximum(mass.sum(1, keepdims=True), 1)
    counts = mass * (_TOTAL - first.size - 1) // total + 1
    counts = np.concatenate([counts, np.ones((counts.shape[0], 1), np.int64)], 1)
    return _Tables(counts, -reach, shift, bin_bits)


@dataclass(frozen=True)
class Plan:
    """The integers that select the frequency tables of one run of symbols; known to both sides.

    Attributes:
        classes: class of each symbol, shape `(symbols,)`.
        offsets: (o + 1/2) 2^32 of each symbol, shape `(symbols,)`.
        spreads: encoded σ of each class, shape `(CLASSES,)`.
    """

    classes: IntArray
    offsets: UInt32Array
    spreads: IntArray

    def runs(self, kernel: Kernel, stretch: int) -> list[tuple[_Tables, IntArray, IntArray]]:
        """Symbols that share their tables: tables, places by bin, ends of the bins."""
        order = np.argsort(self.classes, kind="stable")
        present, first = np.unique(self.classes[order], return_index=True)
        result = []
        for scale_class, places in zip(present, np.split(order, first[1:]), strict=False):
            tables = _tables(kernel, stretch, int(scale_class), int(self.spreads[scale_class]))
            bins = self.offsets[places].astype(np.int64) >> (32 - tables.bin_bits)
            ends = np.cumsum(np.bincount(bins, minlength=1 << tables.bin_bits))
            result.append((tables, places[np.argsort(bins, kind="stable")], ends))
        return result


def write_symbols(
    stream: QueueEncoder, symbols: IntArray, plan: Plan, kernel: Kernel, stretch: int = 1
) -> None:
    """Write the integers t."""
    for tables, places, ends in plan.runs(kernel, stretch):
        coarse = symbols[places] >> tables.shift
        index, escape = coarse - tables.low, tables.counts.shape[1] - 1
        index = np.where((index < 0) | (index >= escape), escape, index)
        for run, counts in zip(np.split(index, ends[:-1]), tables.counts, strict=True):
            stream.table(run, counts)
        far = coarse[index == escape]
        stream.integers(np.where(far < 0, -2 * far - 1, 2 * far))
        stream.uniform(symbols[places] & ((1 << tables.shift) - 1), 1 << tables.shift)


def read_symbols(stream: QueueDecoder, plan: Plan, kernel: Kernel, stretch: int = 1) -> IntArray:
    """Read what `write_symbols` wrote."""
    symbols = np.zeros(plan.classes.size, np.int64)
    for tables, places, ends in plan.runs(kernel, stretch):
        sizes = np.diff(ends, prepend=0)
        runs = [stream.table(int(n), c) for n, c in zip(sizes, tables.counts, strict=True)]
        index, escape = np.concatenate(runs), tables.counts.shape[1] - 1
        coarse, far = index + tables.low, index == escape
        signed = stream.integers(int(far.sum()), _ESCAPE_LIMIT)
        coarse[far] = np.where(signed & 1, -(signed + 1) // 2, signed // 2)
        low = stream.uniform(places.size, 1 << tables.shift)
        symbols[places] = (coarse << tables.shift) + low
    return symbols


def write_spreads(stream: QueueEncoder, mean: DoubleArray, classes: IntArray) -> IntArray:
    """Write σ of every class in use; returns the encoded σ of all classes."""
    present = np.unique(classes)
    spreads = np.full(CLASSES, USUAL_SPREAD, np.int64)
    for c in present:
        where = classes == c
        ratio = float(np.sqrt(np.mean(mean[where] ** 2))) / spread_of(int(c), USUAL_SPREAD)
        octaves = float(np.log2(max(ratio, 2.0**-4)))
        gain = where.sum() * ((min(ratio, 16.0) ** 2 - 1) / 2 / np.log(2.0) - octaves)
        if gain > 8:  # bits that another value than the usual one costs
            spreads[c] += int(np.clip(np.rint(4 * octaves), -16, 16))
    stream.adaptive(spreads[present], AdaptiveModel(_SPREADS))
    return spreads


def read_spreads(stream: QueueDecoder, classes: IntArray) -> IntArray:
    """Read what `write_spreads` wrote."""
    present = np.unique(classes)
    spreads = np.full(CLASSES, USUAL_SPREAD, np.int64)
    spreads[present] = stream.adaptive(present.size, AdaptiveModel(_SPREADS))
    return spreads


def cut(classes: IntArray, near: IntArray, size: int, shared_key: UInt32Array) -> list[IntArray]:
    """Dimensions in blocks of one class: arrays `(blocks, size)`, `(blocks, size / 2)`, ... .

    Blocks take the dimensions of a class in shuffled order; dimensions that do not fill a block go
    to smaller blocks, so that none is padded. `size` is a power of two.
    """
    order = near[np.argsort(classes[near] << 32 | shared_key[near], kind="stable")]
    blocks = []
    while size:
        kind = classes[order]
        place = np.arange(order.size) - np.searchsorted(kind, kind)
        count = np.searchsorted(kind, kind, "right") - np.searchsorted(kind, kind)
        full = place < count // size * size
        blocks.append(order[full].reshape(-1, size))
        order, size = order[~full], size // 2
    return blocks


def fractions(words: UInt32Array) -> DoubleArray:
    """The exact offsets in (-1/2, 1/2) of 32-bit words."""
    return (words.astype(np.float64) + 0.5) * 2.0**-32 - 0.5


@cache
def _rate_curve() -> tuple[DoubleArray, DoubleArray]:
    """Bits per dimension against log2(step / σ), for uniform noise."""
    octaves = np.linspace(-14, 10, 193)
    rates = np.empty(octaves.size)
    for i, ratio in enumerate(2.0**octaves):
        x = torch.linspace(0, 9 + ratio, 8001, dtype=torch.float64)
        density = torch.special.ndtr(ratio / 2 - x) - torch.special.ndtr(-ratio / 2 - x)
        rates[i] = -2 * float(torch.trapezoid(torch.xlogy(density, density), x)) / ratio
    return octaves, np.maximum(rates / np.log(2.0), 0.0)


def rate_bits(classes: IntArray, spreads: IntArray) -> float:
    """Mutual information of means N(0, σ²) and uniform draws about them, in bits."""
    present, count = np.unique(classes, return_counts=True)
    steps = [CUBE.step(float(SCALES[c])) / spread_of(int(c), int(spreads[c])) for c in present]
    return float((count * np.interp(np.log2(np.array(steps)), *_rate_curve())).sum())


def information_bits(
    kernel: Kernel, mean: DoubleArray, classes: IntArray, spreads: IntArray
) -> float:
    """Expected bits of the integers of these means: the sum of E log2 (1 / P(t | o)).

    For uniform noise its average over means N(0, σ²) is `rate_bits`.
    """
    bits = 0.0
    for c in np.unique(classes):
        distance = np.abs(mean[classes == c])
        step, sigma = kernel.step(float(SCALES[c])), spread_of(int(c), int(spreads[c]))
        grid = np.linspace(0, distance.max(), 49)
        for stretch, share in ((1, 1 - kernel.checks), (2, kernel.checks)):
            if share:
                curve = _information(kernel, torch.from_numpy(grid) / sigma, step / sigma, stretch)
                bits += share * float(np.interp(distance, grid, curve).sum())
    return bits


def _information(kernel: Kernel, mean: torch.Tensor, step: float, stretch: int) -> DoubleArray:
    """E log2 (1 / P(t | o)) over the noise about each mean, σ being 1."""
    halves, heights = np.array(kernel.halves) / 8, np.array(kernel.heights)
    count = 48 if kernel is CUBE else 24
    points = ((np.arange(count) + 0.5) * 2 / count - 1) * halves[-1]
    weights = (np.abs(points)[:, None] < halves) @ heights
    u, width = mean + torch.from_numpy(points)[:, None] * step, stretch * step
    total = torch.full_like(u, 2 / stretch * np.dot(halves, heights))
    if kernel is not CUBE and width > 2:  # else the sum over the steps is an integral
        far = int(8 / width) + 2
        total = sum((_density(kernel, u + j * width, step) for j in range(-far, far + 1)), 0 * u)
    chance = torch.clamp(_density(kernel, u, step) / total, min=1 / _TOTAL)
    return -np.average(torch.log2(chance).numpy(), axis=0, weights=weights)


def _density(kernel: Kernel, u: torch.Tensor, step: float) -> torch.Tensor:
    """Density of N(0, 1) plus the noise, but for a factor."""
    density, distance = torch.zeros_like(u), u.abs()
    for half, height in zip(kernel.halves, kernel.heights, strict=True):
        h = half / 8 * step
        density += height * (torch.special.ndtr(h - distance) - torch.special.ndtr(-h - distance))
    return density
