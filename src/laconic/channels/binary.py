"""Binary channels: symmetric and erasure. Soft in training, hard in evaluation.

In training a bit is a number in (0, 1), drawn from a relaxed Bernoulli (`channels.bits`), and so
is the flip of the symmetric channel. In evaluation both are 0 or 1.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from laconic.channels.base import Channel, Received, Use, check_probability
from laconic.channels.bits import TEMPERATURE, hard, relaxed_bits
from laconic.errors import ConfigError

LEAST = 1e-6
"""Smallest distance of a flip's probability from 0 and 1 in its logit."""


@dataclass(frozen=True)
class FlipConfig:
    """Settings of the binary symmetric channel.

    Attributes:
        flip: probability that a bit is flipped, up to 1/2.
        temperature: of the relaxed flips in training, above 0 and up to 1.
    """

    flip: float = 0.1
    temperature: float = TEMPERATURE

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a setting that cannot be."""
        check_probability(self.flip, "flip", 0.5)
        if not 0 < self.temperature <= 1:
            raise ConfigError(f"temperature: {self.temperature} is not above 0 and up to 1")


@dataclass(frozen=True)
class ErasureConfig:
    """Settings of the binary erasure channel.

    Attributes:
        erasure: probability that a bit is erased.
    """

    erasure: float = 0.1

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a setting that cannot be."""
        check_probability(self.erasure, "erasure")


class _Binary(Channel):
    """Bits enter, rounded in evaluation."""

    use: ClassVar[Use] = Use.BIT

    def prepare(self, y: Tensor) -> Tensor:
        """Logits to bits: relaxed draws in training, the more probable bit in evaluation."""
        return relaxed_bits(y) if self.training else hard(torch.sigmoid(y))


@final
class BinarySymmetric(_Binary):
    """z = y xor flip, where a flip has probability p; in training y (1 - w) + (1 - y) w.

    The soft form equals the xor at 0 and 1, and is linear between them.
    Formula: C = 1 - H2(p) bits per bit.
    Source: Ullrich 9.33, with its noise relaxed as 9.4 proposes; ERRATA 10.

    Args:
        config: probability of a flip, temperature of the relaxed one.
    """

    def __init__(self, config: FlipConfig = FlipConfig()) -> None:
        super().__init__()
        self.config = config

    @property
    def capacity_bits(self) -> float:
        """Bits per transmitted bit."""
        return 1 - binary_entropy_bits(self.config.flip)

    def transmit(self, y: Tensor) -> Received:
        """Flip bits `(batch, bits)`."""
        share = min(max(self.config.flip, LEAST), 1 - LEAST)
        if self.training:
            logits = y.new_full(y.shape, math.log(share / (1 - share)))
            flips = relaxed_bits(logits, self.config.temperature)
        else:
            y = hard(y)
            flips = (torch.rand_like(y) < self.config.flip).to(y)
        return Received(y * (1 - flips) + (1 - y) * flips)

    def log_density(self, received: Received, y: Tensor) -> Tensor:
        """Log p(z | y) of hard bits, in nats."""
        same = hard(received.signal) == hard(y)
        likely, rare = math.log1p(-self.config.flip), _log(self.config.flip)
        return torch.where(same, likely, rare).to(y).sum(-1)


@final
class BinaryErasure(_Binary):
    """A bit is replaced by 1/2 with probability e; the state is 1 where it was erased.

    Formula: C = 1 - e bits per bit.
    Source: Ullrich 6.4 names it; Choi et al. 2019 learn codes for it.

    Args:
        config: probability of an erasure.
    """

    def __init__(self, config: ErasureConfig = ErasureConfig()) -> None:
        super().__init__()
        self.config = config

    @property
    def capacity_bits(self) -> float:
        """Bits per transmitted bit."""
        return 1 - self.config.erasure

    def transmit(self, y: Tensor) -> Received:
        """Erase bits `(batch, bits)`; the gradient of an erased bit is zero."""
        bits = y if self.training else hard(y)
        erased = (torch.rand_like(bits) < self.config.erasure).to(bits)
        return Received(bits * (1 - erased) + 0.5 * erased, erased)

    def log_density(self, received: Received, y: Tensor) -> Tensor:
        """Log p(z | y) of hard bits, in nats."""
        assert received.state is not None
        same = hard(received.signal) == hard(y)
        kept = torch.where(same, _log(1 - self.config.erasure), -torch.inf)
        lost = torch.full_like(kept, _log(self.config.erasure))
        return torch.where(received.state > 0, lost, kept).to(y).sum(-1)


def binary_entropy_bits(probability: float) -> float:
    """H2(p) = -p log2 p - (1 - p) log2(1 - p), in bits.

    >>> binary_entropy_bits(0.5)
    1.0
    """
    parts = (probability, 1 - probability)
    return -sum(part * math.log2(part) for part in parts if part)


def _log(probability: float) -> float:
    return math.log(probability) if probability else -math.inf
