"""Samples of pictures as the images that Pillow writes, and back."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from laconic.codecs.lossless.core import Samples


def to_image(samples: Samples) -> Image.Image:
    """Samples `(h, w, channels)` as an image of mode 1, L, LA, RGB, RGBA or I;16."""
    values: NDArray[Any] = samples
    return Image.fromarray(np.ascontiguousarray(values[..., 0] if values.shape[2] == 1 else values))


def from_eight_bits(values: NDArray[np.uint8], bits: int) -> Samples:
    """Samples of 8 bits, or bilevel ones, of which every value but 0 is white."""
    return values != 0 if bits == 1 else np.ascontiguousarray(values)
