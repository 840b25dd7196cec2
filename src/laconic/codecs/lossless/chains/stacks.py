"""The parts of chains of pictures: how pictures are dealt, the stacks, walks, and float targets."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Normal

from laconic.codecs.lossless.core import DTYPES, Samples
from laconic.coding.stack.ans import IntArray, Snapshot, Stack
from laconic.coding.stack.symbols import Codec
from laconic.distributions.rated import RatedNormal
from laconic.errors import CorruptFileError
from laconic.models.exact import ExactLadder, ExactLikelihood, Known, Shape, to_integers
from laconic.networks.fixed_point import arithmetic as fixed_point
from laconic.threads import each

LATENT_BITS: Final = 12
"""Latents are drawn from 2^LATENT_BITS bins of equal prior mass."""
MOST_CHAINS: Final = 16
CHAIN_SAMPLES: Final = 1 << 16
"""A chain has at least so many samples, if there are enough: it costs some bytes to begin one."""


class GroupShape(NamedTuple):
    """How many pictures, and how large.

    Attributes:
        pictures: their number.
        height: rows.
        width: columns.
        colours: 1 or 3.
        bits: of a sample, 1, 8 or 16.
    """

    pictures: int
    height: int
    width: int
    colours: int
    bits: int

    @classmethod
    def of(cls, pixels: Samples) -> "GroupShape":
        """Of an array of pictures."""
        count, height, width, colours = pixels.shape
        bits = next(bits for bits, dtype in DTYPES.items() if pixels.dtype == dtype)
        return cls(count, height, width, colours, bits)


@dataclass
class Lane:
    """One chain.

    Attributes:
        pictures: their numbers.
        stack: its bits.
        whole: false once a reader has found that the stack's data end too early.
        ideal_bits: negative ELBO of the pictures written so far.
    """

    pictures: range
    stack: Stack = field(default_factory=Stack)
    whole: bool = True
    ideal_bits: float = 0.0


class Lanes:
    """The stacks of several chains as one, for the combinators of `coding.bits_back`.

    Args:
        lanes: the chains.
        patient: a reader's: a chain whose data have ended gives blank symbols, takes none, and the
            others go on. A writer raises instead.
    """

    def __init__(self, lanes: Sequence[Lane], patient: bool = False) -> None:
        self.lanes, self.patient = lanes, patient

    def __len__(self) -> int:
        return len(self.lanes)

    @property
    def bits(self) -> float:
        """Content of all stacks in bits."""
        return sum(lane.stack.bits for lane in self.lanes)

    def snapshot(self) -> list[Snapshot]:
        """Remember the state of every stack."""
        return [lane.stack.snapshot() for lane in self.lanes]

    def restore(self, snapshot: list[Snapshot], /) -> None:
        """Go back to a state of every stack."""
        for lane, one in zip(self.lanes, snapshot, strict=True):
            lane.stack.restore(one)

    def push(self, codecs: Sequence[Codec[IntArray]], symbols: Sequence[IntArray]) -> None:
        """Put the symbols of every chain on its own stack."""
        for lane, codec, part in zip(self.lanes, codecs, symbols, strict=True):
            if lane.whole:
                codec.push(lane.stack, part)

    def pop(self, codecs: Sequence[Codec[IntArray]], blank: IntArray) -> list[IntArray]:
        """Take the symbols of every chain off its own stack; `blank` where the data have ended.

        Raises:
            CorruptFileError: the data of a chain end, and this is no reader.
        """
        return [self._pop(*one, blank) for one in zip(self.lanes, codecs, strict=True)]

    def _pop(self, lane: Lane, codec: Codec[IntArray], blank: IntArray) -> IntArray:
        if lane.whole:
            try:
                return codec.pop(lane.stack)
            except CorruptFileError:
                if not self.patient:
                    raise
                lane.whole = False
        return blank


def deal(shape: GroupShape) -> list[range]:
    """Consecutive runs of pictures, one per chain, their lengths equal or one apart."""
    samples = shape.pictures * shape.height * shape.width * shape.colours
    count = max(1, min(MOST_CHAINS, shape.pictures, samples // CHAIN_SAMPLES))
    ends = [shape.pictures * k // count for k in range(count + 1)]
    return [range(first, last) for first, last in pairwise(ends)]


class IntegerWalk:
    """A walk up a ladder in integers (`models.walk`), for one picture of each chain of a batch.

    Args:
        model: the ladder.
        batch: number of pictures.
        shape: of the group.
    """

    def __init__(self, model: ExactLadder, batch: int, shape: GroupShape) -> None:
        self.model, self.levels = model, model.levels
        self.shape = Shape(batch, shape.colours, shape.height, shape.width)
        self.rows, self.columns = (-(-side // model.stride) * model.stride for side in shape[1:3])
        self.known: list[Known] = []
        self.state = model.start(batch, self.rows, self.columns) if self.levels else None

    def features(self, steps: Tensor) -> Any:
        """The bottom-up pass of pictures `(batch, colours, h, w)`; padding repeats the border."""
        if not self.levels:
            return None
        down, right = self.rows - self.shape.height, self.columns - self.shape.width
        padded = torch.nn.functional.pad(steps, (0, right, 0, down), mode="replicate")
        return self.model.encode(padded)

    def prior(self, level: int) -> Known:
        """What both sides know before `level`."""
        self.known.append(self.model.prior(level, self.state))
        return self.known[level]

    def posterior(self, level: int, features: Any) -> tuple[Tensor, Tensor]:
        """Mean and log-scale of the standardised latent, units of 2^-16."""
        return self.model.posterior(level, self.known[level], features)

    def take_in(self, level: int, latent: Tensor) -> None:
        """Continue from the latent z in units of 2^-16."""
        self.state = self.model.take_in(level, self.known[level], latent)

    def likelihood(self) -> ExactLikelihood:
        """Of the pixels, once all latents are known."""
        return self.model.likelihood(self.state, self.shape)


class JointWalk:
    """The walks of several batches, level by level side by side.

    Args:
        levels: of the ladder.
        walks: one of each batch.
    """

    def __init__(self, levels: int, walks: Sequence[IntegerWalk]) -> None:
        self.levels, self.walks = levels, walks

    def prior(self, level: int) -> list[Known]:
        """What both sides know before `level`, batch by batch."""
        return each(partial(IntegerWalk.prior, level=level), self.walks)

    def take_in(self, level: int, latent: Sequence[Tensor]) -> None:
        """Continue from the latents of every batch."""
        each(lambda walk, z: walk.take_in(level, z), self.walks, latent)


def rows(x: Tensor) -> NDArray[np.int32]:
    """One row per picture."""
    return to_integers(x.flatten(1))


def target(known: Known, mean: Tensor, log_scale: Tensor) -> Normal:
    """The posterior of z in floats: a coder's target need not be exact, its prior must."""
    loc = fixed_point.to_float(known.loc + known.scale * mean)
    scale = known.scale * torch.exp(fixed_point.to_float(log_scale))
    return Normal(loc.float(), scale.float(), validate_args=False)


