"""Whether a picture's colours are those of a known conversion, by a sample of its pixels."""

from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from laconic.codecs.lossless.core import Samples
from laconic.codecs.lossless.direct.conversion.known import KNOWN, Known
from laconic.codecs.lossless.direct.conversion.program import Bytes

PIXELS: Final = 1 << 13
"""That are looked at."""
COLOURS: Final = 64
"""So many different ones are needed: by chance 1 of 4 to 1 of 9 fits."""
SHARE: Final = 0.95
"""Of the colours at least so many fit, where a conversion is found."""
_GOLDEN: Final = (5**0.5 - 1) / 2
"""Its multiples, less their integer part, are spread evenly."""


def find_conversion(samples: Samples) -> Known | None:
    """The conversion that a picture's colours were made by; None where none is found.

    Quick enough for every picture: `PIXELS` of them are looked at. Neither grey ones count, which
    fit always, nor those with a channel at 0 or 255, which may be clipped.

    Args:
        samples: `(height, width, channels)`; only of 8 bits and three or four channels can one be
            found.
    """
    if samples.dtype != np.uint8 or samples.shape[2] < 3:
        return None
    colours = _colours(cast(Bytes, samples))
    if len(colours) < COLOURS:
        return None
    shares = [float(known.gives(known.nearest(colours), colours).mean()) for known in KNOWN]
    best = int(np.argmax(shares))
    return KNOWN[best] if shares[best] >= SHARE else None


def _colours(samples: Bytes) -> Bytes:
    """Different colours of a sample, neither clipped nor grey, `(colours, 3)`."""
    height, width, _ = samples.shape
    count = height * width
    places: NDArray[np.int64] = np.arange(count)
    if count > PIXELS:
        places = (np.arange(PIXELS) * _GOLDEN % 1 * count).astype(np.int64)
    found = samples[places // width, places % width, :3]
    low, high = found.min(1), found.max(1)
    found = found[(low > 0) & (high < 255) & (low < high)]
    packed = found.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    different = np.unique(packed)
    return np.stack([different >> shift & 255 for shift in (16, 8, 0)], 1).astype(np.uint8)
