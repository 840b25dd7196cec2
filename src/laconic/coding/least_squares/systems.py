"""Compiled loops of the predictor: weighted least squares over the samples coded before.

A sample is predicted as a linear function of its neighbours (taps). The weights of the taps
minimise the squared errors of the samples before it, which count less the farther they are: by
`NEAR` for each column, by `ABOVE` for each row. The sums of products, one upper triangle of a
matrix for each column, are kept in rows: row i has the products of tap i with the taps from i on,
and then with the sample. So a system is one vector of `terms(taps)` numbers.

The factors L D L' of a system are also those of its first taps alone, so one factorisation gives
the weights of both predictions.

All numbers are binary32, and every operation is rounded by itself, in the order written here: no
sum is reordered, no product fused with an addition. So the results are equal on every machine
(IEEE 754).

Source: Li and Orchard 2001, "Edge-directed prediction for lossless compression of natural images"
(least squares over a causal window); Golub and Van Loan 2013, "Matrix Computations", 4.1 (the
factors).
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from laconic.coding.binary_arithmetic import Float, Int

Floats = NDArray[np.float32]

HALF, ONE = np.float32(0.5), np.float32(1)
NEAR = np.float32(0.85)
"""Weight of a sample, for each column between it and the current one."""
ABOVE = np.float32(0.75)
"""The same for each row."""
SLOW = np.float32(0.9995)
"""The same for each sample, in the sums over the whole plane."""
RIDGE = np.float32(4)
"""Added to the diagonal of the sums around the sample."""
WIDE_RIDGE = np.float32(32)
"""Added to that of the sums over the whole plane."""
FIRST_TAPS = 12
"""Of the prediction from the first taps."""
PERIOD, WIDE_PERIOD, WIDE_PHASE = 4, 8, 6
"""Columns between two solutions of each; the second one starts at a column of its own."""
EASE = np.float32(1e-5)
"""A sample whose expected error is e, in units of 2^-8, has the weight 1 / (1 + EASE e^2)."""


class Systems(NamedTuple):
    """Sums of products of a plane, and their factors.

    Attributes:
        rows: of samples above, by column, with the weight of the next row, `(width, terms)`.
        right: of `rows`, those from a column on, `(width, terms)`.
        left: of the columns before the current one, with this row, `(terms,)`.
        wide: of the whole plane, `(terms,)`.
        trial: a system while it is factored, `(terms,)`.
        inverses: of its diagonal, `(taps,)`.
        weights: of the first taps, of all of them, and by the sums of the plane, `(3, taps)`.
        taps: values of the neighbours, `(taps,)`.
        products: of the current sample, `(terms,)`.
    """

    rows: Floats
    right: Floats
    left: Floats
    wide: Floats
    trial: Floats
    inverses: Floats
    weights: Floats
    taps: Floats
    products: Floats


def terms(taps: int) -> int:
    """Numbers of a system."""
    return taps * (taps + 1) // 2 + taps


def new_systems(taps: int, width: int) -> Systems:
    """Sums over nothing."""
    size = terms(taps)
    vectors = [np.zeros(size, np.float32) for _ in range(4)]
    return Systems(
        rows=np.zeros((width, size), np.float32),
        right=np.zeros((width, size), np.float32),
        left=vectors[0],
        wide=vectors[1],
        trial=vectors[2],
        inverses=np.zeros(taps, np.float32),
        weights=np.zeros((3, taps), np.float32),
        taps=np.zeros(taps, np.float32),
        products=vectors[3],
    )


@njit(nogil=True, error_model="numpy")
def start_row(s: Systems) -> None:
    """Add up the sums above from the right."""
    last = s.rows.shape[0] - 1
    s.right[last, :] = s.rows[last]
    for x in range(last - 1, -1, -1):
        row, right, beyond = s.rows[x], s.right[x], s.right[x + 1]
        for i in range(row.size):
            right[i] = row[i] + NEAR * beyond[i]
    s.left[:] = 0


@njit(nogil=True, error_model="numpy")
def _factor(system: Floats, inverses: Floats, ridge: Float) -> bool:
    """Replace a system by its factors, row by row; False if it has no positive diagonal."""
    n = inverses.size
    for i in range(n):
        size = n - i + 1
        start = i * (n + 1) - i * (i - 1) // 2
        row = system[start : start + size]
        k = 0
        while k + 4 <= i:  # Four rows at a time, in the order of one at a time.
            p0 = k * (n + 1) - k * (k - 1) // 2 + i - k
            p1 = p0 + n - k
            p2 = p1 + n - k - 1
            p3 = p2 + n - k - 2
            f0, f1 = system[p0] * inverses[k], system[p1] * inverses[k + 1]
            f2, f3 = system[p2] * inverses[k + 2], system[p3] * inverses[k + 3]
            r0, r1 = system[p0 : p0 + size], system[p1 : p1 + size]
            r2, r3 = system[p2 : p2 + size], system[p3 : p3 + size]
            for j in range(size):
                row[j] = row[j] - f0 * r0[j] - f1 * r1[j] - f2 * r2[j] - f3 * r3[j]
            k += 4
        while k < i:
            p0 = k * (n + 1) - k * (k - 1) // 2 + i - k
            f0, r0 = system[p0] * inverses[k], system[p0 : p0 + size]
            for j in range(size):
                row[j] = row[j] - f0 * r0[j]
            k += 1
        diagonal = row[0] + ridge
        if not diagonal > 0:
            return False
        inverses[i] = ONE / diagonal
    return True


@njit(nogil=True, error_model="numpy")
def dot(first: Floats, second: Floats) -> Float:
    """A sum of products: four sums, of every fourth one, and then of these four."""
    size = first.size
    s0 = s1 = s2 = s3 = np.float32(0)
    k = 0
    while k + 4 <= size:
        s0 += first[k] * second[k]
        s1 += first[k + 1] * second[k + 1]
        s2 += first[k + 2] * second[k + 2]
        s3 += first[k + 3] * second[k + 3]
        k += 4
    if k < size:
        s0 += first[k] * second[k]
    if k + 1 < size:
        s1 += first[k + 1] * second[k + 1]
    if k + 2 < size:
        s2 += first[k + 2] * second[k + 2]
    return (s0 + s1) + (s2 + s3)


@njit(nogil=True, error_model="numpy")
def _substitute(s: Systems, which: Int, count: Int) -> None:
    """Set weights of the first `count` taps from the factors."""
    n, weights = s.taps.size, s.weights[which]
    for k in range(count - 1, -1, -1):
        start = k * (n + 1) - k * (k - 1) // 2
        rest = dot(s.trial[start + 1 : start + count - k], weights[k + 1 : count])
        weights[k] = (s.trial[start + n - k] - rest) * s.inverses[k]


@njit(nogil=True, error_model="numpy")
def solve_around(s: Systems, x: Int) -> None:
    """Set the weights by the sums around column x; they stay if these have no positive diagonal."""
    trial, left, right = s.trial, s.left, s.right[x]
    for i in range(trial.size):
        trial[i] = left[i] + right[i]
    if _factor(trial, s.inverses, RIDGE):
        _substitute(s, 0, min(FIRST_TAPS, s.taps.size))
        _substitute(s, 1, s.taps.size)


@njit(nogil=True, error_model="numpy")
def solve_wide(s: Systems) -> None:
    """The same by the sums over the whole plane."""
    s.trial[:] = s.wide
    if _factor(s.trial, s.inverses, WIDE_RIDGE):
        _substitute(s, 2, s.taps.size)


@njit(nogil=True, error_model="numpy")
def learn(s: Systems, x: Int, target: Float, expected: Int) -> None:
    """Add the current sample to all sums.

    Args:
        s: the sums; its taps are those of the sample.
        x: column of the sample.
        target: the sample, measured like the taps.
        expected: mean absolute error that its prediction should have, in units of 2^-8.
    """
    n, products, start = s.taps.size, s.products, 0
    weight = ONE / (ONE + np.float32(expected * expected) * EASE)
    for i in range(n):
        factor = s.taps[i] * weight
        row, taps = products[start : start + n - i], s.taps[i:n]
        for j in range(row.size):
            row[j] = factor * taps[j]
        products[start + n - i] = factor * target
        start += n - i + 1
    rows, left, wide = s.rows[x], s.left, s.wide
    for i in range(products.size):
        here = rows[i] + products[i]
        rows[i] = ABOVE * here
        left[i] = NEAR * (left[i] + here)
        wide[i] = wide[i] * SLOW + products[i]
