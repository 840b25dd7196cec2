"""Tensors that are stored as one draw from their posterior: one section for all of them.

The decoder knows the prior N(0, s²) of each tensor and has the same shared randomness as the
encoder; a relative entropy coder encodes the draw in about KL(posterior || prior) bits. A tensor is
cut into blocks of rows, which are encoded one after the other. The bits of a block are stored as
one number: the KL differs from weight to weight, but a search over a shuffled block averages that.

Source: Havasi, Peharz & Hernández-Lobato 2018 (MIRACLE); Flamich 1.7.3.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor
from torch.distributions import Normal

from laconic.codecs.base import CoderSetting
from laconic.codecs.network.manifest import Entry, Method
from laconic.coding.queue.stream import QueueDecoder, QueueEncoder
from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy import Receipt, RelativeEntropyCoder
from laconic.coding.relative_entropy.standardise import standardise
from laconic.container import FieldReader, FieldWriter
from laconic.distributions.rated import RatedNormal
from laconic.errors import CodingError, CorruptFileError, InputError

NUMBERS_PER_BYTE: Final = 1 << 15
"""Numbers that a byte of the section may hold, so that a short file cannot need much memory."""

MOST_NUMBERS: Final = 1 << 31
MOST_BITS: Final = 32
"""Most bits for a number, on average over a block."""


@dataclass(frozen=True)
class Draws:
    """The encoded draws.

    Attributes:
        entries: of the tensors, in the order of encoding.
        data: the section; empty where there are none.
    """

    entries: tuple[Entry, ...] = ()
    data: bytes = b""


def block_rows(entry: Entry) -> list[slice]:
    """Rows (along the first axis) of each block."""
    bounds = [entry.shape[0] * k // entry.blocks for k in range(entry.blocks + 1)]
    return [slice(*pair) for pair in pairwise(bounds)]


def _prior(count: int, scale: float, bits: int) -> RatedNormal:
    """A block's prior, with an expected rate of `bits` bits, spread evenly in units of 1/256."""
    base, extra = divmod(256 * bits, count)
    steps = torch.arange(count + 1) * extra // count
    zeros = torch.zeros(count, dtype=torch.float64)
    return RatedNormal(zeros, torch.full_like(zeros, scale), base + steps.diff())


class DrawsWriter:
    """Encodes tensors one after the other, each block by block.

    Args:
        coder: of the draws.
        seed: of the shared randomness; block k uses its child k.
    """

    def __init__(self, coder: RelativeEntropyCoder, seed: int = 0) -> None:
        self.coder, self.seed = coder, seed
        self._share = coder.config().get("rate_percent", 100) / 100
        self._stream, self._entries, self._done = QueueEncoder(), list[Entry](), 0

    def begin(
        self, name: str, shape: tuple[int, ...], prior_scale: float, blocks: int = 1
    ) -> Entry:
        """The next tensor.

        Args:
            name: of the tensor.
            shape: of the tensor; one axis or more.
            prior_scale: of the prior N(0, s²) for all its numbers; the entry has its first eight
                bits, since more would take bytes and save none.
            blocks: draws that it is made of, at most its rows.

        Raises:
            InputError: the tensor is empty, or the scale is 0, NaN or infinite.
        """
        scale = float(torch.tensor(prior_scale).bfloat16())
        count = math.prod(shape)
        if not (shape and 0 < count <= MOST_NUMBERS and math.isfinite(scale) and scale > 0):
            raise InputError(f"{name!r}, {shape}: cannot be drawn under a prior of scale {scale:g}")
        if not 1 <= blocks <= shape[0]:
            raise InputError(f"{name!r} has {shape[0]} rows: cut it into 1 to so many blocks")
        entry = Entry(name, "F32", shape, Method.DRAWN, prior_scale=scale, blocks=blocks)
        self._entries.append(entry)
        return entry

    def encode(self, target: Normal) -> tuple[Tensor, Receipt]:
        """Write one draw of the next block of the tensor begun last.

        Args:
            target: the posterior of the block's rows, in their shape.

        Returns:
            The draw as it will be decoded, float32; what it cost.

        Raises:
            InputError: a mean or scale is NaN, infinite or absurd.
        """
        entry, loc, scale = self._entries[-1], target.loc, target.scale
        plain = [x.detach().cpu().double().reshape(-1) for x in (loc, scale)]
        q, before = Normal(plain[0], plain[1], validate_args=False), self._stream.bits
        try:
            prior = _prior(len(plain[0]), entry.prior_scale, 0)
            kl_bits = float(standardise(q, prior).kl_bits.sum())
            bits = min(math.ceil(kl_bits * self._share), MOST_BITS * len(plain[0]))
            self._stream.integer(bits)
            shared = SharedRandomness(self.seed).child(self._done)
            prior = _prior(len(plain[0]), entry.prior_scale, bits)
            draw, receipt = self.coder.encode(q, prior, self._stream, shared)
        except CodingError as error:
            raise InputError(f"tensor {entry.name!r} cannot be drawn: {error}") from error
        self._done += 1
        sizes = {"block sizes": self._stream.bits - before - receipt.bits}
        receipt = replace(receipt, parts={**receipt.parts, **sizes})
        return draw.float().reshape(loc.shape), receipt

    def finish(self) -> Draws:
        """All encoded draws.

        Raises:
            InputError: there are more numbers in a byte than a reader accepts.
        """
        if not self._entries:
            return Draws()
        fields = FieldWriter()
        CoderSetting.of(self.coder).write(fields)
        fields.integer(self.seed)
        data = fields.finish() + self._stream.finish()
        count = sum(entry.count for entry in self._entries)
        if count > min(MOST_NUMBERS, NUMBERS_PER_BYTE * len(data)):
            raise InputError(f"{count} numbers in {len(data)} bytes: keep these tensors otherwise")
        return Draws(tuple(self._entries), data)


class DrawsReader:
    """Reads what a `DrawsWriter` wrote, in the same order.

    Args:
        data: the section.
        count: numbers in all tensors that it holds.

    Raises:
        CorruptFileError: the section is damaged.
        UnsupportedFileError: it needs a coder or a parameter that this laconic lacks.
    """

    def __init__(self, data: bytes, count: int) -> None:
        if count > min(MOST_NUMBERS, NUMBERS_PER_BYTE * len(data)):
            raise CorruptFileError(f"{count} numbers are drawn in {len(data)} bytes: too many")
        fields = FieldReader(data, "the section of draws")
        self.coder = CoderSetting.read(fields).make()
        self.seed = fields.integer(what="the seed")
        self._stream = QueueDecoder(fields.raw(fields.left))
        self._done = 0

    def read(self, entry: Entry) -> Tensor:
        """The next tensor, float32.

        Raises:
            CorruptFileError: its draw is damaged.
        """
        width = entry.matrix[1]
        blocks = [
            self._read_block((rows.stop - rows.start) * width, entry.prior_scale)
            for rows in block_rows(entry)
        ]
        return torch.cat(blocks).reshape(entry.shape)

    def _read_block(self, count: int, scale: float) -> Tensor:
        prior = _prior(count, scale, self._stream.integer(MOST_BITS * count))
        shared = SharedRandomness(self.seed).child(self._done)
        self._done += 1
        return self.coder.decode(prior, self._stream, shared).float()
