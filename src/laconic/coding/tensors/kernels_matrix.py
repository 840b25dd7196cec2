"""Compiled loops over matrices of integers: sums, histograms, and entries sorted by context.

Context c of an entry is the sum of its row's and its column's step, clipped to 0 .. contexts - 1;
steps are shifted beforehand so that 0 is the lowest. Most entries of a sparse matrix are 0: the
histograms count the other entries, and the zeros of a context are the rest of its entries.
"""

from typing import TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from laconic.compiled import compiled

Int: TypeAlias = int | np.int64

IntArray = NDArray[np.int64]
DoubleArray = NDArray[np.float64]


@compiled(nogil=True)
def add_up(q: IntArray, rows: IntArray, columns: IntArray) -> None:
    """Add |q|, `(rows, columns)`, to the sums of its rows and columns."""
    for i in range(q.shape[0]):
        total = np.int64(0)
        for j in range(q.shape[1]):
            size = abs(q[i, j])
            total += size
            columns[j] += size
        rows[i] += total


@njit(nogil=True, error_model="numpy")
def _context(step: Int, contexts: Int) -> Int:
    """The step clipped to 0 .. contexts - 1."""
    return min(max(step, np.int64(0)), np.int64(contexts - 1))


@compiled(nogil=True)
def count_contexts(rows: IntArray, columns: IntArray, entries: IntArray) -> None:
    """Add the number of entries of each context; steps lie in -64 .. 127."""
    by_row, by_column = np.zeros(192, np.int64), np.zeros(192, np.int64)
    for step in rows:
        by_row[step + 64] += 1
    for step in columns:
        by_column[step + 64] += 1
    for i in range(192):
        if by_row[i] > 0:
            for j in range(192):
                context = _context(i + j - 128, entries.size)
                entries[context] += by_row[i] * by_column[j]


@njit(nogil=True)
def _count_sizes(
    q: IntArray, rows: IntArray, columns: IntArray, dropped: IntArray, cells: IntArray
) -> None:
    """Histograms of |q| under each choice, without zeros; arguments as in `find_costs`."""
    sizes, places = np.empty(q.shape[1], np.int64), np.empty(q.shape[1], np.int64)
    last = np.int64(cells.shape[2] - 1)
    by_row = np.array([not choice.any() for choice in columns])
    for i in range(q.shape[0]):
        filled = 0
        for j in range(q.shape[1]):  # No branch here: zeros are hard to predict.
            sizes[filled] = abs(q[i, j])
            places[filled] = j
            filled += q[i, j] != 0
        for choice in range(cells.shape[0]):
            step = rows[choice, i]
            if by_row[choice]:
                context = _context(step, dropped.size)
                bits, table = dropped[context], cells[choice, context]
                for k in range(filled):
                    table[min(sizes[k] >> bits, last)] += 1
            else:
                steps, tables = columns[choice], cells[choice]
                for k in range(filled):
                    context = _context(step + steps[places[k]], dropped.size)
                    tables[context, min(sizes[k] >> dropped[context], last)] += 1


@njit(nogil=True, error_model="numpy")
def _information(counts: IntArray) -> tuple[float, Int]:
    """Bits of symbols coded under their own frequencies, and the number of distinct symbols."""
    total, kinds, spread = np.int64(0), np.int64(0), 0.0
    for count in counts:
        if count > 0:
            total += count
            kinds += 1
            spread += count * np.log2(count)
    return (total * np.log2(total) - spread if kinds > 1 else 0.0), kinds


@njit(nogil=True, error_model="numpy")
def _cost_of_steps(steps: IntArray) -> float:
    """Bits of steps coded by their changes, with the cost of learning the frequencies."""
    changes = np.zeros(512, np.int64)
    for i in range(1, steps.size):
        changes[steps[i] - steps[i - 1] + 256] += 1
    bits, kinds = _information(changes)
    return bits + 6 * kinds if kinds > 1 else 0.0


@compiled(nogil=True, error_model="numpy")
def find_costs(
    q: IntArray, rows: IntArray, columns: IntArray, dropped: IntArray, symbols: int
) -> DoubleArray:
    """Bits under several choices of steps: of entries, of learning their frequencies, of steps.

    Args:
        q: `(rows, columns)`.
        rows: steps, `(choices, rows)`.
        columns: steps, `(choices, columns)`.
        dropped: lowest bits that each context's counts leave out; they take a bit each.
        symbols: distinct symbols of |q|; the last one means this size or more.
    """
    cells = np.zeros((rows.shape[0], dropped.size, symbols), np.int64)
    costs = np.zeros(rows.shape[0])
    _count_sizes(q, rows, columns, dropped, cells)
    for choice in range(rows.shape[0]):
        entries = np.zeros(dropped.size, np.int64)
        count_contexts(rows[choice], columns[choice], entries)
        for context in range(dropped.size):
            table = cells[choice, context]
            table[0] += entries[context] - table.sum()
            bits, kinds = _information(table)
            learnt = max(kinds - 1, 0) * np.log2(entries[context] + 1) / 2
            costs[choice] += bits + learnt + entries[context] * dropped[context]
        costs[choice] += _cost_of_steps(rows[choice]) + _cost_of_steps(columns[choice])
    return costs


@compiled(nogil=True)
def sort_entries(
    q: IntArray, rows: IntArray, columns: IntArray, places: IntArray, entries: IntArray
) -> None:
    """Copy `q` to `entries`, the entries of context c from `places[c]` on, in raster order."""
    for i in range(q.shape[0]):
        for j in range(q.shape[1]):
            context = _context(rows[i] + columns[j], places.size)
            entries[places[context]] = q[i, j]
            places[context] += 1


@compiled(nogil=True)
def spread_entries(
    q: IntArray, rows: IntArray, columns: IntArray, places: IntArray, entries: IntArray
) -> None:
    """Undo `sort_entries`."""
    for i in range(q.shape[0]):
        for j in range(q.shape[1]):
            context = _context(rows[i] + columns[j], places.size)
            q[i, j] = entries[places[context]]
            places[context] += 1


@compiled(nogil=True)
def count_cells(q: IntArray, rows: IntArray, columns: IntArray, cells: IntArray) -> None:
    """Histogram of |q| by context, with zeros and all bits; `rows`, `columns`: steps."""
    for i in range(q.shape[0]):
        for j in range(q.shape[1]):
            context = _context(rows[i] + columns[j], cells.shape[0])
            cells[context, min(abs(q[i, j]), np.int64(cells.shape[1] - 1))] += 1


@compiled(nogil=True, error_model="numpy")
def round_down(
    q: IntArray,
    values: DoubleArray,
    step: float,
    rows: IntArray,
    columns: IntArray,
    worth: DoubleArray,
) -> None:
    """Move each entry of `q`, which is the nearest to `values / step`, towards 0 if that pays.

    `worth`: squared error, in steps², that the move may add, by context and size.
    """
    for i in range(q.shape[0]):
        for j in range(q.shape[1]):
            size = abs(q[i, j])
            if size > 0:
                context = _context(rows[i] + columns[j], worth.shape[0])
                exact = abs(values[i, j] / step)
                spoilt = (exact - (size - 1)) ** 2 - (exact - size) ** 2
                if spoilt < worth[context, min(size, np.int64(worth.shape[1] - 1))]:
                    q[i, j] -= 1 if q[i, j] > 0 else -1
