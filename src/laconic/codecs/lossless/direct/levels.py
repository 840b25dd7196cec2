"""Samples of 16 bits of which only some values occur, numbered: 12 or 8 bits in 16, for instance.

The values of a channel in ascending order are its *levels*; another method codes the numbers of the
levels, in 8 bits where no channel has more than 256. So values that do not occur cost nothing,
whatever the law: factors, bits that are repeated, curves.

Data: for each channel an integer: 0 without levels, the samples are the numbers; 1 the levels of
the channel before; else their count plus 1. Then an integer and so many bytes: a raw deflate stream
of integers, the levels' differences from the one before, less one (the first: from -1), channel
after channel. Then an integer, the bits of a number: 8 or 16; an integer, the other method; and its
bytes.
"""

import zlib
from collections.abc import Sequence
from functools import cache
from typing import ClassVar, Final, NamedTuple, cast, final

import numpy as np
from numpy.typing import NDArray

from laconic.codecs.lossless.core import Samples
from laconic.codecs.lossless.direct.base import SMALL, DirectMethod
from laconic.codecs.lossless.direct.contexts import Contexts
from laconic.codecs.lossless.direct.plain import Plain
from laconic.codecs.lossless.direct.png import Png
from laconic.codecs.lossless.direct.predicted import Predicted
from laconic.codecs.lossless.direct.sketch import Sketch
from laconic.codecs.lossless.direct.squares import Squares
from laconic.codecs.lossless.direct.webp import WebP
from laconic.container import FieldReader, FieldWriter
from laconic.errors import CorruptFileError, UnsupportedFileError

VALUES: Final = 1 << 16
FEW: Final = 256
"""Levels that are numbered in 8 bits."""
REPEATS: Final = 8
"""Samples for each level at least, where levels are worth their table."""
PARTS: Final = 16
"""Of a bit, in estimates."""
NONE, SAME, OWN = 0, 1, 2
"""Of a channel: no levels, those of the channel before, or its own."""
_MOST_BYTES: Final = 3
"""Of an integer below 2^16."""
INNER: Final[dict[int, DirectMethod]] = {
    method.number: method for method in (Plain(), WebP(), Png(), Contexts(), Predicted(), Squares())
}
"""Methods that code the numbers."""
Table = NDArray[np.uint16]


class Choice(NamedTuple):
    """Levels of each channel, None without, and how many of the first channels share a table."""

    tables: tuple[Table | None, ...]
    sharing: int = 1


@final
class Levels(DirectMethod):
    """16 bits, where that saves bytes."""

    number: ClassVar[int] = 6
    name: ClassVar[str] = "levels"

    def encode(self, samples: Samples, effort: int) -> bytes | None:
        """Write samples; None where they have another depth, or too many levels."""
        if samples.dtype != np.uint16:
            return None
        deep = cast(NDArray[np.uint16], samples)
        choice = choose_levels(deep) or Choice((None,) * samples.shape[2])
        numbers = _number(deep, choice)
        writer = FieldWriter()
        _write_tables(choice, writer)
        bits, number, data = _encode_numbers(numbers, effort)
        writer.integer(bits)
        writer.integer(number)
        return writer.finish() + data

    def decode(self, data: bytes, height: int, width: int, channels: int, bits: int) -> Samples:
        """Read them back."""
        if bits != 16:
            raise CorruptFileError(f"samples of {bits} bits have no levels")
        reader = FieldReader(data, "the picture")
        tables = _read_tables(reader, channels)
        depth = reader.integer(16, "the bits of a number")
        if depth not in (8, 16):
            raise CorruptFileError(f"the numbers of levels have 8 or 16 bits, not {depth}")
        number = reader.integer(what="the method of the numbers")
        if number not in INNER:
            raise UnsupportedFileError(
                f"the file has levels coded by method {number}, which this laconic does not know; "
                "update laconic"
            )
        rest = reader.raw(reader.left)
        numbers = INNER[number].decode(rest, height, width, channels, depth)
        samples = numbers.astype(np.uint16)
        for channel, table in enumerate(tables):
            if table is not None:
                if int(samples[..., channel].max()) >= len(table):
                    raise CorruptFileError("a sample has a level that is not there")
                samples[..., channel] = table[samples[..., channel]]
        return samples


def choose_levels(samples: NDArray[np.uint16]) -> Choice | None:
    """Levels for channels that gain by them; None where none does.

    Either all colours share one table, or each has its own; alpha always has its own.
    """
    height, width, channels = samples.shape
    colours = channels - (channels % 2 == 0)
    used = [_values(samples[..., k]) for k in range(channels)]
    own = [_best(one, height * width) for one in used]
    if colours > 1:
        union = np.unique(np.concatenate(used[:colours]))
        shared, table = _best(union, height * width * colours)
        if table is not None and shared >= sum(gain for gain, _ in own[:colours]):
            own[:colours] = [(shared, table)] * colours
            return Choice(tuple(one for _, one in own), colours)
    tables = tuple(table for _, table in own)
    return None if all(table is None for table in tables) else Choice(tables)


