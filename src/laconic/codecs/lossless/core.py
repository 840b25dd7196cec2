"""What the lossless codec requires of its core: equally large pictures to bytes and back.

A *group* is N equally large pictures of one kind: pictures of an archive, or tiles of one picture.
Their samples are `bool` for bilevel pictures, `uint8`, or `uint16` for grey of 16 bits, shape
`(N, height, width, colours)` with 1 or 3 colours. In a file a group is its `start`, then the data
of its chains, so what a cut leaves is a prefix of the group's pictures.
"""

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

Tick = Callable[[int], None]
"""Called with the number of pictures or tiles just done."""
Samples = NDArray[np.bool_] | NDArray[np.uint8] | NDArray[np.uint16]

DTYPES: Final[dict[int, DTypeLike]] = {1: np.bool_, 8: np.uint8, 16: np.uint16}
"""Type of samples by their bits."""


@dataclass(frozen=True)
class Chain:
    """A contiguous run of a group's pictures, each coded with the bits of the one before.

    Attributes:
        count: pictures in it.
        alone: the last so many borrow no bits, since a chain is written from its end; their
            latents, if any, are in the group's `start`.
        data: what it takes, the first picture first.
    """

    count: int
    alone: int
    data: bytes


class Costs(NamedTuple):
    """What a group should take, in bits.

    Attributes:
        ideal_bits: negative evidence lower bound under the model.
        net_bits: what the coder's integers make of it: growth of the stack without initial bits.
    """

    ideal_bits: float = 0.0
    net_bits: float = 0.0


NO_COSTS: Final = Costs()


@dataclass(frozen=True)
class EncodedGroup:
    """A group in bytes.

    Attributes:
        start: relative entropy coded latents of the pictures that start the chains; may be empty.
        chains: in the pictures' order.
        costs: a record for `laconic info`; not there when decoding.
    """

    start: bytes
    chains: tuple[Chain, ...]
    costs: Costs = NO_COSTS


def silent(done: int) -> None:
    """A `Tick` that does nothing."""


class TileCounter:
    """Counts tiles for a progress bar.

    Args:
        progress: called with tiles done and tiles in all.
        total: tiles in all.
    """

    def __init__(self, progress: Callable[[int, int], None], total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def add(self, count: int) -> None:
        """Tiles just done."""
        self.done += count
        self.progress(self.done, self.total)


class GroupCoder(Protocol):
    """Codes groups with one model."""

    def encode(self, pixels: Samples, tick: Tick = silent) -> EncodedGroup:
        """Encode pictures of shape `(N, height, width, colours)`; `tick` follows the work.

        Raises:
            InputError: the model codes no pictures of this kind.
        """
        ...

    def decode(
        self,
        data: EncodedGroup,
        count: int,
        height: int,
        width: int,
        colours: int,
        bits: int,
        tick: Tick = silent,
        wanted: Container[int] | None = None,
    ) -> Iterator[Samples]:
        """Decode the pictures in order, `(height, width, colours)` each.

        Those whose numbers are not `wanted` may be blank; None: all are wanted. `tick` is called
        as they are decoded, which may be long before they are given.

        Raises:
            CorruptFileError: where the data end too early; what was yielded before is good.
        """
        ...
