"""Compiled loops of the filters of PNG.

Source: W3C, Portable Network Graphics (third edition), 9 Filtering.
"""

from typing import Any, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from laconic.compiled import compiled

Int: TypeAlias = Any
"""An integer in compiled loops."""
Bytes: TypeAlias = NDArray[np.uint8]
FILTERS = 5


@njit(nogil=True, error_model="numpy")
def _predict(kind: Int, west: Int, north: Int, corner: Int) -> Int:
    """The prediction of a byte by a filter: none, sub, up, average, Paeth."""
    if kind == 0:
        return np.int64(0)
    if kind == 1:
        return west
    if kind == 2:
        return north
    if kind == 3:
        return (west + north) >> 1
    to_west, to_north = abs(north - corner), abs(west - corner)
    to_corner = abs(west + north - 2 * corner)
    if to_west <= to_north and to_west <= to_corner:
        return west
    return north if to_north <= to_corner else corner


@compiled(nogil=True, error_model="numpy")
def unfilter(rows: Bytes, filters: Bytes, step: Int) -> bool:
    """Undo the filters of rows in place; False if a filter is unknown.

    Args:
        rows: `(height, bytes)`.
        filters: of each row.
        step: bytes of a pixel.
    """
    height, width = rows.shape
    for y in range(height):
        kind = np.int64(filters[y])
        if kind >= FILTERS:
            return False
        if kind == 0:
            continue
        for x in range(width):
            west = np.int64(rows[y, x - step]) if x >= step else np.int64(0)
            north = np.int64(rows[y - 1, x]) if y > 0 else np.int64(0)
            corner = np.int64(rows[y - 1, x - step]) if y > 0 and x >= step else np.int64(0)
            rows[y, x] = (rows[y, x] + _predict(kind, west, north, corner)) & 255
    return True


@compiled(nogil=True, error_model="numpy")
def choose_filters(rows: Bytes, filtered: Bytes, step: Int) -> None:
    """Filter rows, each by the filter with the smallest sum of absolute values.

    Args:
        rows: `(height, bytes)`.
        filtered: `(height, 1 + bytes)`: the filter, and the filtered row.
        step: bytes of a pixel.
    """
    height, width = rows.shape
    trial = np.empty((FILTERS, width), np.uint8)
    for y in range(height):
        best, least = 0, np.int64(1) << 62
        for kind in range(FILTERS):
            total = np.int64(0)
            for x in range(width):
                west = np.int64(rows[y, x - step]) if x >= step else np.int64(0)
                north = np.int64(rows[y - 1, x]) if y > 0 else np.int64(0)
                corner = np.int64(rows[y - 1, x - step]) if y > 0 and x >= step else np.int64(0)
                value = (rows[y, x] - _predict(kind, west, north, corner)) & 255
                trial[kind, x] = value
                total += min(value, 256 - value)
            if total < least:
                best, least = kind, total
        filtered[y, 0] = best
        filtered[y, 1:] = trial[best]
