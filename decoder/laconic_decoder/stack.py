"""The stack of bits, and distributions of pixels and latents on it (docs/format.md, "Stack")."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from .container import Array, LacError, need

TOTAL = 1 << 28


class Stack:
    """One number of a few megabytes, as a head of 64 bits and words of 32, the top last."""

    def __init__(self, data: bytes) -> None:
        length = 5 + (data[0] >> 5) if data else 9
        need(length <= min(len(data), 9), "a chain's data end before their head")
        self.head = int.from_bytes(data[:length], "big") & (1 << 8 * length - 3) - 1
        need(1 << 32 <= self.head < 1 << 64, "a chain's head is damaged")
        words = data[length : len(data) - (len(data) - length) % 4]
        self.words: list[int] = np.frombuffer(words, "<u4")[::-1].tolist()

    def take(self, start: int, size: int) -> None:
        """Remove the symbol whose interval holds `head % 2^28`."""
        head = size * (self.head >> 28) + (self.head & TOTAL - 1) - start
        if head < 1 << 32:
            if not self.words:
                raise LacError("a message ends too early: the file is damaged or cut short")
            head = head << 32 | self.words.pop()
        self.head = head

    def push(self, start: int, size: int) -> None:
        """Put a symbol of this interval on top."""
        head = self.head
        if head >> 36 >= size:
            self.words.append(head & 0xFFFFFFFF)
            head >>= 32
        self.head = (head // size << 28) + start + head % size


@cache
def half_powers() -> Array:
    """2^(29 - i / 1024)."""
    return np.rint(2.0 ** (29 - np.arange(1024) / 1024)).astype(np.int64)


@cache
def logistic_cdf() -> Array:
    """1 / (1 + exp(-x)) from -21 to 21 in steps of 2^-7, units of 2^-30."""
    return symmetric([2.0**30 / (1 + math.exp(-i / 128)) for i in range(21 * 128 + 1)])


@cache
def normal_cdf() -> Array:
    """The normal's from -7 to 7 in steps of 2^-7, units of 2^-30."""
    return symmetric([2.0**29 * math.erfc(-i / 128 / math.sqrt(2)) for i in range(7 * 128 + 1)])


def symmetric(upper: list[float]) -> Array:
    """A distribution function from its upper half."""
    half = [round(value) for value in upper]
    return np.array([(1 << 30) - value for value in half[:0:-1]] + half)


@cache
def normal_quantiles(bits: int) -> Array:
    """Normal quantiles at i / 2^bits, units of 2^-24; 0 at both ends."""
    half = 1 << bits - 1
    upper = [round(NormalDist().inv_cdf(i / (1 << bits)) * 2**24) for i in range(half, 2 * half)]
    return np.array([0] + [-value for value in upper[:0:-1]] + upper + [0])


def octaves(nats: Array) -> Array:
    """Units of 2^-16 nat to units of 2^-10 octave."""
    return nats * 1549082005 + (1 << 35) >> 36


class Mixtures(NamedTuple):
    """Mixtures of n symbols: arrays `(n, components)`, and tables that they share."""

    weights: Array
    means: Array
    factors: Array
    shifts: Array
    edges: Array
    table: Array


