"""Numbers as colours, for maps that are laid over pictures."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

STOPS: Final = np.array(
    [
        (0, 0, 4), (27, 12, 65), (74, 12, 107), (120, 28, 109), (165, 44, 96), (207, 68, 70),
        (237, 105, 37), (251, 155, 6), (247, 209, 61), (252, 255, 164),
    ],
    np.float64,
)  # fmt: skip
"""From nothing to the most, evenly spaced: black, violet, orange, light yellow."""
PEAK_SHARE: Final = 0.99
"""Share of the places that are no brighter than the brightest colour shows."""
STEPS: Final = 256


def peak_of(values: NDArray[Any]) -> float:
    """The value that the brightest colour stands for: few places have more."""
    return max(float(np.quantile(values, PEAK_SHARE)), 1e-6)


def paint(values: NDArray[Any], peak: float) -> Image.Image:
    """A map as a picture with a palette.

    Args:
        values: at least 0, `(rows, columns)`.
        peak: value of the brightest colour; larger ones have it, too.
    """
    index = np.rint(np.clip(values / peak, 0, 1) * (STEPS - 1)).astype(np.uint8)
    places = np.linspace(0, len(STOPS) - 1, STEPS)
    table = np.stack([np.interp(places, range(len(STOPS)), one) for one in STOPS.T], axis=1)
    image = Image.fromarray(index)
    image.putpalette(np.rint(table).astype(np.uint8).tobytes())
    return image
