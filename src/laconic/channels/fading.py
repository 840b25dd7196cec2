"""Rayleigh fading: a random complex gain on every codeword (slow) or on every use (fast).

The receiver knows the gain h and takes its phase out, so that the signal is |h| y + w with noise of
the same law as before: nothing is lost, and no noise is amplified. `Received.state` is |h|.
"""

import math
from abc import abstractmethod
from typing import ClassVar, final

import numpy as np
from torch import Tensor

from laconic.channels.base import Received, Use, check_probability
from laconic.channels.gaussian import NoisyChannel

NODES = np.linspace(-45.0, 5.0, 2001)
"""Logarithms of |h|^2 at which the mean over the fading is summed up; exact to float64."""


class _Rayleigh(NoisyChannel):
    """|h|^2 has mean 1; complex uses."""

    use: ClassVar[Use] = Use.COMPLEX

    @property
    def capacity_bits(self) -> float:
        """Bits per complex use on average over the gain, which the receiver knows.

        Formula: E log2(1 + s |h|^2), |h|^2 exponential with mean 1.
        """
        return ergodic_capacity_bits(self.ratio)

    @abstractmethod
    def draw_gain(self, y: Tensor) -> Tensor:
        """|h| for every number of the codewords `(batch, numbers)`."""

    def transmit(self, y: Tensor) -> Received:
        """|h| y + w, and |h|."""
        gain = self.draw_gain(y)
        return Received(self.add_noise(gain * y), gain)

    def log_density(self, received: Received, y: Tensor) -> Tensor:
        """Log N(z; |h| y, noise), given |h|."""
        assert received.state is not None
        return self.noise_log_density(received.signal - received.state * y)


@final
class SlowRayleigh(_Rayleigh):
    """One gain for a whole codeword: no code protects against a bad one.

    A single rate that is always safe does not exist; `outage_capacity_bits` gives the rate that is
    safe but for a share of the codewords.
    """

    def draw_gain(self, y: Tensor) -> Tensor:
        """The same |h| for all numbers of a codeword."""
        return _magnitudes(y.new_empty(y.shape[0], 1)).expand_as(y)

    def outage_capacity_bits(self, outage: float) -> float:
        """Bits per complex use that all but a share `outage` of the codewords can carry.

        Formula: log2(1 - s ln(1 - outage)).

        Raises:
            ConfigError: `outage` is no probability.
        """
        share = check_probability(outage, "outage")
        return math.inf if share == 1 else math.log2(1 - self.ratio * math.log1p(-share))


@final
class FastRayleigh(_Rayleigh):
    """A gain of its own for every complex use."""

    def draw_gain(self, y: Tensor) -> Tensor:
        """One |h| for every pair of numbers."""
        return _magnitudes(y.new_empty(y.shape[0], y.shape[1] // 2)).repeat_interleave(2, dim=1)


def ergodic_capacity_bits(ratio: float) -> float:
    """E log2(1 + ratio g), g exponential with mean 1: bits per complex use.

    The mean is an integral over log g, whose trapezoid rule converges faster than any power.
    """
    gains = np.exp(NODES)
    values = np.log2(1 + ratio * gains) * np.exp(-gains) * gains
    return float(np.trapezoid(values, NODES))


def _magnitudes(like: Tensor) -> Tensor:
    """|h| of a complex normal of power 1, in the shape of `like`."""
    return like.exponential_().sqrt()
