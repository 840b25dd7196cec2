"""Compiled loops over lists of samples: slices, their tangents, scores of poses."""

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from laconic.compiled import compiled
from laconic.imaging.kernels import along_x, gradient_at, mix, place

Array = NDArray[Any]

_inline = numba.njit(inline="always", error_model="numpy")
_loop = compiled(nogil=True, error_model="numpy", fastmath=True)


@_loop
def read(
    volume: Array, turns: Array, ys: Array, xs: Array, scale: float, size: int, out: Array
) -> None:
    """Slices of a half volume at listed samples, divided by the images' size.

    Args:
        volume: (grid, grid, grid // 2 + 1), complex: a spectrum or its middle.
        turns: (slices, 2, 3), float64: the images' axes in the volume.
        ys: (samples,), int64: frequencies of the image.
        xs: the same.
        scale: places of the volume per frequency of the image.
        size: of the images.
        out: (slices, samples), complex; to be filled.
    """
    grid = volume.shape[0]
    for n in range(turns.shape[0]):
        for k in range(xs.shape[0]):
            at = place(turns[n], xs[k], ys[k], scale, grid)
            mirrored, z0, y0, x0, z1, y1, fz, fy, fx = at
            low, high = along_x(volume, z0, y0, x0, z1, y1, fz, fy)
            value = mix(low, high, fx) / size
            out[n, k] = np.conj(value) if mirrored else value


@_loop
def tangents(
    volume: Array, turns: Array, ys: Array, xs: Array, scale: float, size: int, out: Array
) -> None:
    """Slices, and their derivatives by rotations about the image's three axes.

    Args:
        volume: as for `read`.
        turns: as for `read`.
        ys: as for `read`.
        xs: as for `read`.
        scale: as for `read`.
        size: as for `read`.
        out: (slices, 4, samples), complex; to be filled.
    """
    grid = volume.shape[0]
    for n in range(turns.shape[0]):
        a, b = turns[n, 0], turns[n, 1]
        beam = (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])
        for k in range(xs.shape[0]):
            x, y = xs[k], ys[k]
            mirrored, z0, y0, x0, z1, y1, fz, fy, fx = place(turns[n], x, y, scale, grid)
            low, high = along_x(volume, z0, y0, x0, z1, y1, fz, fy)
            value = mix(low, high, fx)
            gx, gy, gz = gradient_at(volume, z0, y0, x0, z1, y1, fz, fy, fx)
            if mirrored:
                value, gx, gy, gz = np.conj(value), -np.conj(gx), -np.conj(gy), -np.conj(gz)
            along = (gx * beam[0] + gy * beam[1] + gz * beam[2]) * (scale / size)
            first = (gx * a[0] + gy * a[1] + gz * a[2]) * (scale / size)
            second = (gx * b[0] + gy * b[1] + gz * b[2]) * (scale / size)
            out[n, 0, k] = value / size
            out[n, 1, k] = -y * along
            out[n, 2, k] = x * along
            out[n, 3, k] = y * first - x * second


@numba.njit(error_model="numpy")
def _fill_waves(move: float, reach: int, waves: Array) -> None:
    """exp(-2 pi i k t / size) of frequencies |k| <= reach, unshifted, for a move by t pixels."""
    size = waves.shape[0]
    waves[0] = 1
    for k in range(1, reach + 1):
        angle = -2 * math.pi * k * move / size
        waves[k] = complex(math.cos(angle), math.sin(angle))
        waves[size - k] = np.conj(waves[k])


@_inline
def _single(value: Any) -> Any:
    """A fraction in single precision, so that sums with samples stay in it."""
    return np.float32(value)


@_inline
def _add_three(z: complex, wave: complex, sums: Array, first: int) -> None:
    """Add the real parts of z / wave, z and z wave."""
    even, odd = z.real * wave.real, z.imag * wave.imag
    sums[first] += even + odd
    sums[first + 1] += z.real
    sums[first + 2] += even - odd


@_loop
def score(
    volume: Array,
    turns: Array,
    owners: Array,
    moves: Array,
    step: float,
    data: Array,
    power: Array,
    ys: Array,
    xs: Array,
    scale: float,
    size: int,
    out: Array,
) -> None:
    """Log-likelihoods of poses, each with its nine shifts on a square, up to a constant.

    Args:
        volume: as for `read`.
        turns: (poses, 2, 3), float64.
        owners: (poses,), int64: the image of each pose.
        moves: (poses, 2), float64: x, y of the square's middle, in pixels.
        step: between the shifts, in pixels.
        data: (images, samples), complex: c x / s^2.
        power: (images or 1, samples), real: c^2 / s^2.
        ys: as for `read`.
        xs: as for `read`.
        scale: as for `read`.
        size: as for `read`.
        out: (poses, 9); to be filled; shift number 3 j + i is (i - 1, j - 1) steps.
    """
    grid = volume.shape[0]
    waves = np.empty((3, size), np.complex64)
    by_x, by_y, by_step = waves[0], waves[1], waves[2]
    reach = max(np.max(xs), np.max(ys))
    _fill_waves(step, reach, by_step)
    for n in range(turns.shape[0]):
        owner = owners[n]
        shared = owner if power.shape[0] > 1 else 0
        _fill_waves(moves[n, 0], reach, by_x)
        _fill_waves(moves[n, 1], reach, by_y)
        norm = np.float32(0.0)
        out[n] = 0
        for k in range(xs.shape[0]):
            x, y = xs[k], ys[k]
            mirrored, z0, y0, x0, z1, y1, fz, fy, fx = place(turns[n], x, y, scale, grid)
            low, high = along_x(volume, z0, y0, x0, z1, y1, _single(fz), _single(fy))
            value = mix(low, high, _single(fx))
            if mirrored:
                value = np.conj(value)
            norm += power[shared, k] * (value.real * value.real + value.imag * value.imag)
            row = y if y >= 0 else y + size
            z = np.conj(data[owner, k]) * value * by_x[x] * by_y[row]
            wave = by_step[row]
            _add_three(z * np.conj(wave), by_step[x], out[n], 0)
            _add_three(z, by_step[x], out[n], 3)
            _add_three(z * wave, by_step[x], out[n], 6)
        for shift in range(9):
            out[n, shift] = 2 * out[n, shift] / size - norm / (size * size)
