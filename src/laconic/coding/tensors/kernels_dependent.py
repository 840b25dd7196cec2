"""Compiled loops of dependent quantisation: the allowed values depend on the indices before.

    state s of 8     value of the index k, in steps      next state
    even             2 k                                 NEXT[s, parity of k]
    odd              2 k - sign(k)                       NEXT[s, parity of k]

The values of all states lie one step apart, but in each state the index chooses among values two
steps apart. So the rate is that of rounding to values two steps apart, and the accuracy is closer
to that of one step. The Viterbi algorithm finds the best path through the states.

Source: Haase et al., "Dependent scalar quantization for neural network compression", 2020; the
states are those of ISO/IEC 15938-17 (NNC), so that weights quantised there are coded without loss.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from laconic.coding.tensors.kernels_matrix import DoubleArray, IntArray
from laconic.compiled import compiled

STATES = 8

_NEXT = np.array([[0, 2], [7, 5], [1, 3], [6, 4], [2, 0], [5, 7], [3, 1], [4, 6]])

OFF = -1
"""`to_indices` returns this if no path of states gives the values."""


def _before() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each state, the two states that lead to it, and the parities of the indices that do."""
    pairs = [np.argwhere(state == _NEXT) for state in range(STATES)]
    return np.array([pair[:, 0] for pair in pairs]), np.array([pair[:, 1] for pair in pairs])


_FROM, _PARITY = _before()


@compiled(nogil=True)
def to_values(k: IntArray, state: int) -> np.int64:
    """Replace flat indices by their values, in steps, from a state on; returns the last state."""
    last = np.int64(state)
    for i in range(k.size):
        index = k[i]
        k[i] = 2 * index - np.sign(index) * (last & 1)
        last = _NEXT[last, index & 1]
    return last


@compiled(nogil=True)
def to_indices(r: IntArray, state: int) -> np.int64:
    """Undo `to_values`; returns the last state, or `OFF` if no path from `state` gives `r`."""
    last = np.int64(state)
    for i in range(r.size):
        twice = r[i] + np.sign(r[i]) * (last & 1)
        if twice & 1:
            return np.int64(OFF)
        r[i] = twice >> 1
        last = _NEXT[last, r[i] & 1]
    return last


@njit(nogil=True, error_model="numpy")
def _below(size: float, odd: int) -> np.int64:
    """Index of the largest value not above `size`, where values are even, or odd and zero."""
    return np.int64((size + odd) * 0.5)


@njit(nogil=True, error_model="numpy")
def _error(size: float, index: np.int64, odd: int) -> float:
    """Squared error of the index's value."""
    distance: float = size - (2 * index - (odd if index > 0 else 0))
    return distance * distance


@compiled(nogil=True, error_model="numpy")
def find_path(
    values: DoubleArray,
    rows: IntArray,
    columns: IntArray,
    price: DoubleArray,
    state: int,
    k: IntArray,
) -> np.int64:
    """Fill `k` with the indices of least squared error plus price; returns the last state.

    In each state only the two values around a number are candidates; zeros stay zeros.

    Args:
        values: `(rows, columns)`, in steps.
        rows: steps of the rows, shifted as in `kernels_matrix`; the context of an entry is its
            row's step plus its column's, clipped.
        columns: steps of the columns.
        price: price of an index by context and size; the last size means this or larger.
        state: first state of the path.
        k: `(rows, columns)`.
    """
    taken = np.empty(values.size, np.uint8)  # One bit per state: which of its two predecessors.
    contexts, largest = np.int64(price.shape[0] - 1), np.int64(price.shape[1] - 1)
    ends = np.full(STATES, np.inf)
    ends[state] = 0.0
    c0, c1, c2, c3, c4, c5, c6, c7 = ends
    edges = np.empty(4)  # Even values, then odd ones; each for parities 0 and 1.
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            size = abs(values[i, j])
            context = min(max(rows[i] + columns[j], np.int64(0)), contexts)
            for odd in range(2):
                low = _below(size, odd)
                near = _error(size, low, odd) + price[context, min(low, largest)]
                far = _error(size, low + 1, odd) + price[context, min(low + 1, largest)]
                far = far if size > 0 else np.inf
                edges[2 * odd + (low & 1)] = near
                edges[2 * odd + 1 - (low & 1)] = far
            e0, e1, o0, o1 = edges[0], edges[1], edges[2], edges[3]
            # The states of `_NEXT`, unrolled: a loop takes three times as long.
            a0, a1, a2, a3 = c0 + e0, c2 + e0, c0 + e1, c2 + e1
            a4, a5, a6, a7 = c3 + o1, c1 + o1, c3 + o0, c1 + o0
            b0, b1, b2, b3 = c4 + e1, c6 + e1, c4 + e0, c6 + e0
            b4, b5, b6, b7 = c7 + o0, c5 + o0, c7 + o1, c5 + o1
            ways = (b0 < a0) | (b1 < a1) << 1 | (b2 < a2) << 2 | (b3 < a3) << 3
            ways |= (b4 < a4) << 4 | (b5 < a5) << 5 | (b6 < a6) << 6 | (b7 < a7) << 7
            taken[i * values.shape[1] + j] = ways
            c0, c1, c2, c3 = min(a0, b0), min(a1, b1), min(a2, b2), min(a3, b3)
            c4, c5, c6, c7 = min(a4, b4), min(a5, b5), min(a6, b6), min(a7, b7)
    end = np.int64(np.argmin(np.array([c0, c1, c2, c3, c4, c5, c6, c7])))
    _walk_back(values, taken, end, k)
    return end


@njit(nogil=True, error_model="numpy")
def _walk_back(values: DoubleArray, taken: NDArray[np.uint8], end: np.int64, k: IntArray) -> None:
    """Indices of the path that ends in a state."""
    s, place = end, values.size
    for i in range(values.shape[0] - 1, -1, -1):
        for j in range(values.shape[1] - 1, -1, -1):
            place -= 1
            way = (taken[place] >> s) & 1
            parity, s = _PARITY[s, way], _FROM[s, way]
            size = abs(values[i, j])
            index = _below(size, s & 1)
            index += (index & 1) != parity
            k[i, j] = index if values[i, j] > 0 else -index
