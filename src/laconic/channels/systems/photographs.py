"""A joint system for photographs of any size: one set of weights for every ratio and bandwidth.

```
 x ─ KLT 16x16, whitened ─► u ─┬─ * gains ──────────────(+)─ * gains of the point ─ bands <= B
                               └─ gated residual blocks ─┘        + pilot, power 1 ─► y
 z ─ / pilot's height ─ linear estimate of u ─┬──────────────────(+)─ KLT^T ─(+)─► picture
                                              └─ gated blocks at 1/16 ┘  └ gated blocks at 1/8
```

Without the residual blocks, which start at zero, this is linear coding: coefficient i, of variance
S_i, is sent with a gain proportional to S_i^(1/4), which is optimal for linear decoders at equal
noise, and estimated by its conditional mean under a normal law. Training starts from there. The
receiver knows the signal-to-noise ratio, the number of bands and the picture's size, and nothing
else: the last number of each block's first band is a constant, the pilot, whose height gives the
scale of the power's normalisation.

A band is 1/24 of the picture's samples in COMPLEX uses: 64 numbers for each block of 16 x 16.
Source: Ullrich 6.4 (joint systems), 6.7 (codes sorted by importance); Lee and Petersen 1976 and
Jakubczak and Katabi 2011 (linear coding and its gains); blocks as in `laconic.networks`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from laconic.channels.base import Use, normalise_power
from laconic.channels.systems.base import Terms, half_squared_error
from laconic.errors import ConfigError
from laconic.networks.gated_residual import GatedStack
from laconic.networks.linear_transform import BlockTransform, block_covariance
from laconic.networks.residual import Head, OperatingPoint

NUMBERS_PER_USE = Use.COMPLEX.numbers
KERNEL = 5
"""Side of the depthwise kernels."""
USUAL_SPREAD = 0.5
"""Of the pilot's height over pictures, relative to its usual value."""
LOSS_SCALE, LEAST_ERROR = 0.02, 1e-6
"""Factor of the loss, with which its gradient is that of the root of the error at 28 dB; and what
is added to mean squared errors, so that the logarithm is finite."""
LARGEST_PIXELS = 1 << 26
"""Of a picture that is sent whole."""


@dataclass(frozen=True)
class PhotographConfig:
    """Sizes and range.

    Attributes:
        block: side of the transform's blocks in pixels.
        bands: into which the codeword is divided.
        band_share: 1 / band_share of the picture's samples are the complex uses of one band.
        snr_db: smallest and largest signal-to-noise ratio.
        width: channels of the residual networks at 1 / block of the size.
        blocks: of the encoder's and of the decoder's.
        fine_width: channels of the decoder's network at twice that resolution; 0 for none.
        fine_blocks: its blocks.
        embedding: channels of the embedded operating point.
        pilot: height of the constant that shows the scale, over the root of the signal's power.

    Raises:
        ConfigError: sizes or a range that cannot be.
    """

    block: int = 16
    bands: int = 6
    band_share: int = 24
    snr_db: tuple[float, ...] = (0.0, 20.0)
    width: int = 128
    blocks: tuple[int, ...] = (4, 6)
    fine_width: int = 64
    fine_blocks: int = 2
    embedding: int = 32
    pilot: float = 0.5

    def __post_init__(self) -> None:
        """Raise `ConfigError` for sizes or a range that cannot be."""
        if len(self.snr_db) != 2 or not self.snr_db[0] < self.snr_db[1]:
            raise ConfigError(f"system.snr_db: {list(self.snr_db)} are not two rising numbers")
        if min(self.block, self.bands, self.band_share, self.width, self.embedding) < 1:
            raise ConfigError("system: every size must be 1 or more")
        if self.block % 2 or len(self.blocks) != 2 or self.pilot <= 0:
            raise ConfigError("system: block is even, blocks are two numbers, pilot is above 0")
        if self.numbers > self.samples or self.samples * NUMBERS_PER_USE % self.band_share:
            raise ConfigError("system: bands, band_share and block do not fit together")

    @property
    def samples(self) -> int:
        """Samples of a block, three colours."""
        return 3 * self.block**2

    @property
    def band_numbers(self) -> int:
        """Numbers of one band for each block."""
        return self.samples * NUMBERS_PER_USE // self.band_share

    @property
    def numbers(self) -> int:
        """Numbers of all bands for each block."""
        return self.bands * self.band_numbers

    @property
    def place(self) -> int:
        """Index of the pilot among the numbers of a block."""
        return self.band_numbers - 1

    def bands_of(self, bandwidth: float) -> int:
        """Bands that fit into a bandwidth, in complex uses per sample.

        Raises:
            ConfigError: none fits, or more than the model has.
        """
        if not (math.isfinite(bandwidth) and bandwidth > 0):
            raise ConfigError(f"bandwidth: {bandwidth} is not a number above 0")
        bands = math.floor(bandwidth * self.band_share + 0.02)
        if not 1 <= bands <= self.bands:
            low, high = 1 / self.band_share, self.bands / self.band_share
            raise ConfigError(
                f"bandwidth: {bandwidth:g} is outside what the model knows, {low:.4g} to "
                f"{high:.4g} complex channel uses per sample (3 height width)"
            )
        return bands

    def check_snr_db(self, snr_db: float) -> float:
        """The ratio itself; raises `ConfigError` where the model was not made for it."""
        low, high = self.snr_db
        if not low <= snr_db <= high:  # NaN, too.
            raise ConfigError(
                f"snr: {snr_db} dB is outside what the model knows, {low:g} to {high:g} dB"
            )
        return snr_db


