"""What a method without a model is."""

from abc import ABC, abstractmethod
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from laconic.codecs.lossless.core import Samples

MODEL: Final = 0
"""The number of the file's model, beside those of the methods."""
ORDERS: Final = {1: (0,), 2: (0, 1), 3: (1, 0, 2), 4: (1, 0, 2, 3)}
"""Channels in the order in which our own predictive methods code them, by their number."""
SMALL: Final = 1 << 14
"""Pictures of so many pixels are given to all methods."""
THOROUGH: Final = 7
"""From this effort on, all pictures are."""
MAX_STREAM_PIXELS: Final = 1 << 26
"""Pillow refuses to read much larger pictures, so WebP and PNG streams are not written for them."""


class DirectMethod(ABC):
    """Codes the samples of one picture by itself.

    Attributes:
        number: written into files, permanent.
        name: for people.
    """

    number: ClassVar[int]
    name: ClassVar[str]

    @abstractmethod
    def encode(self, samples: Samples, effort: int) -> bytes | None:
        """Write samples `(height, width, channels)`; None where the method cannot.

        Args:
            samples: bool (one channel), uint8 (1 to 4) or uint16 (1 to 4).
            effort: 0 fastest to 9 smallest; the decoder does not need it.
        """

    @abstractmethod
    def decode(self, data: bytes, height: int, width: int, channels: int, bits: int) -> Samples:
        """Read them back, `(height, width, channels)` of the type of so many bits.

        Raises:
            CorruptFileError: the bytes are no picture of this size and kind.
        """

    def bits(
        self, data: bytes, height: int, width: int, channels: int
    ) -> NDArray[np.float64] | None:
        """Bits of each sample of 8 bits, `(height, width, channels)`; None where none are known.

        Those of converted colours are the bits of their luma (second) and chroma.
        """
        return None
