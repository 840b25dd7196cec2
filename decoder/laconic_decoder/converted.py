"""Colour that was converted from luma and chroma (docs/format.md, "Conversion")."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .container import ELSEWHERE, Array, Fields, LacError, need

INNER = (1, 2, 3, 4, 7)
"""Methods that code components."""
Decode = Callable[[int, bytes, int], Array]
"""A method, its bytes and the bits of its samples, to the samples."""


class Term(NamedTuple):
    """floor((factors . values + offset) / 2^shift)."""

    shift: int
    offset: int
    factors: list[int]


def read_program(fields: Fields) -> list[Term]:
    """The terms, none of which leaves 64 bits."""
    terms, sizes = [], [255, 255, 255]
    for _ in range(fields.integer(16, 3)):
        shift, offset = fields.integer(30), fields.signed()
        factors = [fields.signed() for _ in sizes]
        size = abs(offset) + sum(abs(f) * s for f, s in zip(factors, sizes, strict=True))
        need(size <= 1 << 62, "a conversion leaves 64 bits")
        terms.append(Term(shift, offset, factors))
        sizes.append((size >> shift) + 1)
    return terms


def convert(terms: list[Term], components: Array) -> Array:
    """Red, green and blue of a row `(width, 3)`."""
    values = [components[:, k].astype(np.int64) for k in range(3)]
    for shift, offset, factors in terms:
        total = np.full_like(values[0], offset)
        for factor, value in zip(factors, values, strict=True):
            total += factor * value
        values.append(total >> shift)
    return np.clip(np.stack(values[-3:], 1), 0, 255).astype(np.uint8)


def add_exceptions(packed: bytes, colours: Array) -> None:
    """Correct listed pixels of `(pixels, 3)`."""
    most = len(colours) // 16
    try:
        fields = Fields(zlib.decompressobj(-15).decompress(packed, 10 * (most + 1)))
    except zlib.error as error:
        raise LacError(f"the exceptions are damaged: {error}") from error
    place = -1
    for _ in range(fields.integer(most)):
        place += fields.integer() + 1
        need(place < len(colours), "an exception is outside the picture")
        colours[place] += np.array(fields.integers(3, 255), np.uint8)
    need(not fields.rest(), "there are bytes after the exceptions")


def decode_converted(data: bytes, decode: Decode) -> Array:
    """A picture whose samples are components, and alpha."""
    fields = Fields(data)
    terms = read_program(fields)
    packed = fields.take(fields.integer())
    method = fields.integer()
    need(method in INNER, f"components of method {method}: {ELSEWHERE}")
    samples = decode(method, fields.rest(), 8).copy()
    for row in samples:
        row[:, :3] = convert(terms, row[:, :3])
    colours = np.ascontiguousarray(samples[..., :3])
    add_exceptions(packed, colours.reshape(-1, 3))
    samples[..., :3] = colours
    return samples
