"""Pictures of few colours or flat areas <-> bytes, by context mixing (see `kernels`)."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from laconic.coding.binary_arithmetic import IntArray, new_coder
from laconic.coding.context_mixing.kernels import (
    ABOVE,
    BESIDE,
    COLOURS,
    LIMIT,
    RATES,
    REPEATS,
    VALUE_SETS,
    WEIGHT_SETS,
    Mixer,
    code_pixels,
)
from laconic.coding.integer_tables import LOGISTIC_LIMIT, logistic_cdf
from laconic.coding.stack.kernels import CELL_BITS

_LEAST_BITS, _MOST_BITS = 12, 21
_START_WEIGHT = 20000
_SLACK_BYTES = 64


def encode_pixels(
    pixels: IntArray, channels: int, colours: int, background: int, limit: int
) -> bytes | None:
    """The encoded pixels, or None if they take more than `limit` bytes.

    Args:
        pixels: `(height, width)`: colours, one byte for each channel, the first the lowest; or
            numbers of a palette.
        channels: bytes of a colour, 1 to 4; 0 for a palette.
        colours: size of the palette; without one, any number larger than the number of pixels.
        background: the colour or number of the border around the picture.
        limit: most bytes of the result.
    """
    data = np.zeros(limit + _SLACK_BYTES, np.uint8)
    mixer = _make_mixer(pixels.size, data)
    padded = _pad(pixels, background)
    size = int(code_pixels(mixer, False, padded, channels, colours))
    return data[:size].tobytes() if size <= limit else None


def decode_pixels(
    data: bytes, height: int, width: int, channels: int, colours: int, background: int
) -> IntArray:
    """Decode `(height, width)` pixels; damaged bytes decode to wrong pixels without an error."""
    padded = _pad(np.zeros((height, width), np.int64), background)
    mixer = _make_mixer(height * width, np.frombuffer(data, np.uint8).copy())
    code_pixels(mixer, True, padded, channels, colours)
    return padded[ABOVE:, BESIDE:-BESIDE]


def _pad(pixels: IntArray, background: int) -> IntArray:
    return np.pad(pixels, ((ABOVE, 0), (BESIDE, BESIDE)), constant_values=background)


def _make_mixer(pixels: int, data: NDArray[np.uint8]) -> Mixer:
    """An untrained mixer; its tables are as large as the picture needs."""
    bits = min(max(pixels.bit_length() + 1, _LEAST_BITS), _MOST_BITS)
    squash, stretch = logistic_tables()
    sets = WEIGHT_SETS + 4 * VALUE_SETS
    return Mixer(
        table=np.zeros((REPEATS + COLOURS, 1 << bits), np.uint32),
        weights=np.full((sets, REPEATS + 1), _START_WEIGHT, np.int64),
        coder=new_coder(),
        data=data,
        base=np.zeros(REPEATS, np.int64),
        slots=np.zeros(REPEATS, np.int64),
        inputs=np.zeros(REPEATS + 1, np.int64),
        squash=squash,
        stretch=stretch,
        rates=(1 << 17) // (2 * np.arange(RATES, dtype=np.int64) + 3),
    )


@cache
def logistic_tables() -> tuple[IntArray, IntArray]:
    """Probabilities of logits -LIMIT to LIMIT, and logits of all probabilities."""
    middle = LOGISTIC_LIMIT << CELL_BITS
    values = logistic_cdf()[middle - LIMIT : middle + LIMIT + 1].astype(np.int64) >> 14
    squash = np.clip(values, 1, (1 << 16) - 1)
    found = np.searchsorted(squash, np.arange(1 << 16), side="right") - 1 - LIMIT
    return squash, np.clip(found, -LIMIT, LIMIT).astype(np.int64)
