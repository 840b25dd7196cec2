"""EXIF orientations of samples in arrays."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

TURNS: Final = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}
"""What turns samples of each EXIF orientation upright."""


def turn(samples: NDArray[np.uint16], orientation: int) -> NDArray[np.uint16]:
    """Samples of an EXIF orientation, upright."""
    if orientation not in TURNS:
        return samples
    return np.ascontiguousarray(TURNS[orientation](samples))
