"""Samples of pictures on a stack, under the distribution that a model in integers computed."""

from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from laconic.codecs.lossless.core import Samples
from laconic.coding.stack.ans import PRECISION, IntArray, Stack
from laconic.coding.stack.kernels import WordArray
from laconic.coding.stack.pixels import ColourMixture, LogisticMixture
from laconic.coding.stack.symbols import Bernoulli
from laconic.errors import InputError
from laconic.models.exact import BernoulliParameters, MixtureParameters, PixelParameters

WHITE: Final = 255
"""The step of a binary pixel that is on."""
STEPS: Final = {1: float(WHITE), 8: 1.0, 16: 1 / 256}
"""A sample's size in steps of 8 bits, by its bits."""


def to_steps(pixels: Samples) -> NDArray[np.float64]:
    """Samples in steps of 8 bits, exactly; `(n, h, w, colours)` -> `(n, colours, h, w)`."""
    step = {np.dtype(np.bool_): STEPS[1], np.dtype(np.uint16): STEPS[16]}.get(pixels.dtype, 1.0)
    moved = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).astype(np.float64)
    return moved * step


@final
class PixelCodec:
    """The samples of one picture, or of a part of it.

    Args:
        parameters: of n pixels.
        bits: of a sample, 1, 8 or 16.
    """

    def __init__(self, parameters: PixelParameters, bits: int) -> None:
        self.parameters, self.bits = parameters, bits

    def push(self, stack: Stack, samples: IntArray) -> None:
        """Put samples `(n, colours)` on the stack.

        Raises:
            InputError: the model codes black and white alone, and a sample is neither.
        """
        stack.push(*self._intervals(samples))

    def code_lengths(self, samples: IntArray) -> NDArray[np.float64]:
        """What `push` adds for each sample `(n, colours)`, in bits.

        Raises:
            InputError: the model codes black and white alone, and a sample is neither.
        """
        _, sizes = self._intervals(samples)
        return (PRECISION - np.log2(sizes)).reshape(samples.shape)

    def _intervals(self, samples: IntArray) -> tuple[WordArray, WordArray]:
        parameters, bits = self.parameters, self.bits
        if isinstance(parameters, BernoulliParameters):
            white = 1 if bits == 1 else WHITE
            if bits > 8 or not bool(((samples == 0) | (samples == white)).all()):
                raise InputError(
                    "this model codes black and white alone; the picture has other greys"
                )
            return Bernoulli(parameters.logits[:, 0]).intervals(samples[:, 0] // white)
        if parameters.couplings is None:
            return _mixture(parameters, bits).intervals(samples[:, 0] * (WHITE if bits == 1 else 1))
        return _colours(parameters).intervals(samples)

    def pop(self, stack: Stack) -> IntArray:
        """Take samples `(n, colours)` off the stack.

        Raises:
            CorruptFileError: the stack holds too few bits.
        """
        parameters, bits = self.parameters, self.bits
        if isinstance(parameters, BernoulliParameters):
            pixels = Bernoulli(parameters.logits[:, 0]).pop(stack)
            return pixels[:, None] * (1 if bits == 1 else WHITE)
        if parameters.couplings is None:
            return _mixture(parameters, bits).pop(stack)[:, None] // (WHITE if bits == 1 else 1)
        return _colours(parameters).pop(stack)


def _mixture(parameters: MixtureParameters, bits: int) -> LogisticMixture:
    logits, means, log_scales = (part[:, 0] for part in parameters[:3] if part is not None)
    return LogisticMixture(logits, means, log_scales, levels=1 << max(bits, 8))


def _colours(parameters: MixtureParameters) -> ColourMixture:
    logits, means, log_scales, couplings = parameters
    assert couplings is not None
    return ColourMixture(logits, means, log_scales, couplings)
