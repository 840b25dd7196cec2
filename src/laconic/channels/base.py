"""The contract of every channel: what may enter it, what leaves it, how much information passes.

```
 encoder ─► prepare (the input law) ─► codeword y ─► channel ─► Received(signal z, state)
```

A codeword is a row of a tensor `(batch, numbers)`. How many numbers one use of the channel takes
depends on the channel, and so does the unit of its capacity. The names say which:

| `use` | numbers of a use | power of a use | s is 1 / noise power per |
|---|---|---|---|
| `REAL` | 1 | E y^2 = 1 | real use |
| `COMPLEX` | 2, real and imaginary part side by side | E |y|^2 = 1 | complex use |
| `BIT` | 1, which is 0 or 1 | none | - |

A Gaussian channel of signal-to-noise ratio s carries 1/2 log2(1 + s) bits per real use, or
log2(1 + s) bits per complex use.

One complex use is two real ones: the same s on a complex channel and twice as many uses of a real
channel carry the same information. Published code that mixes the two is wrong by 3 dB in its noise
or by a factor of 2 in its bandwidth.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import torch
from torch import Tensor, nn

from laconic.errors import ConfigError

MOST_DB = 100.0
"""Largest signal-to-noise ratio in either direction; beyond it float32 loses the noise."""


class Use(Enum):
    """What one use of a channel carries."""

    REAL = "real use"
    COMPLEX = "complex use"
    BIT = "bit"

    @property
    def numbers(self) -> int:
        """Numbers of a codeword that one use takes."""
        return 2 if self is Use.COMPLEX else 1


@dataclass(frozen=True)
class Received:
    """What the receiver has.

    Attributes:
        signal: of the shape of the codewords.
        state: what the receiver knows of the channel besides: the gain of a fading channel, which
            bits were erased; None where there is nothing to know.
    """

    signal: Tensor
    state: Tensor | None = None


class Channel(nn.Module, ABC):
    """A channel without memory and without feedback, as a differentiable probabilistic node.

    Draws come from torch's generator. In training mode `forward` is differentiable; in evaluation
    mode binary channels are hard.

    Source: Ullrich 6.3 (the channel Z ~ C(Z | Y)) and 6.4 (differentiable channels).
    """

    use: ClassVar[Use]

    @property
    @abstractmethod
    def capacity_bits(self) -> float:
        """Most bits that one use can carry, on average over the channel's states.

        Formula: C = max over P(Y) of I(Y; Z).  Source: Ullrich 6.2.
        """

    @abstractmethod
    def transmit(self, y: Tensor) -> Received:
        """Send codewords `(batch, numbers)` that obey the input law."""

    @abstractmethod
    def log_density(self, received: Received, y: Tensor) -> Tensor:
        """Log C(z | y) in nats, summed over a codeword: `(batch,)`.

        Args:
            received: of the same shape as `y`; its state belongs to what is known.
            y: codewords `(batch, numbers)`.
        """

    def forward(self, y: Tensor) -> Tensor:
        """The received signals of codewords `(batch, numbers)`."""
        return self.transmit(y).signal

    def prepare(self, y: Tensor) -> Tensor:
        """Make numbers obey the input law: here, power 1 per use for every codeword by itself."""
        return normalise_power(y, self.use.numbers)

    def uses(self, numbers: int) -> int:
        """Uses of the channel that a codeword of so many numbers takes.

        Raises:
            ConfigError: an odd number of them for complex uses.
        """
        if numbers % self.use.numbers:
            raise ConfigError(f"{numbers} numbers are no whole number of complex uses; give 2 each")
        return numbers // self.use.numbers


def normalise_power(y: Tensor, numbers_per_use: int = 1) -> Tensor:
    """Scale every codeword to mean power 1 per use.

    Formula: y sqrt(n) / ||y||, n uses in a codeword.
    Source: Ullrich 6.4 (power-constrained inputs), ERRATA 8.

    Args:
        y: `(batch, ...)`; everything after the first axis is one codeword. A codeword of zeros
            becomes zeros.
        numbers_per_use: 1 for real uses, 2 for complex ones.
    """
    flat = y.float().flatten(1) if y.dtype in (torch.bfloat16, torch.float16) else y.flatten(1)
    uses = flat.shape[1] / numbers_per_use
    least = torch.finfo(flat.dtype).tiny ** 0.5
    scale = math.sqrt(uses) / flat.norm(dim=1, keepdim=True).clamp_min(least)
    scaled: Tensor = flat * scale
    return scaled.reshape(y.shape)


def ratio_of_db(snr_db: float, where: str = "snr_db") -> float:
    """A ratio of powers from its decibels.

    Raises:
        ConfigError: it is no finite number, or beyond `MOST_DB` in either direction.
    """
    if not (math.isfinite(snr_db) and abs(snr_db) <= MOST_DB):
        raise ConfigError(
            f"{where}: {snr_db} is no signal-to-noise ratio; give a number of dB from "
            f"{-MOST_DB:g} to {MOST_DB:g}"
        )
    return float(10 ** (snr_db / 10))


def check_probability(value: float, where: str, largest: float = 1.0) -> float:
    """The value; raises `ConfigError` unless it is a probability up to `largest`."""
    if not (math.isfinite(value) and 0 <= value <= largest):
        raise ConfigError(f"{where}: {value} is no probability from 0 to {largest:g}")
    return value
