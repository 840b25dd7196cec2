"""A joint system for photographs in an evaluation: pixels in, pixels out, uses counted."""

import time
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from laconic.channels.base import Use
from laconic.channels.fading import SlowRayleigh
from laconic.channels.gate import Budget
from laconic.channels.gaussian import ComplexAwgn, NoisyChannel
from laconic.channels.systems.photographs import (
    LARGEST_PIXELS,
    NUMBERS_PER_USE,
    PhotographSystem,
    Point,
)
from laconic.errors import ConfigError, InputError
from laconic.metrics.images import Image8, psnr

LEAST_GAIN: Final = 1e-3
"""Of a fading channel: below it nothing can be seen."""


@dataclass(frozen=True)
class JointOutcome:
    """What a joint system delivered.

    Attributes:
        picture: as shown.
        budget: channel uses, and what they could carry.
        bands: how many were sent.
        psnr_db: of the picture shown.
        seconds: of encoder, channel and decoder.
    """

    picture: Image8
    budget: Budget
    bands: int
    psnr_db: float
    seconds: float


def uses_of(system: PhotographSystem, height: int, width: int, bands: int) -> int:
    """Complex channel uses of a picture, its sides padded to multiples of the block."""
    block = system.config.block
    blocks = -(-height // block) * -(-width // block)
    return blocks * bands * system.config.band_numbers // NUMBERS_PER_USE


@torch.inference_mode()
def transmit_joint(
    system: PhotographSystem, pixels: Image8, channel: NoisyChannel, bandwidth: float
) -> JointOutcome:
    """Send a picture of any size.

    Args:
        system: in evaluation mode.
        pixels: uint8 `(height, width, 3)`.
        channel: AWGN or slow fading, of complex uses; draws come from torch.
        bandwidth: complex uses over samples, 3 height width.

    Raises:
        ConfigError: a bandwidth or a ratio that the model does not know, or another channel.
        InputError: the picture is smaller than a block, or too large.
    """
    config = system.config
    bands = config.bands_of(bandwidth)
    snr_db = config.check_snr_db(channel.config.snr_db)
    check_channel(channel)
    height, width = check_size(pixels, config.block)
    start = time.perf_counter()
    x = _padded(pixels, config.block)
    point = Point.of(snr_db, bands)
    y = system.encode(x, point)
    sent = _only_passing(y, bands * config.band_numbers)
    received = channel.transmit(sent.flatten(1))
    signal, point = _equalised(received.signal, received.state, point, config.snr_db)
    full = torch.zeros_like(y)
    full[:, : sent.shape[1]] = signal.reshape(sent.shape)
    shown = system.decode(full, point)[0, :, :height, :width]
    picture = (255 * shown.clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()
    seconds = time.perf_counter() - start
    budget = Budget.of(channel, uses_of(system, height, width, bands))
    return JointOutcome(picture, budget, bands, psnr(pixels, picture), seconds)


def check_channel(channel: NoisyChannel) -> None:
    """Raise `ConfigError` for a channel that joint systems for photographs are not made for."""
    if channel.use is not Use.COMPLEX or not isinstance(channel, ComplexAwgn | SlowRayleigh):
        raise ConfigError("channel: the joint system knows 'awgn' and 'rayleigh-slow'")


def check_size(pixels: Image8, block: int) -> tuple[int, int]:
    """Rows and columns; raises `InputError` where a picture cannot be sent."""
    height, width = pixels.shape[:2]
    if min(height, width) < block:
        raise InputError(
            f"the picture has {width} x {height} pixels; both sides must have {block} or more"
        )
    if height * width > LARGEST_PIXELS:
        raise InputError(
            f"the picture has {width} x {height} pixels, more than {LARGEST_PIXELS:,}; reduce it"
        )
    return height, width


def _padded(pixels: Image8, block: int) -> Tensor:
    below, right = (-side % block for side in pixels.shape[:2])
    whole = np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="edge")
    return torch.from_numpy(whole).permute(2, 0, 1)[None].float() / 255


def _only_passing(y: Tensor, numbers: int) -> Tensor:
    """The numbers of bands that are sent; the others take no channel uses."""
    return y[:, :numbers]


def _equalised(
    signal: Tensor, gain: Tensor | None, point: Point, known_db: tuple[float, ...]
) -> tuple[Tensor, Point]:
    """The signal without its gain, and the operating point that this leaves."""
    if gain is None:
        return signal, point
    size = gain[:, 0].clamp_min(LEAST_GAIN)
    snr_db = (point.snr_db + 20 * size.log10()).clamp(known_db[0], known_db[1])
    return signal / size[:, None], Point(snr_db, point.bands)
