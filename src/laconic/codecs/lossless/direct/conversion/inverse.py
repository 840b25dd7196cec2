"""Components of a picture's colours: the integers that a conversion was done from.

A colour without a channel at 0 or 255 has one preimage at most, next to its real one. For others
see `clipping`.
"""

from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from laconic.codecs.lossless.direct.conversion.clipping import invert_clipped
from laconic.codecs.lossless.direct.conversion.known import Flags, Known
from laconic.codecs.lossless.direct.conversion.program import Bytes

MOST: Final = 1 / 32
"""Of the pixels at most so many may be exceptions."""
_BLOCK: Final = 1 << 15
_STEPS: Final = sorted(product((-1, 0, 1), repeat=3), key=lambda step: sum(map(abs, step)))[1:]


def invert(colours: Bytes, known: Known) -> Bytes | None:
    """Components of a picture `(height, width, 3)`; None where too many pixels have none.

    A pixel without exact components has those of its rounded inverse.
    """
    shape, flat = colours.shape, np.ascontiguousarray(colours).reshape(-1, 3)
    components, exact, clipped = _round(flat, known)
    most = len(flat) * MOST
    left = np.flatnonzero(~(exact | clipped))
    if len(left) <= 8 * most:
        _try_neighbours(flat, components, exact, left, known)
    if (~(exact | clipped)).sum() > most:
        return None
    if clipped.any():
        flags = exact.reshape(shape[:2]), clipped.reshape(shape[:2])
        invert_clipped(colours, components.reshape(shape), *flags, known)
    return None if (~exact).sum() > most else components.reshape(shape)


def _round(flat: Bytes, known: Known) -> tuple[Bytes, Flags, Flags]:
    """The rounded inverse, where it is exact, and which pixels have clipped channels."""
    components = np.empty(flat.shape, np.uint8)
    exact, clipped = np.empty(len(flat), bool), np.empty(len(flat), bool)
    for start in range(0, len(flat), _BLOCK):
        part = slice(start, start + _BLOCK)
        components[part] = known.nearest(flat[part])
        exact[part] = known.gives(components[part], flat[part])
        ends = (flat[part] == 0) | (flat[part] == 255)
        clipped[part] = ends[:, 0] | ends[:, 1] | ends[:, 2]
    return components, exact, clipped


def _try_neighbours(
    flat: Bytes, components: Bytes, exact: Flags, left: NDArray[np.int64], known: Known
) -> None:
    """Look for exact components one step from those of the pixels that are left; in place."""
    for step in _STEPS:
        if not len(left):
            return
        moved = components[left] + np.array(step, np.int16)
        tried = np.clip(moved, 0, 255).astype(np.uint8)
        good = known.gives(tried, flat[left])
        components[left[good]] = tried[good]
        exact[left[good]] = True
        left = left[~good]
