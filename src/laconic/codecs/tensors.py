"""One tensor of a network file <-> its section: bit for bit, in steps, or by a codebook."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from glob import escape
from shlex import quote
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from laconic.codecs.manifest import (
    DEPENDENT,
    FLOATS,
    FORESEEN,
    IN_STEPS,
    LAYOUTS,
    Entry,
    Method,
)
from laconic.coding import planes, quantised
from laconic.coding.codebook import Codebook
from laconic.coding.relative_entropy.standard import DoubleArray
from laconic.coding.stream import IntArray, QueueDecoder, QueueEncoder
from laconic.errors import CorruptFileError, InputError, UnsupportedFileError
from laconic.types import TORCH_DTYPES, view_as

SMALLEST: Final = 256
"""Tensors of fewer numbers are kept bit for bit: they are cheap, and often matter much."""

NAMES: Final[Mapping[torch.dtype, str]] = {dtype: name for name, dtype in TORCH_DTYPES.items()}
"""Types as safetensors files name them."""

NUMBERS_PER_BYTE: Final = 1 << 15
"""More than any tensor holds in a byte of its section: counts never reach certainty."""

BLOCK: Final = 1 << 21
"""Numbers that are quantised and coded together."""

DEPENDENT_BITS: Final = 1.25
"""Where rounding takes fewer for a number, dependent quantisation saves nothing any more."""

DEPENDENT_STEP: Final = 0.6
"""Of dependent quantisation, over that of rounding with the same noise: where the search begins."""

SAMPLE: Final = 1 << 16
SAMPLE_ROUNDS: Final = 3
SAMPLE_MARGIN: Final = 0.997
"""Numbers of a large tensor that its step is sought on, how often, and what is left for chance."""

SINGLE: Final = (1e-35, 1e35)
"""Between these lie the steps that single precision, in which they are told, holds well."""

Blocks = NDArray[np.signedinteger]
Words = NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class Wanted:
    """How near to the given numbers the stored ones must be.

    Attributes:
        tolerance: largest relative error of a large matrix, 0 for none.
        step: if not 0, the quantiser's step, whatever the error.
    """

    tolerance: float = 0.0
    step: float = 0.0


def words_of(tensor: Tensor, dtype: str) -> Words:
    """The bits of a contiguous tensor in memory, of type `dtype`, as its layout's words, flat."""
    data = tensor.reshape(-1).view(torch.uint8).numpy()
    words: Words = data.view(np.dtype(f"uint{LAYOUTS[dtype].width}"))
    return words


def encode(
    entry: Entry, tensor: Tensor, wanted: Wanted, contexts: quantised.Contexts
) -> tuple[Entry, bytes]:
    """How the tensor is kept, and its section.

    Raises:
        InputError: it has NaN or infinite values and is to be quantised, or a step is too fine.
    """
    stream, words = QueueEncoder(), words_of(tensor, entry.dtype)
    wanted = _applying(entry, tensor, wanted)
    book = _codebook(entry, tensor, wanted, words)
    if book is not None:
        book.write(stream, LAYOUTS[entry.dtype])
        numbers = words.reshape(entry.matrix)
        for rows in _blocks(entry):
            quantised.write(stream, book.indices(numbers[rows]), contexts)
        return replace(entry, method=Method.CODEBOOK), stream.finish()
    told = _told_in_steps(entry, tensor, wanted, words)
    if told is None:
        planes.write(stream, words, LAYOUTS[entry.dtype])
        return entry, stream.finish()
    entry, blocks = told
    if quantised.signs_follow(blocks[0], entry.kernel):
        entry = replace(entry, method=FORESEEN[entry.method])
    for block in blocks:
        quantised.write(stream, block, contexts, _foreseen(entry))
    return entry, stream.finish()


def _applying(entry: Entry, tensor: Tensor, wanted: Wanted) -> Wanted:
    """What of the wishes is for such a tensor; only large matrices have tolerances."""
    if entry.dtype not in FLOATS or not entry.count:
        return Wanted()
    large = len(entry.shape) > 1 and entry.count >= SMALLEST
    wanted = Wanted(wanted.tolerance if large else 0.0, wanted.step)
    broken = _count_broken(entry, tensor) if wanted.step or wanted.tolerance else 0
    if broken and not wanted.step and _is_mask(entry, tensor):
        return Wanted()
    if broken:
        raise InputError(_describe_broken(entry.name, broken, wanted))
    return wanted


def _codebook(entry: Entry, tensor: Tensor, wanted: Wanted, words: Words) -> Codebook | None:
    """The tensor's values, if there are few and steps would not throw some of them together."""
    if entry.dtype not in FLOATS or wanted.step:
        return None
    book = Codebook.of(words, lambda some: _doubles(_floats(some, entry)))
    if book is not None and _first_step(tensor, wanted.tolerance) > _spacing(entry, book):
        return None
    return book


