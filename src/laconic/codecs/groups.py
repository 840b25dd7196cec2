"""What the lossless codec codes at once: equally large pictures, and the bytes that they become."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]
"""`(pictures, h, w, colours)`, uint8, or uint16 where there is one colour."""


class GroupShape(NamedTuple):
    """How many pictures, and how large.

    Attributes:
        count: pictures.
        height: rows.
        width: columns.
        colours: 1 or 3.
        bits: of a sample, 8 or 16.
    """

    count: int
    height: int
    width: int
    colours: int
    bits: int

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """Of a sample."""
        return np.uint16 if self.bits > 8 else np.uint8

    @classmethod
    def of(cls, pixels: Pixels) -> "GroupShape":
        """Of an array of pictures."""
        count, height, width, colours = pixels.shape
        return cls(count, height, width, colours, 8 * pixels.dtype.itemsize)


@dataclass(frozen=True)
class Chain:
    """A run of pictures on one stack.

    Attributes:
        count: pictures, in order.
        alone: the last so many of them need no initial bits: their latents, if any, are in the
            group's `start`.
        data: the stack, top first: a cut loses pictures at the end alone.
    """

    count: int
    alone: int
    data: bytes


class Costs(NamedTuple):
    """What a group was worth and what it took, in bits.

    Attributes:
        ideal_bits: negative ELBO at the latents told: KL and -log2 p(x | z).
        pixel_bits: the part of it that is -log2 p(x | z).
        start_bits: written for the latents of pictures that stand alone.
        start_ideal_bits: the KL of those.
    """

    ideal_bits: float = 0.0
    pixel_bits: float = 0.0
    start_bits: float = 0.0
    start_ideal_bits: float = 0.0

    def plus(self, other: "Costs") -> "Costs":
        """Both together."""
        return Costs(*(a + b for a, b in zip(self, other, strict=True)))


@dataclass(frozen=True)
class EncodedGroup:
    """The bytes of a group.

    Attributes:
        start: relative entropy coded latents of the pictures that stand alone.
        chains: consecutive runs of pictures.
        costs: what the encoder counted; a decoder does not need them.
    """

    start: bytes
    chains: tuple[Chain, ...]
    costs: Costs = Costs()


class GroupCoder(Protocol):
    """Codes equally large pictures together."""

    def encode(self, pixels: Pixels) -> EncodedGroup:
        """Write pictures."""
        ...

    def decode(self, group: EncodedGroup, shape: GroupShape) -> Iterator[Pixels]:
        """Yield pictures `(h, w, colours)` in order.

        Raises:
            CorruptFileError: the data end; whatever was yielded before is good.
        """
        ...
