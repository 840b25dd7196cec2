"""Samples of pictures on the stack, under whatever distribution a model in integers gave."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from laconic.codecs.groups import Pixels
from laconic.coding.pixels import ColourMixture, LogisticMixture
from laconic.coding.stack import IntArray, Stack
from laconic.coding.symbols import Bernoulli
from laconic.errors import InputError
from laconic.models.exact import BernoulliParameters, PixelParameters

WHITE: Final = 255
"""The value of a binary pixel that is on."""


def to_steps(pixels: Pixels) -> NDArray[np.float64]:
    """Samples in steps of 8 bits, exactly; `(n, h, w, colours)` -> `(n, colours, h, w)`."""
    scale = 1 / 256 if pixels.dtype == np.uint16 else 1.0
    moved: NDArray[np.float64] = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)) * scale
    return moved


def push_samples(stack: Stack, parameters: PixelParameters, samples: IntArray, bits: int) -> None:
    """Put samples `(n, colours)` on the stack.

    Raises:
        InputError: the model codes black and white alone, and a sample is neither.
    """
    if isinstance(parameters, BernoulliParameters):
        if not bool(((samples == 0) | (samples == WHITE)).all()):
            raise InputError("this model codes black and white alone; the picture has greys")
        Bernoulli(parameters.logits[:, 0]).push(stack, samples[:, 0] // WHITE)
    elif parameters.couplings is None:
        _mixture(parameters, bits).push(stack, samples[:, 0])
    else:
        ColourMixture(*parameters).push(stack, samples)


def pop_samples(stack: Stack, parameters: PixelParameters, bits: int) -> IntArray:
    """Take samples `(n, colours)` off the stack.

    Raises:
        CorruptFileError: the stack holds too few bits.
    """
    if isinstance(parameters, BernoulliParameters):
        return Bernoulli(parameters.logits[:, 0]).pop(stack)[:, None] * WHITE
    if parameters.couplings is None:
        return _mixture(parameters, bits).pop(stack)[:, None]
    return ColourMixture(*parameters).pop(stack)


def _mixture(parameters: PixelParameters, bits: int) -> LogisticMixture:
    assert not isinstance(parameters, BernoulliParameters)
    logits, means, log_scales = (part[:, 0] for part in parameters[:3] if part is not None)
    return LogisticMixture(logits, means, log_scales, levels=1 << bits)