def _told_in_steps(
    entry: Entry, tensor: Tensor, wanted: Wanted, words: Words
) -> tuple[Entry, list[Blocks]] | None:
    """Integers block by block; None where every bit is wanted, or costs no more than steps."""
    if wanted.step:
        return _in_steps(entry, tensor, wanted.step)
    if not wanted.tolerance:
        return None
    told = _fitted(entry, tensor, wanted.tolerance)
    if told is None:
        return None
    exact_bits = planes.bits_per_number(words, LAYOUTS[entry.dtype])
    return told if _bits_in_steps(told[1][0]) < exact_bits else None


def decode(entry: Entry, data: bytes, contexts: quantised.Contexts) -> Tensor:
    """Read what `encode` wrote.

    Raises:
        CorruptFileError: the section is damaged.
        UnsupportedFileError: the installed torch lacks the tensor's type.
    """
    if entry.dtype not in TORCH_DTYPES:
        raise UnsupportedFileError(
            f"tensor {entry.name!r} is of type {entry.dtype}, which torch {torch.__version__} "
            "lacks; install a newer torch"
        )
    if entry.count > NUMBERS_PER_BYTE * (len(data) + 2):
        raise CorruptFileError(
            f"tensor {entry.name!r} has {entry.count} numbers in {len(data)} bytes: "
            "no such file is ever written"
        )
    stream = QueueDecoder(data)
    if entry.method in IN_STEPS:
        tensor, state = torch.empty(entry.matrix, dtype=TORCH_DTYPES[entry.dtype]), 0
        for rows in _blocks(entry):
            shape = len(tensor[rows]), entry.matrix[1]
            q = quantised.read(stream, shape, contexts, _foreseen(entry))
            if entry.method in DEPENDENT:
                q, state = quantised.to_values(q, state)
            _store(q, entry.step, tensor[rows])
        return tensor.reshape(entry.shape)
    layout = LAYOUTS[entry.dtype]
    if entry.method == Method.CODEBOOK:
        book = Codebook.read(stream, layout)
        parts = [
            book.values(quantised.read(stream, (_length(entry, rows), entry.matrix[1]), contexts))
            for rows in _blocks(entry)
        ]
        words = np.concatenate([part.reshape(-1) for part in parts])
    else:
        words = planes.read(stream, entry.words, layout)
    return view_as(torch.from_numpy(words.view(np.uint8)), entry.dtype, entry.shape)


def _store(q: IntArray, step: float, block: Tensor) -> None:
    """Multiples of a step, rounded to the block's type."""
    if block.dtype == torch.float32:
        np.multiply(q, step, out=block.numpy(), casting="same_kind")
    else:
        block.copy_(torch.from_numpy(q * step))


def _doubles(block: Tensor) -> DoubleArray:
    """As numpy takes them, which wakes no threads: with torch they cost more than they save."""
    if block.dtype == torch.bfloat16:
        return block.double().numpy()
    values: DoubleArray = block.numpy().astype(np.float64)
    return values


def _rounded(values: DoubleArray, dtype: torch.dtype) -> DoubleArray:
    """To the type, and back."""
    if dtype == torch.float32:
        single: DoubleArray = values.astype(np.float32).astype(np.float64)
        return single
    return torch.from_numpy(values).to(dtype).double().numpy()


def _compact(q: IntArray) -> Blocks:
    """In as few bytes as hold them: all blocks of a tensor wait for its last."""
    return q.astype(np.int16 if np.abs(q).max(initial=0) < 1 << 15 else np.int32)


def _foreseen(entry: Entry) -> tuple[int, int] | None:
    """Kernels whose signs are foreseen, if they are."""
    return entry.kernel if entry.method in FORESEEN.values() else None


