"""The parts of a chain of pictures: the dealing, a stack for each, and the way down the ladder."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Normal

from laconic.codecs.lossless.core import DTYPES, Samples
from laconic.coding.stack.ans import IntArray, Stack
from laconic.coding.stack.normal_bins import NormalBins
from laconic.distributions.rated import RatedNormal
from laconic.errors import CorruptFileError
from laconic.models.exact import ExactLadder, ExactLikelihood, Known, Shape, to_integers
from laconic.networks.fixed_point import arithmetic as fixed_point

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
    """One chain: its pictures' numbers, its stack, whether that still holds out, its worth."""

    pictures: range
    stack: Stack = field(default_factory=Stack)
    alive: bool = True
    ideal_bits: float = 0.0

    def take(self, pop: Callable[[Stack], IntArray], blank: IntArray) -> IntArray:
        """Pop, or `blank` once the data have ended."""
        if self.alive:
            try:
                return pop(self.stack)
            except CorruptFileError:
                self.alive = False
        return blank


def deal(shape: GroupShape) -> list[range]:
    """Consecutive runs of pictures, one per chain, their lengths equal or one apart."""
    samples = shape.pictures * shape.height * shape.width * shape.colours
    count = max(1, min(MOST_CHAINS, shape.pictures, samples // CHAIN_SAMPLES))
    ends = [shape.pictures * k // count for k in range(count + 1)]
    return [range(first, last) for first, last in pairwise(ends)]


class Walk:
    """One batch of pictures on its way down the ladder, in integers."""

    def __init__(self, model: ExactLadder, lanes: list[Lane], shape: GroupShape) -> None:
        self.model, self.lanes = model, lanes
        self.shape = Shape(len(lanes), shape.colours, shape.height, shape.width)
        stride = self.model.stride
        self.rows, self.columns = (-(-side // stride) * stride for side in shape[1:3])
        self.known: list[Known] = []
        self.state = None
        if self.model.levels:
            self.state = self.model.start(len(lanes), self.rows, self.columns)

    def features(self, steps: Tensor) -> object:
        """What the pictures say, `steps`: `(batch, colours, h, w)`; the border repeats."""
        down, right = self.rows - self.shape.height, self.columns - self.shape.width
        padded = torch.nn.functional.pad(steps, (0, right, 0, down), mode="replicate")
        return self.model.climb(padded)

    def descend(self, level: int) -> Known:
        """What both sides know before `level`."""
        self.known.append(self.model.prior(level, self.state))
        return self.known[-1]

    def take_in(self, latent: Tensor, level: int) -> None:
        """The latent z in units of 2^-16."""
        self.state = self.model.take_in(level, self.known[level], latent)

    def take_in_bins(self, level: int, bins: Sequence[IntArray]) -> None:
        """The latent as bins of equal prior mass, per picture."""
        known = self.known[level]
        centres = np.stack([NormalBins.centres(b, LATENT_BITS) for b in bins])
        drawn = torch.from_numpy(centres).double().reshape(known.loc.shape)
        self.take_in(known.loc + torch.floor(known.scale * drawn + 0.5), level)

    def likelihood(self) -> ExactLikelihood:
        """Of the pixels, all latents told."""
        return self.model.likelihood(self.state, self.shape)


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
