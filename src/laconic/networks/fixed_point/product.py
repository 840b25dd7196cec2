"""A product of matrices for compiled loops, whose sums stay in registers.

A loop in Python's words would load and store every sum at each step: the compiler cannot see that
the arrays do not overlap. So one tile, four rows by sixteen columns, is written as vectors of eight
numbers; the compiler maps these to what the processor has. Products are contracted with sums where
it can, so use it where every sum is exact.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils as _cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from laconic.compiled import helper

Floats = NDArray[np.float64]

cgutils: Any = _cgutils
"""Of numba, which has no types."""
ROWS, LANES, VECTORS = 4, 8, 2
COLUMNS = LANES * VECTORS
_DOUBLE = ir.DoubleType()
_VECTOR = ir.VectorType(_DOUBLE, LANES)
_FLAGS = ("contract",)


def _tile(rows: int) -> Any:
    """A function of compiled loops that adds the product in a tile of so many rows.

    `out[row : row + rows, column : column + 16] += x[row : row + rows] @ weight[:, column : ...]`.
    All arrays are `(rows, columns)` of float64 in C order; their bounds are not checked.
    """

    def add(typing: Any, x: Any, weight: Any, out: Any, row: Any, column: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            matrices = [
                context.make_array(kind)(context, builder, value)
                for kind, value in zip(signature.args[:3], arguments[:3], strict=True)
            ]
            _generate(builder, rows, *matrices, *arguments[3:])
            return context.get_dummy_value()

        return types.void(x, weight, out, types.intp, types.intp), generate

    return intrinsic(add)


def _generate(
    builder: Any, count: int, x: Any, weight: Any, out: Any, row: Any, column: Any
) -> None:
    """The instructions of a tile of `count` rows."""

    def place(matrix: Any, at_row: Any, at_column: Any) -> Any:
        width = cgutils.unpack_tuple(builder, matrix.shape)[1]
        return builder.gep(matrix.data, [builder.add(builder.mul(at_row, width), at_column)])

    def vectors(matrix: Any, at_row: Any) -> list[Any]:
        """Pointers to the tile's vectors in a row."""
        offsets = (builder.add(column, ir.Constant(column.type, LANES * v)) for v in range(VECTORS))
        return [
            builder.bitcast(place(matrix, at_row, offset), _VECTOR.as_pointer())
            for offset in offsets
        ]

    def load(pointer: Any) -> Any:
        return builder.load(pointer, align=8)

    rows = [builder.add(row, ir.Constant(row.type, r)) for r in range(count)]
    targets = [vectors(out, r) for r in rows]
    sums = [[cgutils.alloca_once_value(builder, load(p)) for p in line] for line in targets]
    depth = cgutils.unpack_tuple(builder, x.shape)[1]
    with cgutils.for_range(builder, depth) as loop:
        factors = [load(pointer) for pointer in vectors(weight, loop.index)]
        for r, line in zip(rows, sums, strict=True):
            number = _spread(builder, builder.load(place(x, r, loop.index)))
            for total, factor in zip(line, factors, strict=True):
                product = builder.fmul(number, factor, flags=_FLAGS)
                builder.store(builder.fadd(builder.load(total), product, flags=_FLAGS), total)
    for line, pointers in zip(sums, targets, strict=True):
        for total, pointer in zip(line, pointers, strict=True):
            builder.store(builder.load(total), pointer, align=8)


def _spread(builder: Any, number: Any) -> Any:
    """A vector of one number."""
    empty, zero = ir.Constant(_VECTOR, ir.Undefined), ir.Constant(ir.IntType(32), 0)
    first = builder.insert_element(empty, number, zero)
    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, empty, mask)


_add_tile, _add_row = _tile(ROWS), _tile(1)


@helper
def begin(bias: Floats, out: Floats) -> None:
    """`out = bias`, `(out,)` -> `(n, out)`."""
    for i in range(out.shape[0]):
        for o in range(out.shape[1]):
            out[i, o] = bias[o]


@helper
def add_product(x: Floats, weight: Floats, out: Floats) -> None:
    """`out += x @ weight`, `(n, in)` -> `(n, out)`; the numbers of each array lie in C order."""
    rows, columns = x.shape[0] // ROWS * ROWS, out.shape[1] // COLUMNS * COLUMNS
    for i in range(0, rows, ROWS):
        for o in range(0, columns, COLUMNS):
            _add_tile(x, weight, out, i, o)
    for i in range(rows, x.shape[0]):
        for o in range(0, columns, COLUMNS):
            _add_row(x, weight, out, i, o)
    for i in range(x.shape[0]):
        for k in range(x.shape[1]):
            for o in range(columns, out.shape[1]):
                out[i, o] += x[i, k] * weight[k, o]
