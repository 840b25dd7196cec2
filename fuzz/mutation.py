"""Alter valid input, with the checksums of .lac files repaired.

All choices come from a `random.Random`: the same seed gives the same inputs.
"""

import zlib
from collections.abc import Callable, Sequence
from random import Random

from laconic.container import Section, pack, unpack
from laconic.errors import LaconicError

MAX_BYTES = 1 << 20
"""Longest input; alterations that insert bytes stop there."""
INFLATED_BYTES = 1 << 22
"""Longest content of a zlib stream that is altered inside."""

BOUNDS = (
    b"\0", b"\x01", b"\x7f", b"\x80", b"\xff", b"\xff" * 9 + b"\x01", b"\xff\xff\x7f",
    b"\x80\x80\x80\x01",
)  # fmt: skip
"""Bytes that are the ends of ranges: of a byte, of a LEB128 integer, of 21 bits."""


def _flip(data: bytearray, source: Random, _: bytes) -> None:
    data[source.randrange(len(data))] ^= 1 << source.randrange(8)


def _replace(data: bytearray, source: Random, _: bytes) -> None:
    place, value = source.randrange(len(data)), source.choice(BOUNDS)
    data[place : place + len(value)] = value


def _insert(data: bytearray, source: Random, _: bytes) -> None:
    place = source.randrange(len(data) + 1)
    data[place:place] = source.choice((source.choice(BOUNDS), source.randbytes(4)))


def _delete(data: bytearray, source: Random, _: bytes) -> None:
    place = source.randrange(len(data))
    del data[place : place + source.choice((1, 1, 2, 5, 40))]


def _cut(data: bytearray, source: Random, _: bytes) -> None:
    del data[source.randrange(len(data)) :]


def _repeat(data: bytearray, source: Random, _: bytes) -> None:
    place = source.randrange(len(data))
    part = bytes(data[place : place + source.choice((1, 3, 16, 100))])
    data[place:place] = part * source.choice((1, 2, 20))


def _splice(data: bytearray, source: Random, other: bytes) -> None:
    if other:
        place, there = source.randrange(len(data)), source.randrange(len(other))
        length = source.choice((2, 8, 32, 200))
        data[place : place + length] = other[there : there + length]


ALTERATIONS: Sequence[Callable[[bytearray, Random, bytes], None]] = (
    _flip, _flip, _replace, _replace, _insert, _delete, _cut, _repeat, _splice,
)  # fmt: skip


def alter_bytes(data: bytes, source: Random, other: bytes = b"") -> bytes:
    """A few alterations of any bytes.

    Args:
        data: valid input.
        source: of all choices.
        other: another valid input, of which parts may be copied in.
    """
    result = bytearray(data)
    for _ in range(source.choice((1, 1, 1, 2, 3, 8))):
        if not result:
            break
        source.choice(ALTERATIONS)(result, source, other)
        del result[MAX_BYTES:]
    return bytes(result)


def alter_stream(data: bytes, source: Random, other: bytes) -> bytes:
    """Alter the content of a zlib stream, or the bytes where they are none."""
    if data[:1] != b"\x78" or source.random() < 0.2:
        return alter_bytes(data, source, other)
    try:
        inflated = zlib.decompressobj().decompress(data, INFLATED_BYTES)
    except zlib.error:
        return alter_bytes(data, source, other)
    return zlib.compress(alter_bytes(inflated, source, other))


def alter_file(data: bytes, source: Random, other: bytes = b"") -> bytes:
    """Alter a .lac file behind its checksums: the codec's header, a section, or their order.

    Args:
        data: a valid .lac file; anything else is altered as bytes.
        source: of all choices.
        other: another valid .lac file.
    """
    try:
        file = unpack(data)
    except LaconicError:
        return alter_bytes(data, source, other)
    header, sections = file.header, list(file.sections)
    kind = source.random()
    if kind < 0.05:
        return alter_bytes(data, source, other)
    if kind < 0.5 or not sections:
        header = alter_bytes(header, source, other)
    elif kind < 0.9:
        index = source.randrange(len(sections))
        old = sections[index]
        sections[index] = Section(old.name, alter_stream(old.data, source, other))
    else:
        _alter_order(sections, source)
    return pack(file.codec, header, sections)


def _alter_order(sections: list[Section], source: Random) -> None:
    """Remove, repeat or swap sections."""
    first, second = source.randrange(len(sections)), source.randrange(len(sections))
    match source.randrange(3):
        case 0:
            del sections[first]
        case 1:
            sections.insert(first, sections[second])
        case _:
            sections[first], sections[second] = sections[second], sections[first]