@dataclass(frozen=True)
class Point:
    """Operating point of every picture of a batch.

    Attributes:
        snr_db: `(batch,)`, per complex use.
        bands: `(batch,)`, how many pass.
    """

    snr_db: Tensor
    bands: Tensor

    @classmethod
    def of(cls, snr_db: float, bands: int, count: int = 1) -> "Point":
        """The same point for `count` pictures."""
        return cls(torch.full((count,), snr_db), torch.full((count,), float(bands)))

    @property
    def noise_scale(self) -> Tensor:
        """Standard deviation of the noise in one number, `(batch, 1, 1, 1)`; power 1 per use."""
        power = 10 ** (-self.snr_db / 10)
        return (power / NUMBERS_PER_USE).sqrt()[:, None, None, None]


@final
class PhotographSystem(nn.Module):
    """Encoder and decoder; the channel is what the caller puts between them.

    Args:
        config: sizes and range.
    """

    def __init__(self, config: PhotographConfig = PhotographConfig()) -> None:
        super().__init__()
        self.config = config
        numbers, width, embedding = config.numbers, config.width, config.embedding
        self.transform = BlockTransform(config.block, config.samples)
        self.point = OperatingPoint((1.0, 2.0), embedding, taste=True)
        self.encoder = GatedStack(config.samples, width, config.blocks[0], embedding, KERNEL)
        self.encoder_head = Head(width, numbers)
        self.gains = nn.Parameter(torch.zeros(numbers))
        self.steer = nn.Linear(embedding, numbers)
        self.decoder = GatedStack(numbers + 1, width, config.blocks[1], embedding, KERNEL)
        self.decoder_head = Head(width, config.samples)
        for parameter in self.steer.parameters():
            nn.init.zeros_(parameter)
        if config.fine_width:
            self._add_fine(config)

    def _add_fine(self, config: PhotographConfig) -> None:
        """The decoder's network at twice the resolution of blocks."""
        half = config.block // 2
        inputs = config.width // 4 + 3 * half**2
        self.fine = GatedStack(
            inputs, config.fine_width, config.fine_blocks, config.embedding, KERNEL
        )
        self.fine_head = Head(config.fine_width, 3 * half**2)

    @torch.no_grad()
    def prepare(self, batches: Iterable[Tensor]) -> None:
        """Fit the transform and the gains to pictures `(batch, 3, height, width)` in [0, 1]."""
        self.transform.fit(block_covariance(batches, self.config.block))
        kept = self.transform.variance[: self.config.numbers]
        self.gains.copy_(0.25 * (kept / kept.mean()).log())

    def encode(self, x: Tensor, point: Point) -> Tensor:
        """Codewords of power 1 per complex use, `(batch, numbers, rows, columns)`.

        Bands that do not pass are zero: they are not sent, and take no uses.

        Args:
            x: `(batch, 3, height, width)` in [0, 1], sides multiples of the block.
            point: operating point.
        """
        config, embedding = self.config, self._embed(point)
        whitened = self.transform(x - 0.5) * self._spread.reciprocal()
        code = whitened[:, : config.numbers]
        code = code + self.encoder_head(self.encoder(whitened, embedding))
        code = self._amplify(code, embedding) * self._passed(point) + self._pilot(code)
        numbers = config.band_numbers * point.bands * x.shape[2] * x.shape[3] / config.block**2
        # Numbers that are not sent are zero, and must not count in the mean power.
        full = code[0].numel() / numbers
        scaled: Tensor = normalise_power(code, NUMBERS_PER_USE) / full.sqrt()[:, None, None, None]
        return scaled

    def decode(self, z: Tensor, point: Point) -> Tensor:
        """Pictures `(batch, 3, height, width)`, not limited to [0, 1].

        Args:
            z: received codewords; numbers of bands that did not pass are not looked at.
            point: operating point.
        """
        config, embedding = self.config, self._embed(point)
        gain = self._amplify(torch.ones_like(z), embedding) * self._passed(point)
        scale = self._scale(z, gain, point)
        noise = (scale * point.noise_scale).square()
        estimate = scale * z * gain / (gain.square() + noise)
        level = scale.log().expand(-1, -1, *z.shape[2:])
        maps = self.decoder(torch.cat([estimate, level], dim=1), embedding)
        rest = config.samples - config.numbers
        whitened = functional.pad(estimate, (0, 0, 0, 0, 0, rest)) + self.decoder_head(maps)
        picture = self.transform.inverse(whitened * self._spread)
        if config.fine_width:
            half = config.block // 2
            blocks = functional.pixel_unshuffle(picture, half)
            raised = functional.pixel_shuffle(maps.to(blocks.dtype), 2)
            fine = self.fine(torch.cat([raised, blocks], dim=1), embedding)
            picture = picture + functional.pixel_shuffle(self.fine_head(fine), half)
        shown: Tensor = picture + 0.5
        return shown

    def loss(self, x: Tensor) -> tuple[Tensor, Terms]:
        """Squared error at a random operating point for each picture of `(batch, 3, h, w)`.

        Its logarithm counts, as in mean PSNR: a decibel at a good channel is worth one at a bad
        channel.
        """
        low, high = self.config.snr_db
        snr_db = low + (high - low) * torch.rand(len(x), device=x.device)
        bands = torch.randint(1, self.config.bands + 1, (len(x),), device=x.device).float()
        point = Point(snr_db, bands)
        y = self.encode(x, point)
        z = y + point.noise_scale * torch.randn_like(y)
        distortion = half_squared_error(self.decode(z, point), x)
        mean = 2 * distortion / x[0].numel()
        return LOSS_SCALE * (mean + LEAST_ERROR).log().mean(), Terms(
            distortion, torch.zeros_like(distortion)
        )

    @property
    def _spread(self) -> Tensor:
        """Standard deviations of the coefficients, `(1, samples, 1, 1)`."""
        spread: Tensor = self.transform.variance.clamp_min(1e-6).sqrt()[None, :, None, None]
        return spread

    def _embed(self, point: Point) -> Tensor:
        low, high = self.config.snr_db
        position = 2 * (point.snr_db - low) / (high - low) - 1
        side = 2 * (point.bands - 1) / max(1, self.config.bands - 1) - 1
        return self.point.embed(position, side)

    def _amplify(self, code: Tensor, embedding: Tensor) -> Tensor:
        gains = (self.gains + self.steer(embedding).float()).clamp(-6, 6).exp()
        amplified: Tensor = code.float() * gains[:, :, None, None]
        return amplified

    def _scale(self, z: Tensor, gain: Tensor, point: Point) -> Tensor:
        """What the received codewords must be multiplied by to undo their normalisation.

        The pilot's height is the mean of what arrived, weighed against the height that a usual
        picture would give, each by its precision.

        Args:
            z: `(batch, numbers, rows, columns)`.
            gain: of every number, zero where it does not pass.
            point: operating point.

        Returns:
            `(batch, 1, 1, 1)`.
        """
        config, place = self.config, self.config.place
        numbers = config.band_numbers * point.bands[:, None, None, None]
        power = (gain[:, :, :1, :1].square().sum(1, keepdim=True) + config.pilot**2) / numbers
        usual = config.pilot / (NUMBERS_PER_USE * power).sqrt()
        seen = z[:, place : place + 1].mean((2, 3), keepdim=True)
        doubt = point.noise_scale.square() / (z.shape[2] * z.shape[3])
        spread = (USUAL_SPREAD * usual).square()
        height = (seen * spread + usual * doubt) / (spread + doubt)
        return config.pilot / height.clamp_min(0.1 * usual)

    def _passed(self, point: Point) -> Tensor:
        """1 for numbers of bands that pass but the pilot, else 0, `(batch, numbers, 1, 1)`."""
        config, index = self.config, torch.arange(self.config.numbers, device=point.bands.device)
        passes = (index // config.band_numbers < point.bands[:, None]) & (index != config.place)
        return passes.float()[:, :, None, None]

    def _pilot(self, like: Tensor) -> Tensor:
        """The constant at its place, `(1, numbers, 1, 1)`."""
        pilot = torch.zeros(1, self.config.numbers, 1, 1, device=like.device)
        pilot[:, self.config.place] = self.config.pilot
        return pilot