def _blocks(entry: Entry) -> list[slice]:
    """Rows that are coded together, so that memory stays small."""
    rows, columns = entry.matrix
    step = max(1, BLOCK // columns)
    return [slice(first, first + step) for first in range(0, rows, step)]


def _length(entry: Entry, rows: slice) -> int:
    return len(range(*rows.indices(entry.matrix[0])))


def _count_broken(entry: Entry, tensor: Tensor) -> int:
    """NaN and infinite values."""
    matrix = tensor.reshape(entry.matrix)
    fine = sum(int(np.isfinite(_doubles(matrix[rows])).sum()) for rows in _blocks(entry))
    return tensor.numel() - fine


def _is_mask(entry: Entry, tensor: Tensor) -> bool:
    """Whether all values are 0 or infinite, as in the masks of attention."""
    matrix = tensor.reshape(entry.matrix)
    parts = (_doubles(matrix[rows]) for rows in _blocks(entry))
    return all(bool(((part == 0) | np.isinf(part)).all()) for part in parts)


def _describe_broken(name: str, broken: int, wanted: Wanted) -> str:
    """What is wrong with a tensor that cannot be rounded, and what to do."""
    said = f"tensor {name!r} has {broken} NaN or infinite values, which cannot be rounded; "
    if wanted.step:
        return said + "train the network again"
    pattern = escape(name)
    tolerances = {"*": wanted.tolerance, pattern: 0}
    return (
        f"{said}keep every bit of it with tolerance={tolerances} (on the command line "
        f"--tolerance {quote(f'{pattern}=0')}), or of all tensors with lossless"
    )


def _first_step(tensor: Tensor, tolerance: float) -> float:
    """The step whose noise has the relative power that is allowed; 0 where none is."""
    power = float(torch.linalg.vector_norm(tensor, dtype=torch.float64) ** 2)
    return tolerance * math.sqrt(12 * power / tensor.numel())


def _floats(words: Words, entry: Entry) -> Tensor:
    """Numbers of the entry's type by their bits."""
    return torch.from_numpy(words.view(f"int{8 * words.itemsize}")).view(TORCH_DTYPES[entry.dtype])


def _spacing(entry: Entry, book: Codebook) -> float:
    """Least distance of two values of a codebook."""
    gaps = _floats(book.words, entry).double().diff()
    gaps = gaps[gaps > 0]  # -0 and 0 are two values without a distance.
    return float(gaps.min()) if len(gaps) else math.inf


def _in_steps(entry: Entry, tensor: Tensor, step: float) -> tuple[Entry, list[Blocks]]:
    """Integers, block by block, in given steps; multiples of the step as they are."""
    if not 0 < step < SINGLE[1]:
        raise InputError(f"tensor {entry.name!r} cannot be told in steps of {step:g}: too coarse")
    step = float(np.float32(step))
    if not step or float(tensor.abs().max()) > step * quantised.LARGEST / 2:
        raise InputError(f"tensor {entry.name!r} cannot be told in steps of {step:g}: too fine")
    matrix, blocks, exact = tensor.reshape(entry.matrix), list[Blocks](), True
    for rows in _blocks(entry):
        values = _doubles(matrix[rows])
        q = np.rint(values / step).astype(np.int64)
        if not np.array_equal(_rounded(q.astype(np.float64) * step, matrix.dtype), values):
            q, exact = quantised.quantise(values, step), False
        blocks.append(_compact(q))
    path = quantised.to_indices(blocks) if exact else None
    if path is not None:  # Another tool's dependent quantisation.
        blocks = [_compact(k) for k in path]
        return replace(entry, method=Method.DEPENDENT, step=step), blocks
    return replace(entry, method=Method.QUANTISED, step=step), blocks


def _fitted(entry: Entry, tensor: Tensor, tolerance: float) -> tuple[Entry, list[Blocks]] | None:
    """Integers in steps as large as `tolerance` bears; None where no such step can be told."""
    matrix = tensor.reshape(entry.matrix)
    if not SINGLE[0] < _first_step(matrix, tolerance) < SINGLE[1]:
        return None
    power = float(torch.linalg.vector_norm(matrix, dtype=torch.float64) ** 2)
    step, method = _first_guess(matrix, tolerance, power)
    largest = float(matrix.abs().max())
    while largest <= step * quantised.LARGEST / 2:
        blocks, error = _quantised(matrix, _blocks(entry), step, method)
        if error <= tolerance**2 * power:
            return replace(entry, method=method, step=step), blocks
        step = float(np.float32(step * min(0.995, tolerance * math.sqrt(power / error))))
    return None


def _first_guess(matrix: Tensor, tolerance: float, power: float) -> tuple[float, Method]:
    """A step, and how to quantise: from some of the rows, where there are many numbers."""
    step = float(np.float32(_first_step(matrix, tolerance))) or 1.0
    sample = matrix[:: max(1, matrix.numel() // SAMPLE)]
    q = np.rint(_doubles(sample) / step).astype(np.int64)
    if quantised.bits_per_number(q) < DEPENDENT_BITS:
        return step, Method.QUANTISED
    step *= DEPENDENT_STEP
    if len(sample) < len(matrix):
        allowed = tolerance**2 * power * sample.numel() / matrix.numel()
        for _ in range(SAMPLE_ROUNDS):
            _, error = _quantised(sample, [slice(None)], step, Method.DEPENDENT)
            step *= math.sqrt(allowed / error) if error else 1.0
        step *= SAMPLE_MARGIN
    return float(np.float32(step)) or 1.0, Method.DEPENDENT


def _bits_in_steps(block: Blocks) -> float:
    """What a number takes, nearly: on some of the rows."""
    return quantised.bits_per_number(block[:: max(1, block.size // SAMPLE)].astype(np.int64))


def _quantised(
    matrix: Tensor, parts: list[slice], step: float, method: Method
) -> tuple[list[Blocks], float]:
    """Integers, block by block, and the squared error of what they stand for."""
    blocks, error, state = list[Blocks](), 0.0, 0
    for rows in parts:
        values = _doubles(matrix[rows])
        if method == Method.DEPENDENT:
            q, after = quantised.quantise_dependently(values, step, state)
            stored, state = quantised.to_values(q, state)[0], after
        else:
            stored = q = quantised.quantise(values, step)
        near = _rounded(stored.astype(np.float64) * step, matrix.dtype)
        error += float(((near - values) ** 2).sum())
        blocks.append(_compact(q))
    return blocks, error
