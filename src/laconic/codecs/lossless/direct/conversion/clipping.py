"""Components of colours with channels at 0 or 255, which may have been clipped.

They have several preimages; the one near the surroundings is taken. First the components of the
pixels that are not clipped are spread over the others: averages of 2 x 2, 4 x 4, ... pixels, of the
smallest block that has some. Then each pixel has the average of its eight neighbours as guess. The
colour of a guess, moved in luma so that it fits the channels that are not clipped, says what the
clipped ones were; colours near it are inverted until one of the results converts to the pixel.
"""

from functools import cache
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from laconic.codecs.lossless.direct.conversion.known import Flags, Known, Real
from laconic.codecs.lossless.direct.conversion.program import Bytes

REACH: Final = (0, 48, 6, 0)
"""How far the channels before clipping are looked for, by how many are clipped."""
CHROMA: Final = 8
"""How far chroma is looked for where this finds nothing."""
ENOUGH: Final = 32
"""Steps for pixels that have exact components already."""
FINE: Final = 2
"""Fractional bits by which guesses differ."""
_BLOCK: Final = 1 << 18
"""Pixels at once."""
Places = NDArray[np.int64]


def invert_clipped(
    colours: Bytes, components: Bytes, exact: Flags, clipped: Flags, known: Known
) -> None:
    """Give pixels with clipped channels components near those of their surroundings; in place.

    Args:
        colours: `(height, width, 3)`.
        components: exact ones of pixels that are not clipped, any of others.
        exact: where components are exact, `(height, width)`.
        clipped: the pixels with clipped channels, `(height, width)`.
        known: the conversion.
    """
    rows, columns = np.nonzero(clipped)
    wanted = colours[rows, columns]
    guess = spread(components.astype(np.float32), exact & ~clipped)[rows, columns]
    for last in (False, True):
        if last:
            guess = _around(components, rows, columns)
        for start in range(0, len(rows), _BLOCK):
            part = slice(start, start + _BLOCK)
            places = rows[part], columns[part]
            first, again = _different(wanted[part], guess[part])
            some, about = wanted[part][first], guess[part][first]
            fits = np.bincount(again, ~exact[places]) == 0
            better, near = _by_colour(some, about, fits, known)
            left = np.flatnonzero(~(fits | near))
            if last and len(left):
                better[left], near[left] = _by_chroma(some[left], about[left], known)
            moved = near[again]
            components[places] = np.where(moved[:, None], better[again], components[places])
            exact[places] |= moved


def _different(colours: Bytes, guess: Real) -> tuple[Places, Places]:
    """Pixels without those that equal others, and for each pixel which of these it equals."""
    fine = np.rint(guess * np.float32(1 << FINE)).astype(np.int64)
    packed = np.zeros(len(colours), np.int64)
    for channel in range(3):
        packed = (packed << 8 + FINE | fine[:, channel]) << 8 | colours[:, channel]
    _, first, again = np.unique(packed, return_index=True, return_inverse=True)
    return first, again


def spread(values: Real, good: Flags) -> Real:
    """Values as they are where they are good, and averages of good ones near by elsewhere.

    Args:
        values: `(height, width, 3)`.
        good: `(height, width)`.
    """
    if good.all() or not good.any():
        return values
    weights = _halve(good.astype(np.float32)[..., None])
    sums = _halve(np.where(good[..., None], values, np.float32(0)))
    means = (sums / np.maximum(weights, 1)).astype(np.float32)
    coarse = spread(means, weights[..., 0] > 0)
    rows, columns = np.nonzero(~good)
    found = values.copy()
    found[rows, columns] = coarse[rows // 2, columns // 2]
    return found


def _halve(values: Real) -> Real:
    """Sums of 2 x 2 pixels, with zeros around."""
    height, width, _ = values.shape
    even = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)))
    rows: Real = even[::2] + even[1::2]
    halved: Real = rows[:, ::2] + rows[:, 1::2]
    return halved


