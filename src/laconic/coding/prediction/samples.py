"""Samples of up to 16 bits <-> bytes, by prediction (see `kernels`)."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from laconic.coding.binary_arithmetic import IntArray, new_coder
from laconic.coding.context_mixing.pixels import logistic_tables
from laconic.coding.prediction.kernels import (
    ABOVE,
    CONTEXTS,
    KINDS,
    LEFT,
    NODES,
    PREDICTIONS,
    RATES,
    RIGHT,
    STEPS,
    TAPS,
    Predictor,
    code_samples,
)

Planes = NDArray[np.uint16]
"""Channels in coding order, `(channels, height, width)`."""
_START_WEIGHT = 22000
_EVEN = 1 << 29
"""Of a table: probability one half, no observations."""
_SLACK_BYTES = 64


def encode_samples(planes: Planes, colours: int, limit: int) -> tuple[bytes, bytes] | None:
    """Bytes of the arithmetic coder and of the low bits; None if they are more than `limit`.

    Args:
        planes: channels in coding order; the first sample of each is known to the decoder.
        colours: channels that are predicted from each other, 1 or 3; the others follow.
        limit: most bytes of the result.
    """
    data, low = (np.zeros(limit + _SLACK_BYTES, np.uint8) for _ in range(2))
    predictor = _make_predictor(planes[:, 0, 0], planes.shape, data, low)
    predictor.samples[:, ABOVE:, LEFT:-RIGHT] = planes
    size = int(code_samples(predictor, False, colours, int(planes.max())))
    low_size = -(-int(predictor.coder[4]) // 8)
    if size + low_size > limit:
        return None
    return data[:size].tobytes(), low[:low_size].tobytes()


def decode_samples(
    data: bytes,
    low: bytes,
    shape: tuple[int, int, int],
    colours: int,
    first: IntArray,
    largest: int,
) -> Planes:
    """Decode planes; damaged bytes decode to wrong samples without an error.

    Args:
        data: bytes of the arithmetic coder.
        low: bytes of the low bits.
        shape: channels, height and width.
        colours: channels that are predicted from each other, 1 or 3.
        first: the first sample of each channel.
        largest: of all samples.
    """
    parts = [np.frombuffer(part, np.uint8).copy() for part in (data, low)]
    predictor = _make_predictor(first, shape, *parts)
    code_samples(predictor, True, colours, largest)
    return predictor.samples[:, ABOVE:, LEFT:-RIGHT].astype(np.uint16)


def _make_predictor(
    first: NDArray[np.integer],
    shape: tuple[int, ...],
    data: NDArray[np.uint8],
    low: NDArray[np.uint8],
) -> Predictor:
    """An untrained predictor."""
    channels, height, width = shape
    size = ABOVE + height, LEFT + width + RIGHT
    samples = np.zeros((channels, *size), np.int32)
    samples[:, :ABOVE] = first[:, None, None]
    weights = np.zeros((channels * KINDS * 4, 5), np.int64)
    weights[:, :3] = _START_WEIGHT
    return Predictor(
        samples=samples,
        errors=np.zeros((channels, *size), np.int32),
        costs=np.zeros((channels, PREDICTIONS, 2, size[1]), np.int32),
        filters=np.zeros((channels, TAPS), np.int64),
        inputs=np.zeros(TAPS, np.int64),
        guesses=np.zeros(PREDICTIONS, np.int64),
        near=np.zeros(5, np.int64),
        tables=np.full((3, channels * max(CONTEXTS) * NODES), _EVEN, np.int32),
        weights=weights,
        coder=np.append(new_coder(), 0),
        data=data,
        low=low,
        maps=_maps(),
    )


@cache
def _maps() -> IntArray:
    """The constants `Predictor.maps`."""
    squash, stretch = logistic_tables()
    rates = (1 << 17) // (2 * np.arange(RATES, dtype=np.int64) + 3)
    return np.concatenate([stretch, squash, rates, 12 + 3000 // (16 + np.arange(STEPS))])
