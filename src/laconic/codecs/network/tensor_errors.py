"""What each tensor of a network file has lost, measured by decoding the file."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from laconic.codecs.network.blocks import is_wide, parts_of, to_doubles
from laconic.codecs.network.codec import Source
from laconic.codecs.network.file import NetworkFile
from laconic.codecs.network.manifest import FLOATS, Entry
from laconic.codecs.network.step_scales import Powers
from laconic.codecs.network.tensors import words_of
from laconic.coding.relative_entropy.standardise import DoubleArray


@dataclass(frozen=True)
class Worst:
    """The row or the column that loses most of its own norm.

    Attributes:
        index: of the row along the first axis, or of the column along all others.
        error: norm of its change over its norm.
    """

    index: int
    error: float


@dataclass(frozen=True)
class TensorError:
    """What one tensor has lost.

    Attributes:
        name: of the tensor.
        method: how it is kept.
        error: norm of its change over its norm; 0 where every bit is kept.
        row: the worst row; None where rows are too short to be compared.
        column: the worst column; None likewise.
    """

    name: str
    method: str
    error: float
    row: Worst | None = None
    column: Worst | None = None


def measure_errors(source: Source, file: NetworkFile) -> Iterator[TensorError]:
    """Compare the tensors of a file with those that it was made of, one after the other.

    Args:
        source: the tensors that the file was made of.
        file: what `laconic.codecs.network.codec.shrink` wrote.

    Raises:
        CorruptFileError: a tensor is damaged.
    """
    for entry, tensor in file.tensors():
        own = source[entry.name][1]().detach().cpu().resolve_conj().resolve_neg().contiguous()
        method = entry.method.name.lower()
        before, after = words_of(own, entry.dtype), words_of(tensor, entry.dtype)
        if entry.dtype not in FLOATS or np.array_equal(before, after):
            yield TensorError(entry.name, method, 0.0)
        else:
            yield _measure(entry, own, tensor, method)


def _measure(entry: Entry, own: Tensor, stored: Tensor, method: str) -> TensorError:
    before, after = own.reshape(entry.matrix), stored.reshape(entry.matrix)
    powers, errors = Powers.of_none(entry.matrix), Powers.of_none(entry.matrix)
    power = error = 0.0
    for part in parts_of(replace(entry, wide=is_wide(entry))):
        values = to_doubles(before[part])
        squares, lost = values**2, (to_doubles(after[part]) - values) ** 2
        powers.add(part, squares)
        errors.add(part, lost)
        power, error = power + float(squares.sum()), error + float(lost.sum())
    row, column = _worst(errors.rows, powers.rows), _worst(errors.columns, powers.columns)
    return TensorError(entry.name, method, math.sqrt(error / power), row, column)


def _worst(errors: DoubleArray, powers: DoubleArray) -> Worst | None:
    if not errors.size:
        return None
    shares = np.divide(errors, powers, out=np.zeros_like(errors), where=powers > 0)
    index = int(shares.argmax())
    return Worst(index, math.sqrt(float(shares[index])))
