"""The table of relative entropy coders, and all but the default (docs/format.md, "Draws")."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from .coding import Adaptive, Range, Shared, normal_table, normals_of
from .container import ELSEWHERE, Array, LacError, need
from .draws import RATES, Coder, decode_trellis, order_of, read_numbers, read_outliers, read_rates


class Message(NamedTuple):
    """A message: parameters of its coder, stream, randomness, shape, expected rates if known."""

    parameters: dict[str, int]
    stream: Range
    shared: Shared
    shape: Sequence[int]
    expected: Array | None

    @property
    def dims(self) -> int:
        """Numbers of the draw."""
        return math.prod(self.shape)

    def get(self, name: str, least: int, most: int) -> int:
        """A parameter."""
        value = self.parameters.get(name, -1)
        need(least <= value <= most, f"the coder's parameter {name} is missing or out of range")
        return value

    def rates(self) -> Array:
        """The map of rates, which is read now."""
        return read_rates(self.stream, self.shape, self.expected)

    def starts(self) -> Array:
        """Where each dimension begins to read the codebook."""
        return (self.shared.child(1).bits(self.dims) >> np.uint64(15)).astype(np.int64)

    def book(self) -> Array:
        """The codebook, 2^17 normals."""
        return normals_of(self.shared.child(0).bits(1 << 17))


def decode_message(
    coder: Coder, stream: Range, shared: Shared, shape: Sequence[int], expected: Array | None
) -> Array:
    """A message of a coder: a draw in units of its prior, flat, float32."""
    if coder.name not in CODERS:
        raise LacError(f"the file uses the coder {coder.name!r}: {ELSEWHERE}")
    return CODERS[coder.name](Message(coder.parameters, stream, shared, shape, expected))


def decode_importance(m: Message) -> Array:
    """Groups of dimensions, an index each."""
    bits, limit = m.get("index_bits", 1, 16), m.get("group_limit", 1, 4096)
    where, outliers = read_outliers(m.stream, m.dims)
    near = np.setdiff1d(np.arange(m.dims), where)
    sizes = m.stream.adaptive(m.stream.integer(near.size), Adaptive(limit)) + 1
    need(sizes.sum() == near.size, "the sizes of groups do not add up: the file is damaged")
    indices = np.array(m.stream.uniform([1 << bits] * sizes.size), np.int64)
    u = np.zeros(m.dims, np.float32)
    u[near] = m.book()[m.starts()[near] + np.repeat(indices, sizes) & (1 << 17) - 1]
    u[where] = outliers
    return u


def decode_greedy(m: Message) -> Array:
    """Sums of shards, an index for each shard of a block."""
    bits, block = m.get("shard_bits", 1, 16), m.get("block", 1, 65536)
    where, outliers = read_outliers(m.stream, m.dims)
    shards = m.stream.adaptive(-(-m.dims // block), Adaptive(256))
    chosen = np.array(m.stream.uniform([1 << bits] * int(shards.sum())), np.int64)
    book, starts, each = m.book(), m.starts(), shards.repeat(block)[: m.dims]
    first = (np.cumsum(shards) - shards).repeat(block)[: m.dims]
    u = np.where(each == 0, book[starts], np.float32(0))
    root = np.float32(1) * (1 / np.sqrt(np.maximum(each, 1))).astype(np.float32)
    for k in range(int(shards.max(initial=0))):
        d = np.flatnonzero(each > k)
        place = (starts[d] + k * 40503 & (1 << 17) - 1) + chosen[first[d] + k]
        u[d] += root[d] * book[place & (1 << 17) - 1]
    u[where] = outliers
    return u


def decode_rejection(m: Message) -> Array:
    """An index for each dimension; the last symbol means a number of 16 bits."""
    count = 1 << m.get("budget", 1, 11)
    chosen = m.stream.adaptive(m.dims, Adaptive(count + 1, limit=1 << 18))
    places = np.arange(m.dims) * count + np.minimum(chosen, count - 1)
    u, out = normals_of(m.shared.child(0).at(places)), np.flatnonzero(chosen == count)
    u[out] = read_numbers(m.stream, out.size)
    return u


def decode_bisecting(m: Message) -> Array:
    """A node of the tree over the prior's distribution function for each dimension."""
    deepest = m.get("depth_limit", 1, 30) if "depth_limit" in m.parameters else 30
    where, outliers = read_outliers(m.stream, m.dims)
    rates = m.rates() if m.stream.bit() else np.zeros(m.dims, np.int64)
    classes, depths = np.searchsorted(RATES, rates) // 4, np.zeros(m.dims, np.int64)
    for one in np.unique(classes):
        there = np.flatnonzero(classes == one)
        depths[there] = m.stream.adaptive(there.size, Adaptive(deepest + 1))
    paths = read_split(m.stream, depths)
    heap = np.arange(m.dims) << 31 | (1 << depths) | paths
    words = paths << 32 - depths | m.shared.child(0).at(heap) >> depths
    u = quantiles(words)
    u[where] = outliers
    return u


