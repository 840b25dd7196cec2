"""Compiled loops over the samples of central slices: read from a half volume, and add to it.

A half volume is the unshifted discrete Fourier transform of a real volume as `rfftn` gives it:
axes (z, y, x), x >= 0; what lies at x < 0 is the conjugate of the opposite place. A half slice is
the same of an image: axes (y, x). Samples beyond the band are left alone. Each sample is
interpolated linearly from 8 places (Ullrich 5.4, ERRATA 11).
"""

import math
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from laconic.compiled import compiled

Array = NDArray[Any]
Rings = tuple[Array, Array, Array]

RING_WIDTH = 2
"""Of a ring of samples, in frequencies of the image."""
BATCH = 256
"""Images in one call at most, for speed: with more, their own pages no longer fit the caches."""

_inline = numba.njit(inline="always", error_model="numpy")
_loop = compiled(nogil=True, error_model="numpy")


@lru_cache(maxsize=8)
def rings(size: int, band: float) -> Rings:
    """The samples of a half slice within a band, ordered by rings about the origin.

    All images visit one ring before the next one: a ring turns within a shell of the volume, which
    the processor's cache can hold while the whole volume is too large for it.

    Returns:
        ys, xs: (samples,), int64: signed frequencies; bounds: (rings + 1,) of the rings.
    """
    y, x = np.broadcast_arrays(
        np.arange(size)[:, None] - size // 2, np.arange(size // 2 + 1)[None, :]
    )
    square = y * y + x * x
    inside = square <= band * band
    y, x, ring = y[inside], x[inside], (np.sqrt(square[inside]) // RING_WIDTH).astype(np.int64)
    order = np.lexsort((x, y, ring))
    bounds = np.searchsorted(ring[order], np.arange(ring.max(initial=0) + 2))
    return y[order].astype(np.int64), x[order].astype(np.int64), bounds


@_inline
def _row(y: int, size: int) -> int:
    """The row of a signed frequency in an unshifted transform."""
    return y if y >= 0 else y + size


@_inline
def place(turn: Array, x: int, y: int, scale: float, grid: int) -> tuple[Any, ...]:
    """Where a sample lies in the half volume.

    Args:
        turn: (2, 3): the image's axes in the volume.
        x: frequency of the sample.
        y: the same, of its row.
        scale: places of the volume per frequency of the image.
        grid: places along an axis of the whole volume.

    Returns:
        Whether it is mirrored; the lower corner z, y, x and the next one z, y; the fractions.
    """
    px = scale * (x * turn[0, 0] + y * turn[1, 0])
    py = scale * (x * turn[0, 1] + y * turn[1, 1])
    pz = scale * (x * turn[0, 2] + y * turn[1, 2])
    mirrored = px < 0
    if mirrored:
        px, py, pz = -px, -py, -pz
    cx, cy, cz = math.floor(px), math.floor(py), math.floor(pz)
    fx, fy, fz = px - cx, py - cy, pz - cz
    # Comparisons are several times as fast as remainders; places lie within one grid of 0.
    z0 = int(cz) + grid if cz < 0 else int(cz)
    y0 = int(cy) + grid if cy < 0 else int(cy)
    z1 = 0 if z0 + 1 == grid else z0 + 1
    y1 = 0 if y0 + 1 == grid else y0 + 1
    return mirrored, z0, y0, int(cx), z1, y1, fz, fy, fx


@_inline
def mix(a: complex, b: complex, part: float) -> complex:
    """The number between two complex ones: a + (b - a) part; much faster than their products."""
    return complex(a.real + (b.real - a.real) * part, a.imag + (b.imag - a.imag) * part)


@_inline
def along_x(
    volume: Array, z0: int, y0: int, x0: int, z1: int, y1: int, fz: float, fy: float
) -> tuple[Any, Any]:
    """A volume interpolated along z and y, at x0 and at x0 + 1; the places are `place`'s."""
    low = mix(
        mix(volume[z0, y0, x0], volume[z0, y1, x0], fy),
        mix(volume[z1, y0, x0], volume[z1, y1, x0], fy),
        fz,
    )
    x1 = x0 + 1
    high = mix(
        mix(volume[z0, y0, x1], volume[z0, y1, x1], fy),
        mix(volume[z1, y0, x1], volume[z1, y1, x1], fy),
        fz,
    )
    return low, high


@_inline
def gradient_at(
    volume: Array,
    z0: int,
    y0: int,
    x0: int,
    z1: int,
    y1: int,
    fz: float,
    fy: float,
    fx: float,
) -> tuple[Any, Any, Any]:
    """The derivatives of the interpolated volume by x, y and z."""
    low, high = along_x(volume, z0, y0, x0, z1, y1, fz, fy)
    x1 = x0 + 1
    a00 = mix(volume[z0, y0, x0], volume[z0, y0, x1], fx)
    a01 = mix(volume[z0, y1, x0], volume[z0, y1, x1], fx)
    a10 = mix(volume[z1, y0, x0], volume[z1, y0, x1], fx)
    a11 = mix(volume[z1, y1, x0], volume[z1, y1, x1], fx)
    return high - low, mix(a01 - a00, a11 - a10, fz), mix(a10 - a00, a11 - a01, fy)


@_loop
def read(volume: Array, turns: Array, samples: Rings, scale: float, slices: Array) -> None:
    """Fill half slices from a half volume.

    Args:
        volume: (grid, grid, grid // 2 + 1), complex.
        turns: (images, 2, 3), float64: the images' axes in the volume.
        samples: of an image, ring by ring; see `rings`.
        scale: places of the volume per frequency of the image.
        slices: (images, size, size // 2 + 1), complex; zeros, to be filled.
    """
    ys, xs, bounds = samples
    size, grid = slices.shape[1], volume.shape[0]
    for ring in range(bounds.size - 1):
        for n in range(slices.shape[0]):
            for k in range(bounds[ring], bounds[ring + 1]):
                y, x = ys[k], xs[k]
                mirrored, z0, y0, x0, z1, y1, fz, fy, fx = place(turns[n], x, y, scale, grid)
                low, high = along_x(volume, z0, y0, x0, z1, y1, fz, fy)
                value = mix(low, high, fx)
                slices[n, _row(y, size), x] = np.conj(value) if mirrored else value


@_loop
def add(slices: Array, turns: Array, samples: Rings, scale: float, volume: Array) -> None:
    """Add half slices to a half volume: the adjoint of `read`, with the same arguments."""
    ys, xs, bounds = samples
    size, grid = slices.shape[1], volume.shape[0]
    for ring in range(bounds.size - 1):
        for n in range(slices.shape[0]):
            for k in range(bounds[ring], bounds[ring + 1]):
                y, x = ys[k], xs[k]
                mirrored, z0, y0, x0, z1, y1, fz, fy, fx = place(turns[n], x, y, scale, grid)
                value = slices[n, _row(y, size), x]
                if mirrored:
                    value = np.conj(value)
                low, high = value * (1 - fx), value * fx
                part = (1 - fz) * (1 - fy)
                volume[z0, y0, x0] += low * part
                volume[z0, y0, x0 + 1] += high * part
                part = (1 - fz) * fy
                volume[z0, y1, x0] += low * part
                volume[z0, y1, x0 + 1] += high * part
                part = fz * (1 - fy)
                volume[z1, y0, x0] += low * part
                volume[z1, y0, x0 + 1] += high * part
                part = fz * fy
                volume[z1, y1, x0] += low * part
                volume[z1, y1, x0 + 1] += high * part


@_loop
def turn_gradient(
    volume: Array, gradient: Array, turns: Array, samples: Rings, scale: float, result: Array
) -> None:
    """The gradient of a loss by the images' axes, given its gradient by the half slices.

    Args:
        volume: as for `read`.
        gradient: (images, size, size // 2 + 1), complex: d loss / d real + i d loss / d imaginary.
        turns: as for `read`.
        samples: as for `read`.
        scale: as for `read`.
        result: (images, 2, 3), float64; zeros, to be filled.
    """
    ys, xs, bounds = samples
    size, grid = gradient.shape[1], volume.shape[0]
    for ring in range(bounds.size - 1):
        for n in range(gradient.shape[0]):
            for k in range(bounds[ring], bounds[ring + 1]):
                y, x = ys[k], xs[k]
                mirrored, z0, y0, x0, z1, y1, fz, fy, fx = place(turns[n], x, y, scale, grid)
                g = gradient[n, _row(y, size), x]
                if mirrored:
                    g = np.conj(g)
                dx, dy, dz = gradient_at(volume, z0, y0, x0, z1, y1, fz, fy, fx)
                factor = -scale if mirrored else scale
                gx = factor * (g.real * dx.real + g.imag * dx.imag)
                gy = factor * (g.real * dy.real + g.imag * dy.imag)
                gz = factor * (g.real * dz.real + g.imag * dz.imag)
                result[n, 0, 0] += x * gx
                result[n, 0, 1] += x * gy
                result[n, 0, 2] += x * gz
                result[n, 1, 0] += y * gx
                result[n, 1, 1] += y * gy
                result[n, 1, 2] += y * gz


@_loop
def draw_blobs(places: Array, weights: Array, width: float, volume: Array) -> None:
    """Add Gaussians to a volume, each within five widths of its centre, of its weight in all.

    Args:
        places: (blobs, 3): x, y, z in voxels, from the corner's centre.
        weights: (blobs,).
        width: standard deviation in voxels.
        volume: (size, size, size), axes (z, y, x).
    """
    size = volume.shape[0]
    reach = math.ceil(5 * width) + 1
    along = np.zeros((3, 2 * reach + 1))
    for blob in range(places.shape[0]):
        total = weights[blob]
        for axis in range(3):
            middle = round(places[blob, axis])
            norm = 0.0
            for k in range(2 * reach + 1):
                offset = (middle - reach + k - places[blob, axis]) / width
                along[axis, k] = math.exp(-0.5 * offset * offset)
                norm += along[axis, k]
            total /= norm
        x0 = round(places[blob, 0]) - reach
        y0 = round(places[blob, 1]) - reach
        z0 = round(places[blob, 2]) - reach
        for k in range(2 * reach + 1):
            if not 0 <= z0 + k < size:
                continue
            for j in range(2 * reach + 1):
                if not 0 <= y0 + j < size:
                    continue
                part = total * along[2, k] * along[1, j]
                for i in range(2 * reach + 1):
                    if 0 <= x0 + i < size:
                        volume[z0 + k, y0 + j, x0 + i] += part * along[0, i]
