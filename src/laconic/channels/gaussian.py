"""Channels that add white Gaussian noise (AWGN), per real or per complex use."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from laconic.channels.base import Channel, Received, Use, ratio_of_db


@dataclass(frozen=True)
class NoiseConfig:
    """Settings of a channel with noise.

    Attributes:
        snr_db: power of the signal over power of the noise, both of one use, in dB.
    """

    snr_db: float = 0.0

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a ratio that cannot be."""
        ratio_of_db(self.snr_db)

    @property
    def ratio(self) -> float:
        """The ratio itself, s."""
        return ratio_of_db(self.snr_db)


class NoisyChannel(Channel):
    """What all channels with Gaussian noise share.

    Args:
        config: signal-to-noise ratio.
    """

    def __init__(self, config: NoiseConfig = NoiseConfig()) -> None:
        super().__init__()
        self.config, self.ratio = config, config.ratio

    @property
    def noise_power_per_use(self) -> float:
        """Mean power of the noise in one use; the signal's is 1."""
        return 1 / self.ratio

    @property
    def noise_scale_per_number(self) -> float:
        """Standard deviation of the noise in one number of a codeword."""
        return math.sqrt(self.noise_power_per_use / self.use.numbers)

    def add_noise(self, y: Tensor) -> Tensor:
        """Return y + noise.  Source: Ullrich 6.3 and 6.4 (ERRATA 8)."""
        return y + self.noise_scale_per_number * torch.randn_like(y)

    def noise_log_density(self, noise: Tensor) -> Tensor:
        """Log density of noise `(batch, numbers)` in nats, summed over a codeword."""
        variance = self.noise_scale_per_number**2
        return -0.5 * (noise.square() / variance + math.log(2 * math.pi * variance)).sum(-1)


class _Awgn(NoisyChannel):
    """z = y + w; no state."""

    def transmit(self, y: Tensor) -> Received:
        """Add noise of constant power."""
        return Received(self.add_noise(y))

    def log_density(self, received: Received, y: Tensor) -> Tensor:
        """Log N(z; y, noise)."""
        return self.noise_log_density(received.signal - y)


@final
class RealAwgn(_Awgn):
    """Noise per REAL use: z = y + sqrt(1 / s) w, w ~ N(0, 1), for codewords of power 1.

    Formula: C = 1/2 log2(1 + s) bits per real use.
    Source: Ullrich 6.3, 6.4; ERRATA 8 (the noise power is the SIGNAL power over s).
    """

    use: ClassVar[Use] = Use.REAL

    @property
    def capacity_bits(self) -> float:
        """Bits per real use."""
        return 0.5 * math.log2(1 + self.ratio)


@final
class ComplexAwgn(_Awgn):
    """Noise per COMPLEX use: power 1 / s in all, half of it in each of the two parts.

    Formula: C = log2(1 + s) bits per complex use.
    Source: Ullrich 6.3, 6.4; ERRATA 8.
    """

    use: ClassVar[Use] = Use.COMPLEX

    @property
    def capacity_bits(self) -> float:
        """Bits per complex use."""
        return math.log2(1 + self.ratio)