def read_split(stream: Range, widths: Array) -> Array:
    """Integers of given widths: all upper parts, then all lower 16 bits."""
    high = stream.uniform((1 << np.maximum(widths - 16, 0)).tolist())
    low = stream.uniform((1 << np.minimum(widths, 16)).tolist())
    return np.array(high, np.int64) << 16 | np.array(low, np.int64)


def quantiles(words: Array) -> Array:
    """Normal quantiles at (word + 1/2) / 2^32, interpolated between the table's; float32."""
    table = normal_table().astype(np.float64)
    v = np.where(words < 1 << 31, (1 << 31) - 1 - words, words - (1 << 31))
    level, x = np.zeros(v.size, np.int64), np.full(v.size, 16)
    for deeper, (bits, mask) in enumerate(((9, 0xFFFFFF), (2, 0x1FFFF)), start=1):
        outer = v >> x >= 32512
        outer &= level == deeper - 1
        v = np.where(outer, v & mask, v)
        level, x = np.where(outer, deeper, level), np.where(outer, bits, x)
    place = 2 * v + 1 - (1 << x)
    cell, fraction = place >> x + 1, (place & (2 << x) - 1) * 0.5 ** (x + 1)
    high = table[level, np.minimum(cell + 1, 32767)]
    low = table[level, np.maximum(cell, 0)]
    low = np.where(cell >= 0, low, np.where(level == 0, -high, high))
    value = low + (high - low) * fraction
    return np.where(words < 1 << 31, -value, value).astype(np.float32)


def decode_blocks(m: Message) -> Array:
    """Blocks of dimensions, an index for each; index 0 means numbers of 16 bits."""
    budget, cap = m.get("budget", 1, 64), m.get("cap_bits", 1, 20)
    spare = m.parameters.get("spare_bits")
    width = min(cap + 6, 26) if spare is None else min(cap + spare, 25) + 1
    where, outliers = read_outliers(m.stream, m.dims)
    order = order_of(rates := m.rates(), m.shared)
    order = order[np.isin(order, where, invert=True)]
    first, depths = halve(cut(rates[order].tolist(), budget), m.stream)
    lengths, context = np.zeros(depths.size, np.int64), np.minimum(depths, 3)
    for one in range(4):
        there = np.flatnonzero(context == one)
        lengths[there] = m.stream.adaptive(there.size, Adaptive(width + 1))
    below = np.maximum(lengths - 1, 0)
    indices = np.where(lengths > 0, 1 << below | read_split(m.stream, below), 0)
    sizes, u = np.diff(first), np.zeros(m.dims, np.float32)
    block = np.repeat(np.arange(sizes.size), sizes)
    place = block << 34 | np.maximum(indices[block], 1) - 1 << 8
    u[order] = normals_of(
        m.shared.child(0).at((place << 2) + np.arange(order.size) - first[:-1][block])
    )
    escaped = order[indices[block] == 0]
    u[escaped] = read_numbers(m.stream, escaped.size)
    u[where] = outliers
    return u


def cut(rates: list[int], budget: int) -> Array:
    """First dimension of each block, and the end."""
    first, total = [0], 0
    for d, rate in enumerate(rates):
        cost = 4 * rate + 1
        if d > first[-1] and (total + cost > budget << 10 or d - first[-1] == 1024):
            first.append(d)
            total = 0
        total += cost
    return np.array(first + [len(rates)] * bool(rates), np.int64)


def halve(first: Array, stream: Range) -> tuple[Array, Array]:
    """Read which blocks are halved, depth by depth; returns bounds and depths."""
    depths, active = np.zeros(first.size - 1, np.int64), np.ones(first.size - 1, bool)
    for _ in range(10):
        nodes = np.flatnonzero(active & (np.diff(first) > 1))
        if not nodes.size:
            break
        split = nodes[stream.adaptive(nodes.size, Adaptive(2)) == 1]
        copies = np.ones(depths.size, np.int64)
        copies[split] = 2
        active, depths = np.repeat(copies == 2, copies), np.repeat(depths + copies - 1, copies)
        first = np.sort(np.concatenate([first, first[split] + first[split + 1] >> 1]))
    return first, depths


def decode_default(m: Message) -> Array:
    """The trellis coder."""
    return decode_trellis(m.parameters, m.stream, m.shared, m.shape, m.expected)


CODERS: dict[str, Callable[[Message], Array]] = {
    "trellis": decode_default,
    "importance": decode_importance,
    "greedy": decode_greedy,
    "rejection": decode_rejection,
    "a-star-bisecting": decode_bisecting,
    "greedy-rejection-bisecting": decode_bisecting,
    "greedy-poisson-bisecting": decode_bisecting,
    "ordered": decode_blocks,
    "poisson-functional": decode_blocks,
    "a-star": decode_blocks,
    "greedy-rejection": decode_blocks,
    "greedy-poisson": decode_blocks,
}