def mixtures(
    logits: Array, means: Array, log_scales: Array, edges: Array, table: Array, fine: int = 0
) -> Mixtures:
    """Mixtures from integers in units of 2^-16; means finer by `fine` bits if edges are."""
    top = logits.max(1, keepdims=True)
    below = octaves(np.clip(top - logits, 0, 30 << 16))
    weights = half_powers()[below & 1023] >> (below >> 10)
    weights = weights * ((1 << 52) // weights.sum(1, keepdims=True)) >> 30
    best = logits.argmax(1)
    weights[np.arange(len(best)), best] += (1 << 22) - weights.sum(1)
    halvings = octaves(np.clip(log_scales, -(12 << 16), 12 << 16))
    factors, shifts = half_powers()[halvings & 1023], (halvings >> 10) + 21 + fine
    return Mixtures(weights, means, factors, shifts, edges, table)


def curve(m: Mixtures, row: int, means: list[int]) -> Callable[[int], int]:
    """The function C of a symbol: where its interval starts, in parts of 2^28."""
    parts = list(
        zip(
            m.weights[row].tolist(),
            means,
            m.factors[row].tolist(),
            m.shifts[row].tolist(),
            strict=True,
        )
    )
    edges, table, size = m.edges, m.table, len(m.edges) - 1
    middle, last = (len(table) - 1) << 16, ((len(table) - 1) << 17) - 1

    def start(x: int) -> int:
        if x == 0:
            return 0
        if x == size:
            return TOTAL
        edge, value = edges[x], 0
        for weight, mean, factor, shift in parts:
            place = ((edge - mean) * factor >> shift) + middle
            place = 0 if place < 0 else last if place > last else place
            cell = place >> 17
            low = table[cell]
            value += weight * (low + ((table[cell + 1] - low) * (place & 131071) >> 17))
        return x + ((value >> 22) * (TOTAL - size) >> 30)

    return start


def pop_symbol(stack: Stack, start: Callable[[int], int], size: int) -> int:
    """Take off the symbol whose interval holds the stack's place."""
    place, low, high, begin, end = stack.head & TOTAL - 1, 0, size, 0, TOTAL
    while high - low > 1:
        middle = low + high >> 1
        value = start(middle)
        if value <= place:
            low, begin = middle, value
        else:
            high, end = middle, value
    stack.take(begin, end - begin)
    return low


@cache
def pixel_edges(levels: int) -> list[int]:
    """Lower edges of samples, and the end, in units of 2^-16 step of 8 bits."""
    step = (1 << 24) // max(levels, 256)
    return [x * step - step // 2 for x in range(levels + 1)]


@cache
def logistic_list() -> list[int]:
    """`logistic_cdf` as a list."""
    found: list[int] = logistic_cdf().tolist()
    return found


class PixelParameters(NamedTuple):
    """Mixtures of n pixels, `(n, colours, components)`, units of 2^-16; couplings for colour."""

    logits: Array
    means: Array
    log_scales: Array
    couplings: Any


def pop_pixels(stack: Stack, p: PixelParameters, bits: int) -> Array:
    """Samples `(n, colours)`, pixel by pixel."""
    n, colours, _ = p.logits.shape
    flat = [part.reshape(n * colours, -1) for part in p[:3]]
    levels = 1 << max(bits, 8)
    m = mixtures(flat[0], flat[1], flat[2], pixel_edges(levels), logistic_list())
    means, limit = p.means.tolist(), 1 << 26
    couplings = None if p.couplings is None else p.couplings.tolist()
    found = []
    for i in range(n):
        values: list[int] = []
        for colour in range(colours):
            centre = means[i][colour]
            if couplings and colour == 1:
                r = values[0] - 128
                centre = [c + k * r for c, k in zip(centre, couplings[i][0], strict=True)]
            elif couplings and colour == 2:
                r, g = values[0] - 128, values[1] - 128
                pairs = zip(centre, couplings[i][1], couplings[i][2], strict=True)
                centre = [c + k * r + j * g for c, k, j in pairs]
            centre = [max(-limit, min(limit, c)) for c in centre]
            values.append(pop_symbol(stack, curve(m, i * colours + colour, centre), levels))
        found.append(values)
    return np.array(found, np.int64).reshape(n, colours) // (255 if bits == 1 else 1)


def pop_bernoulli(stack: Stack, logits: Array) -> Array:
    """Bits under logits in units of 2^-16."""
    table, found = logistic_list(), []
    middle, last = (len(table) - 1) << 16, ((len(table) - 1) << 17) - 1
    for logit in logits.tolist():
        place = max(0, min(last, (logit << 8) + middle))
        low = table[place >> 17]
        one = low + ((table[(place >> 17) + 1] - low) * (place & 131071) >> 17)
        zeros = TOTAL - 1 - (one * (TOTAL - 2) >> 30)
        bit = stack.head & TOTAL - 1 >= zeros
        stack.take(zeros if bit else 0, TOTAL - zeros if bit else zeros)
        found.append(int(bit))
    return np.array(found, np.int64)


LATENT_BITS = 12


def pop_bins(stack: Stack, count: int) -> Array:
    """Bins of latents under the prior: 2^12 alike."""
    found = []
    for _ in range(count):
        found.append((stack.head & TOTAL - 1) >> 28 - LATENT_BITS)
        stack.take(found[-1] << 28 - LATENT_BITS, 1 << 28 - LATENT_BITS)
    return np.array(found, np.int64)


def bin_centres(bins: Array) -> Array:
    """The medians of bins, units of 2^-16."""
    fine = normal_quantiles(LATENT_BITS + 1)[2 * bins + 1]
    return np.sign(fine) * (np.abs(fine) + 128 >> 8)


def push_bins(stack: Stack, bins: Array, means: Array, log_scales: Array) -> None:
    """Put bins back under normals, the last first; means and log-scales in units of 2^-16."""
    edges = normal_quantiles(LATENT_BITS).tolist()
    table = normal_cdf().tolist()
    means = np.clip(means, -(256 << 16), 256 << 16)[:, None] << 8
    m = mixtures(np.zeros_like(means), means, log_scales[:, None], edges, table, 8)
    for i in range(len(bins) - 1, -1, -1):
        start, x = curve(m, i, means[i].tolist()), int(bins[i])
        begin = start(x)
        stack.push(begin, start(x + 1) - begin)