def _values(channel: NDArray[np.uint16]) -> Table:
    """The values that occur, in ascending order."""
    seen = np.zeros(VALUES, bool)
    seen[channel.reshape(-1)] = True
    return np.flatnonzero(seen).astype(np.uint16)


def _best(used: Table, samples: int) -> tuple[int, Table | None]:
    """About the bits that levels save, and the best levels; 0 and None where they save none.

    Levels are the used values, or all values of a law.
    """
    found: list[tuple[int, Table | None]] = [(0, None)]
    if samples >= REPEATS * len(used):
        found.append((_gain(used, used, samples), used))
    for law in _laws():
        if np.isin(used, law, assume_unique=True).all():
            found.append((_gain(law, used, samples), law))
            break
    return max(found, key=lambda one: one[0])


def _gain(levels: Table, used: Table, samples: int) -> int:
    """About the bits that so many samples save by levels, less those of the table."""
    low, high = int(used[0]), int(used[-1])
    count, extent = int(((levels >= low) & (levels <= high)).sum()), high - low + 1
    bits = (extent**PARTS // count**PARTS).bit_length() - 1  # Times `PARTS`.
    return samples * bits // PARTS - 8 * len(_deflate([levels]))


@cache
def _laws() -> tuple[Table, ...]:
    """All values of numbers of 1 to 15 bits in 16, by the usual laws, fewer bits first."""
    found = []
    for bits in range(1, 16):
        most = (1 << bits) - 1
        numbers = np.arange(most + 1, dtype=np.int64)
        repeated = np.zeros_like(numbers)
        for k in range(1, 17):
            repeated += (numbers << 16) >> (bits * k)
        laws = (
            numbers << (16 - bits),
            repeated,
            (numbers * (VALUES - 1) + most // 2) // most,
            numbers * (VALUES - 1) // most,
        )
        found += [law.astype(np.uint16) for law in laws]
    return tuple(found)


def _number(samples: NDArray[np.uint16], choice: Choice) -> NDArray[np.uint16]:
    """Numbers of levels."""
    numbers = samples.copy()
    for channel, table in enumerate(choice.tables):
        if table is not None:
            places = np.zeros(VALUES, np.uint16)
            places[table] = np.arange(len(table))
            numbers[..., channel] = places[samples[..., channel]]
    return numbers


def _encode_numbers(numbers: NDArray[np.uint16], effort: int) -> tuple[int, int, bytes]:
    """Bits of a number, the method, and the bytes."""
    found = []
    for method in (Plain(), Predicted()):
        if data := method.encode(numbers, effort):
            found.append((16, method.number, data))
    if int(numbers.max()) < FEW:
        small = numbers.astype(np.uint8)
        few = small.shape[0] * small.shape[1] <= SMALL
        drawn = few or Sketch.of(small).drawn
        for other in (WebP(), Contexts()) if drawn else (WebP(), Squares()):
            if data := other.encode(small, effort):
                found.append((8, other.number, data))
    return min(found, key=lambda one: len(one[2]))


def _deflate(tables: Sequence[Table]) -> bytes:
    """The differences of levels, as a raw deflate stream."""
    fields = FieldWriter()
    for table in tables:
        for step in np.diff(table.astype(np.int64), prepend=-1).tolist():
            fields.integer(step - 1)
    packer = zlib.compressobj(9, wbits=-15)
    return packer.compress(fields.finish()) + packer.flush()


def _write_tables(choice: Choice, writer: FieldWriter) -> None:
    written = []
    for channel, table in enumerate(choice.tables):
        if table is None or 0 < channel < choice.sharing:
            writer.integer(NONE if table is None else SAME)
            continue
        writer.integer(len(table) + OWN - 1)
        written.append(table)
    data = _deflate(written)
    writer.integer(len(data))
    writer.raw(data)


def _read_tables(reader: FieldReader, channels: int) -> list[Table | None]:
    """The levels of each channel, or None."""
    kinds = [reader.integer(VALUES + OWN - 1, "the number of levels") for _ in range(channels)]
    data = reader.raw(reader.integer(reader.left, "the length of the levels"))
    total = sum(kind - OWN + 1 for kind in kinds if kind >= OWN)
    try:
        plain = zlib.decompressobj(-15).decompress(data, _MOST_BYTES * total + 1)
    except zlib.error as error:
        raise CorruptFileError(f"the levels are damaged: {error}") from error
    fields, tables = FieldReader(plain, "the levels"), list[Table | None]()
    for kind in kinds:
        if kind == NONE:
            tables.append(None)
        elif kind == SAME:
            if not tables:
                raise CorruptFileError("the first channel has the levels of one before it")
            tables.append(tables[-1])
        else:
            steps = [fields.integer(VALUES, "a level") for _ in range(kind - OWN + 1)]
            values = np.cumsum(np.array(steps, np.int64) + 1) - 1
            if values[-1] >= VALUES:
                raise CorruptFileError("a level has more than 16 bits")
            tables.append(values.astype(np.uint16))
    fields.finish()
    return tables
