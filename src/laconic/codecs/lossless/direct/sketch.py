"""A cheap look at a picture: a drawing, a photograph or noise.

Strips of the picture are predicted from their neighbours. Formula: the prediction of x from w
(left), n (above) and nw is the median of w, n and w + n - nw; a residual r counts as
H(bits of zigzag(r)) + (bits of zigzag(r) below the highest one). Source: Weinberger et al. 2000
(LOCO-I), its predictor.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from laconic.codecs.lossless.core import Samples

STRIP_ROWS: Final = 16
STRIPS: Final = 12
STRIP_SAMPLES: Final = 1 << 17
"""A strip is cut to about so many samples, where the picture is very wide."""
DRAWN: Final = 0.4
"""In drawings, texts and screens at least this share of pixels repeats a neighbour."""


@dataclass(frozen=True)
class Sketch:
    """What the look gives.

    Attributes:
        raw_bits: of the samples as they are.
        residual_bits: about what a plain predictive coder makes of them.
        repeats: share of pixels that equal the pixel to the left or above.
    """

    raw_bits: int
    residual_bits: float
    repeats: float

    @property
    def drawn(self) -> bool:
        """Whether it may be a drawing, a text or a screen."""
        return self.repeats >= DRAWN

    @property
    def noisy(self) -> bool:
        """Whether prediction does not help."""
        return self.residual_bits >= self.raw_bits

    @classmethod
    def of(cls, samples: Samples) -> "Sketch":
        """Look at samples `(height, width, channels)`."""
        bits = 1 if samples.dtype == np.bool_ else 8 * samples.itemsize
        strips = [_look(strip) for strip in _strips(samples)]
        share, repeats = (sum(column) / len(strips) for column in zip(*strips, strict=True))
        return cls(samples.size * bits, share * samples.size, repeats)


def _strips(samples: Samples) -> list[NDArray[np.int32]]:
    """Some rows of the whole, evenly spaced."""
    height, width, channels = samples.shape
    columns = max(1, STRIP_SAMPLES // (STRIP_ROWS * channels))
    count = min(STRIPS, -(-height // STRIP_ROWS))
    starts = [(height - STRIP_ROWS) * k // max(1, count - 1) for k in range(count)]
    if height <= STRIP_ROWS * STRIPS:
        starts = list(range(0, height, STRIP_ROWS))
    left = max(0, width - columns) // 2
    return [
        samples[max(0, top) : max(0, top) + STRIP_ROWS, left : left + columns].astype(np.int32)
        for top in starts
    ]


def _look(strip: NDArray[np.int32]) -> tuple[float, float]:
    """Bits per sample, and the share of pixels that repeat a neighbour."""
    same = np.zeros(strip.shape[:2], bool)
    same[:, 1:] = (strip[:, 1:] == strip[:, :-1]).all(2)
    same[1:] |= (strip[1:] == strip[:-1]).all(2)
    if strip.shape[2] >= 3:
        strip = strip.copy()
        strip[..., 0] -= strip[..., 1]
        strip[..., 2] -= strip[..., 1]
    return _residual_bits(strip), float(same.mean())


def _residual_bits(strip: NDArray[Any]) -> float:
    """Mean over channels."""
    west, north, corner = (np.zeros_like(strip) for _ in range(3))
    west[:, 1:], north[1:], corner[1:, 1:] = strip[:, :-1], strip[:-1], strip[:-1, :-1]
    north[0], corner[0], west[1:, 0] = west[0], west[0], north[1:, 0]
    corner[1:, 0] = north[1:, 0]
    low, high = np.minimum(west, north), np.maximum(west, north)
    residual = strip - np.clip(west + north - corner, low, high)
    folded = np.where(residual < 0, -2 * residual - 1, 2 * residual)
    length = np.frexp(folded.astype(np.float32))[1]
    total = 0.0
    for channel in range(strip.shape[2]):
        counts = np.bincount(length[..., channel].reshape(-1)).astype(float)
        shares = counts[counts > 0] / counts.sum()
        total -= float((shares * np.log2(shares)).sum())
    raw = float(np.maximum(length - 1, 0).mean())
    return total / float(strip.shape[2]) + raw