def _around(components: Bytes, rows: Places, columns: Places) -> Real:
    """The average of eight neighbours; at the border pixels repeat."""
    padded = np.pad(components, ((1, 1), (1, 1), (0, 0)), mode="edge")
    total = np.zeros((len(rows), 3), np.float32)
    for down, right in product(range(3), repeat=2):
        if (down, right) != (1, 1):
            total += padded[rows + down, columns + right]
    return total / np.float32(8)


def before_clipping(colours: Bytes, guess: Real, known: Known) -> Real:
    """What clipped channels may have been, given about their components.

    Args:
        colours: `(pixels, 3)`.
        guess: components `(pixels, 3)`.
        known: the conversion.
    """
    matrix, offset = (part.astype(np.float32) for part in known.affine)
    real: Real = guess @ matrix.T + offset
    white, black = colours == 255, colours == 0
    free = ~(white | black)
    apart = ((colours - real) * free).sum(1) / np.maximum(free.sum(1), 1)
    lack, excess = np.maximum(255 - real.min(1), 0), np.minimum(-real.max(1), 0)
    apart = np.where(white.all(1), lack, np.where(black.all(1), excess, apart))
    real += apart[:, None].astype(np.float32)
    low, high = np.where(free, colours, -np.inf), np.where(free, colours, np.inf)
    return np.clip(real, np.where(white, 255, low), np.where(black, 0, high)).astype(np.float32)


def _by_colour(colours: Bytes, guess: Real, fits: Flags, known: Known) -> tuple[Bytes, Flags]:
    """Exact components, by steps of clipped channels from the guess; and where there are some.

    Where there are exact ones already, `fits`, only few steps are tried.
    """
    real = before_clipping(colours, guess, known)
    components, found = np.zeros_like(colours), np.zeros(len(colours), bool)
    ends = (colours == 0) | (colours == 255)
    count, order = ends.sum(1), np.argsort(~ends, axis=1, kind="stable")
    for clipped in (1, 2, 3):
        left = np.flatnonzero(count == clipped)
        for number, step in enumerate(_steps(clipped, REACH[clipped])):
            if number == ENOUGH:
                left = left[~fits[left]]
            if not len(left):
                break
            moved = real[left]
            for channels, one in zip(order[left].T, step, strict=False):
                moved[np.arange(len(left)), channels] += one
            tried = known.nearest(moved)
            good = known.gives(tried, colours[left])
            components[left[good]], found[left[good]] = tried[good], True
            left = left[~good]
    return components, found


def _by_chroma(colours: Bytes, guess: Real, known: Known) -> tuple[Bytes, Flags]:
    """The same by steps of chroma, with the luma that then gives the channels."""
    matrix, offset = (part.astype(np.float32) for part in known.affine)
    components, found = np.zeros_like(colours), np.zeros(len(colours), bool)
    low = np.where(colours == 0, -np.inf, colours - 0.5)
    high = np.where(colours == 255, np.inf, colours + 0.5)
    rounded, left = np.rint(guess), np.arange(len(colours))
    for step in _steps(2, CHROMA):
        if not len(left):
            break
        second, first = rounded[left, 0] + step[0], rounded[left, 2] + step[1]
        without = np.outer(second, matrix[:, 0]) + np.outer(first, matrix[:, 2]) + offset
        least = ((low[left] - without) / matrix[:, 1]).max(1)
        most = ((high[left] - without) / matrix[:, 1]).min(1)
        luma = np.rint(np.clip(guess[left, 1], least, most))
        tried = np.clip(np.stack([second, luma, first], 1), 0, 255).astype(np.uint8)
        good = known.gives(tried, colours[left])
        components[left[good]], found[left[good]] = tried[good], True
        left = left[~good]
    return components, found


@cache
def _steps(channels: int, reach: int) -> Real:
    """All steps of up to `reach` in each of so many channels, short ones first."""
    steps = product(range(-reach, reach + 1), repeat=channels)
    return np.array(sorted(steps, key=lambda step: sum(one * one for one in step)), np.float32)