def join(parts: Sequence[Normal]) -> Normal:
    """The posteriors of all batches together."""
    loc, scale = (torch.cat([getattr(p, name) for p in parts]) for name in ("loc", "scale"))
    return Normal(loc, scale, validate_args=False)


def rated(known: Sequence[Known]) -> RatedNormal:
    """The prior of z of all batches together."""
    loc = fixed_point.to_float(torch.cat([k.loc for k in known]))
    scale = torch.cat([k.scale for k in known])
    return RatedNormal(loc, scale, fixed_point.expected_rates(scale))


def split(draw: Tensor, known: Sequence[Known]) -> Sequence[Tensor]:
    """A draw in units of 2^-16, batch by batch."""
    return torch.split(fixed_point.from_float(draw), [len(k.loc) for k in known])


def draw_bits(posterior: tuple[Tensor, Tensor]) -> float:
    """Bits that drawing the bins of one picture takes, the most in a batch."""
    bits: list[float] = [
        LATENT_BITS * m.numel() - kl_bits(m, s) for m, s in zip(*posterior, strict=True)
    ]
    return max(bits)


def kl_bits(mean: Tensor, log_scale: Tensor) -> float:
    """KL(N(m, e^2l) || N(0, 1)) in bits, summed."""
    m, s = fixed_point.to_float(mean), fixed_point.to_float(log_scale)
    nats = (0.5 * (m * m + torch.exp(2 * s) - 1) - s).sum()
    return float(nats) / math.log(2)
