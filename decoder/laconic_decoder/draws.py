"""Relative entropy coders (docs/format.md, "Draws")."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .coding import Adaptive, Range, Shared, edges_of, normals_of_ranks, unzigzag_all
from .container import Array, Fields, need


class Coder(NamedTuple):
    """A coder's name and parameters."""

    name: str
    parameters: dict[str, int]


def read_coder(fields: Fields) -> Coder:
    """A coder and its parameters."""
    name = fields.word()
    count = fields.integer(64)
    return Coder(name, {fields.word(): fields.integer() for _ in range(count)})


RATES = np.array(
    [
        *(0, 2, 3, 4, 6, 8, 11, 15, 20, 27, 36, 48, 64, 80, 100, 124, 150, 180, 215, 256),
        *range(304, 1025, 48),
        *range(1088, 2049, 64),
    ]
)
CLASS_BOUNDS = np.array(
    [1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512, 724, 1024, 1448, 2048]
)
FACTORS = np.array([0, *(round(2 ** (12 + j / 4)) for j in range(-24, 13))])
FACTOR_STEPS = np.array([max(1, 256 >> (i + 1) // 2) for i in range(76)])


def read_factors(stream: Range, expected: Array) -> Array:
    """Rates of dimensions, 1/256 bit, from a factor for each class of expected rates."""
    classes = np.searchsorted(CLASS_BOUNDS, expected, side="right")
    there = np.flatnonzero(np.bincount(classes, expected, 23) > 0)
    steps = unzigzag_all(np.array(stream.symbols(there.size, edges_of(FACTOR_STEPS)), np.int64))
    chosen = 25 + np.cumsum(steps)
    need(((chosen >= 0) & (chosen < 38)).all(), "the map of rates is damaged")
    factors = np.zeros(23, np.int64)
    factors[there] = FACTORS[chosen]
    return expected * factors[classes] + 2048 >> 12


def read_tiles(stream: Range, shape: Sequence[int]) -> Array:
    """Rates of dimensions, 1/256 bit, from a class for each tile of each plane."""
    planes, height, width = (
        (math.prod(shape[:-2]), *shape[-2:]) if len(shape) > 2 else (1, 1, math.prod(shape))
    )
    tile = stream.uniform([13])[0]
    rows, columns = -(-height >> tile), -(-width >> tile)
    classes = np.zeros((planes, rows, columns), np.int64)
    models = [Adaptive(52) for _ in range(53)]
    for r in range(rows):
        for c in range(columns):
            left, up = classes[:, r, c - 1], classes[:, r - 1, c]
            near = (left + up + 1) // 2 + 1 if r and c else left + 1 if c else up + 1
            near = near if r or c else np.zeros(planes, np.int64)
            for context in np.unique(near):
                where = np.flatnonzero(near == context)
                classes[where, r, c] = stream.adaptive(where.size, models[context])
            if not (r or c):
                classes[:, 0, 0] = np.cumsum(classes[:, 0, 0]) % 52
    side = 1 << tile
    return RATES[classes].repeat(side, 1)[:, :height].repeat(side, 2)[:, :, :width].reshape(-1)


def read_rates(stream: Range, shape: Sequence[int], expected: Array | None) -> Array:
    """The map of rates, 1/256 bit."""
    return read_tiles(stream, shape) if expected is None else read_factors(stream, expected)


def order_of(rates: Array, shared: Shared) -> Array:
    """Dimensions by rate, those of one rate shuffled."""
    key = rates << 32 | shared.child(5).bits(rates.size).astype(np.int64)
    return np.argsort(key, kind="stable")


def read_outliers(stream: Range, dims: int) -> tuple[Array, Array]:
    """Places of dimensions that are sent as numbers, and the numbers."""
    count = stream.integer(dims)
    where = np.cumsum(stream.integers(count) + 1) - 1
    need(not count or where[-1] < dims, "an outlier is outside its tensor: the file is damaged")
    return where, read_numbers(stream, count)


def read_numbers(stream: Range, count: int) -> Array:
    """Numbers of 16 bits, and the exponent that they share; float32."""
    if not count:
        return np.zeros(0, np.float32)
    exponent = stream.uniform([128])[0] - 40
    steps = np.array(stream.uniform([65536] * count)) - 32768
    return np.ldexp(steps.astype(np.float32), exponent - 15)


def decode_trellis(
    parameters: dict[str, int],
    stream: Range,
    shared: Shared,
    shape: Sequence[int],
    expected: Array | None,
) -> Array:
    """A message of the trellis coder."""
    dims, register = math.prod(shape), parameters.get("state_bits", 0)
    need(8 <= register <= 16, "the trellis coder has no register of this length")
    where, outliers = read_outliers(stream, dims)
    rates = read_rates(stream, shape, expected)
    rates[where] = 0
    order = order_of(rates, shared)
    order = order[np.searchsorted(rates[order], 1) :]
    sizes, widths = steps_of(rates[order].tolist())
    inputs = stream.uniform([1 << w for w in widths])
    states, state, mask = [], 0, (1 << register) - 1
    segment = 4096 if register > 14 else 2048
    for t, (value, width) in enumerate(zip(inputs, widths, strict=True)):
        state = ((state if t % segment else 0) << width | value) & mask
        states.append(state)
    content, width_of = np.zeros(dims, np.int64), np.ones(dims, np.int64)
    content[order], width_of[order] = np.repeat(states, sizes), np.repeat(widths, sizes)
    words = shared.child(0).bits(1 << 17).astype(np.int64)
    start = (shared.child(1).bits(dims) >> np.uint64(15)).astype(np.int64)
    place = (start >> width_of << width_of) + content & (1 << 17) - 1
    group = place >> width_of << width_of
    stratum = place + words[group + 1] & (1 << width_of) - 1
    u = normals_of_ranks(stratum << 32 - width_of | words[group] >> width_of)
    u[where] = outliers
    return u


def steps_of(rates: list[int]) -> tuple[list[int], list[int]]:
    """Cut dimensions into steps: dimensions and bits of each."""
    sizes, widths, credit, begun = [], [], 0, 0
    for d, rate in enumerate(rates):
        credit += rate
        if credit >= 256:
            widths.append(min(credit >> 8, 8))
            credit -= widths[-1] << 8
            sizes.append(d + 1 - begun)
            begun = d + 1
    if begun < len(rates):
        sizes.append(len(rates) - begun)
        widths.append(1)
    return sizes, widths
