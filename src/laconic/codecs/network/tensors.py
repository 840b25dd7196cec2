"""One tensor of a network file <-> its section: bit for bit, in steps, or by a codebook."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from glob import escape
from shlex import quote
from typing import Final

import numpy as np
import torch
from torch import Tensor

from laconic.codecs.network.blocks import (
    Words,
    is_wide,
    parts_of,
    shape_of,
    to_doubles,
    to_floats,
    values_of,
)
from laconic.codecs.network.fitting import InSteps, first_step, fit, take_steps
from laconic.codecs.network.manifest import (
    DEPENDENT,
    FLOATS,
    IN_STEPS,
    LAYOUTS,
    PREDICTED,
    Entry,
    Method,
)
from laconic.codecs.network.step_scales import StepScales
from laconic.coding.queue.stream import IntArray, QueueDecoder, QueueEncoder
from laconic.coding.tensors import planes, quantised
from laconic.coding.tensors.codebook import NUMBERS_PER_VALUE, Codebook
from laconic.coding.tensors.planes import CHUNK
from laconic.errors import CorruptFileError, InputError, UnsupportedFileError
from laconic.types import TORCH_DTYPES, view_as
from laconic.weights.methods.kmeans import assign, kmeans

SMALLEST: Final = 256
"""Tensors of fewer numbers are kept bit for bit: they are cheap, and often matter much."""

NAMES: Final[Mapping[torch.dtype, str]] = {dtype: name for name, dtype in TORCH_DTYPES.items()}
"""Types as safetensors files name them."""

NUMBERS_PER_BYTE: Final = 1 << 15
"""More than a byte of a section can hold: no count makes a value certain."""


@dataclass(frozen=True)
class Wanted:
    """How near to the given numbers the stored ones must be.

    Attributes:
        tolerance: largest relative error of a large matrix, 0 for none.
        step: if not 0, the quantiser's step, whatever the error.
        values: if not 0, most values that the numbers of a large matrix may have, whatever the
            error; exact zeros do not count.
    """

    tolerance: float = 0.0
    step: float = 0.0
    values: int = 0


def words_of(tensor: Tensor, dtype: str) -> Words:
    """The bits of a contiguous tensor in memory, of type `dtype`, as its layout's words, flat."""
    data = tensor.reshape(-1).view(torch.uint8).numpy()
    words: Words = data.view(np.dtype(f"uint{LAYOUTS[dtype].width}"))
    return words


@dataclass(frozen=True)
class Plan:
    """How a tensor is kept: all that can be found without the tensors before it.

    Attributes:
        entry: its entry in the list of tensors.
        exact: its section, where it is kept bit for bit.
        integers: its integers, where it is quantised.
        book: its values, where they are few.
        words: its bits, where it has such a codebook.
    """

    entry: Entry
    exact: bytes = b""
    integers: InSteps | None = None
    book: Codebook | None = None
    words: Words | None = None

    def write(self, contexts: quantised.Contexts) -> tuple[Entry, bytes]:
        """The tensor's entry and its section.

        Args:
            contexts: counts shared with the tensors before it, whose plans were written before.
        """
        entry, stream = self.entry, QueueEncoder()
        if self.book is not None and self.words is not None:
            _write_codebook(stream, entry, self.book, self.words, contexts)
        elif self.integers is not None:
            entry = _write_in_steps(stream, self.integers, contexts)
        data = self.exact or stream.finish()
        if not _is_dense(entry, data):
            raise InputError(f"tensor {entry.name!r} takes too few bytes for a reader; split it")
        return entry, data


def plan(entry: Entry, tensor: Tensor, wanted: Wanted) -> Plan:
    """Find how a tensor is kept.

    Raises:
        InputError: it has NaN or infinite values and is to be quantised, or a step is too fine.
    """
    cut = replace(entry, wide=is_wide(entry))
    wanted = _applying(cut, tensor, wanted)
    if wanted.values:
        tensor = _share_values(tensor, wanted.values)
    words = words_of(tensor, entry.dtype)
    book = _codebook(cut, tensor, wanted, words)
    if book is not None:
        return Plan(replace(cut, method=Method.CODEBOOK), book=book, words=words)
    integers = _in_steps(cut, tensor, wanted, words)
    if integers is not None:
        return Plan(integers.entry, integers=integers)
    stream = QueueEncoder()
    planes.write(stream, words, LAYOUTS[entry.dtype])
    return Plan(entry, exact=stream.finish())


def _write_codebook(
    stream: QueueEncoder, entry: Entry, book: Codebook, words: Words, contexts: quantised.Contexts
) -> None:
    book.write(stream, LAYOUTS[entry.dtype])
    numbers = words.reshape(entry.matrix)
    for part in parts_of(entry):
        quantised.write(stream, book.indices(numbers[part]), contexts)


def _write_in_steps(stream: QueueEncoder, integers: InSteps, contexts: quantised.Contexts) -> Entry:
    """Write integers and the scales of their rows and columns; returns the tensor's entry."""
    entry = integers.entry
    if integers.scales is not None:
        integers.scales.write(stream)
    if not entry.wide and quantised.signs_are_predictable(integers.blocks[0], entry.kernel):
        entry = replace(entry, method=PREDICTED[entry.method])
    for block in integers.blocks:
        quantised.write(stream, block, contexts, _predicted_kernel(entry))
    return entry


def _is_dense(entry: Entry, data: bytes) -> bool:
    """Whether a section is long enough for the numbers of its tensor."""
    return entry.count <= NUMBERS_PER_BYTE * (len(data) + 2)


def _applying(entry: Entry, tensor: Tensor, wanted: Wanted) -> Wanted:
    """The settings that apply to this tensor; only large matrices lose precision by themselves."""
    if entry.dtype not in FLOATS or not entry.count:
        return Wanted()
    large = len(entry.shape) > 1 and entry.count >= SMALLEST
    if not large:
        wanted = Wanted(step=wanted.step)
    broken = _count_broken(entry, tensor) if wanted != Wanted() else 0
    if broken and not wanted.step and _is_mask(entry, tensor):
        return Wanted()
    if broken:
        raise InputError(_describe_broken(entry.name, broken, wanted))
    return wanted


def _share_values(tensor: Tensor, most: int) -> Tensor:
    """A tensor with each number replaced by the nearest of a few values, which k-means finds."""
    flat = tensor.reshape(-1)
    values = kmeans(flat, min(most, flat.numel() // NUMBERS_PER_VALUE - 1))
    table, shared = torch.cat([values.new_zeros(1), values]).to(flat.dtype), torch.empty_like(flat)
    for start in range(0, flat.numel(), CHUNK):
        part = slice(start, start + CHUNK)
        shared[part] = table[assign(flat[part], values)]
    return shared.reshape(tensor.shape)


def _codebook(entry: Entry, tensor: Tensor, wanted: Wanted, words: Words) -> Codebook | None:
    """The tensor's values, if they are few and quantising would merge none of them."""
    if entry.dtype not in FLOATS or wanted.step:
        return None
    book = Codebook.of(words, lambda some: to_doubles(to_floats(some, entry.dtype)))
    if book is not None and first_step(entry, tensor, wanted.tolerance) > _spacing(entry, book):
        return None
    return book


def _in_steps(entry: Entry, tensor: Tensor, wanted: Wanted, words: Words) -> InSteps | None:
    """Integers block by block; None where every bit is kept, or costs no more than integers."""
    if wanted.step:
        return take_steps(entry, tensor, wanted.step)
    if not wanted.tolerance:
        return None
    integers = fit(entry, tensor, wanted.tolerance)
    if integers is None:
        return None
    exact_bits = planes.bits_per_number(words, LAYOUTS[entry.dtype])
    return integers if integers.bits_per_number < exact_bits else None


def decode(entry: Entry, data: bytes, contexts: quantised.Contexts) -> Tensor:
    """Read what a `Plan` wrote in steps or by a codebook.

    Args:
        entry: of the tensor.
        data: its section.
        contexts: counts shared with the tensors before it, which were read before.

    Raises:
        CorruptFileError: the section is damaged.
        UnsupportedFileError: the installed torch lacks the tensor's type.
    """
    _check_section(entry, data)
    stream = QueueDecoder(data)
    if entry.method in IN_STEPS:
        return _read_in_steps(stream, entry, contexts)
    words = _read_codebook(stream, entry, contexts)
    return view_as(torch.from_numpy(words.view(np.uint8)), entry.dtype, entry.shape)


def decode_exact(entry: Entry, data: bytes) -> Tensor:
    """Read what a `Plan` wrote bit for bit; arguments and errors as of `decode`."""
    _check_section(entry, data)
    words = planes.read(QueueDecoder(data), entry.words, LAYOUTS[entry.dtype])
    return view_as(torch.from_numpy(words.view(np.uint8)), entry.dtype, entry.shape)


def _check_section(entry: Entry, data: bytes) -> None:
    if entry.dtype not in TORCH_DTYPES:
        raise UnsupportedFileError(
            f"tensor {entry.name!r} is of type {entry.dtype}, which torch {torch.__version__} "
            "lacks; install a newer torch"
        )
    if not _is_dense(entry, data):
        raise CorruptFileError(
            f"tensor {entry.name!r} has {entry.count} numbers in {len(data)} bytes: "
            "the file is damaged"
        )


def _read_in_steps(stream: QueueDecoder, entry: Entry, contexts: quantised.Contexts) -> Tensor:
    tensor, state = torch.empty(entry.matrix, dtype=TORCH_DTYPES[entry.dtype]), 0
    scales = StepScales.read(stream, entry.matrix) if entry.scaled else None
    for part in parts_of(entry):
        q = quantised.read(stream, shape_of(part), contexts, _predicted_kernel(entry))
        if entry.method in DEPENDENT:
            q, state = quantised.to_values(q, state)
        _store(q, entry.step, scales[part] if scales else None, tensor[part])
    return tensor.reshape(entry.shape)


def _read_codebook(stream: QueueDecoder, entry: Entry, contexts: quantised.Contexts) -> Words:
    layout = LAYOUTS[entry.dtype]
    book = Codebook.read(stream, layout)
    words: Words = np.empty(entry.matrix, f"uint{layout.width}")
    for part in parts_of(entry):
        words[part] = book.values(quantised.read(stream, shape_of(part), contexts))
    return words.reshape(-1)


def _store(q: IntArray, step: float, scales: StepScales | None, block: Tensor) -> None:
    """Multiples of a step, which may be finer for some rows and columns, in the block's type."""
    if scales is not None:
        block.copy_(torch.from_numpy(scales.multiply(q.astype(np.float64) * step)))
    elif block.dtype == torch.float32:
        np.multiply(q, step, out=block.numpy(), casting="same_kind")
    else:
        block.copy_(torch.from_numpy(q * step))


def _predicted_kernel(entry: Entry) -> tuple[int, int] | None:
    """Kernels whose signs are predicted, if any."""
    return entry.kernel if entry.method in PREDICTED.values() else None


def _count_broken(entry: Entry, tensor: Tensor) -> int:
    """NaN and infinite values."""
    fine = sum(int(np.isfinite(values).sum()) for values in values_of(entry, tensor))
    return tensor.numel() - fine


def _is_mask(entry: Entry, tensor: Tensor) -> bool:
    """Whether all values are 0 or infinite, as in the masks of attention."""
    return all(
        bool(((values == 0) | np.isinf(values)).all()) for values in values_of(entry, tensor)
    )


def _describe_broken(name: str, broken: int, wanted: Wanted) -> str:
    """What is wrong with a tensor that cannot be rounded, and what to do."""
    said = f"tensor {name!r} has {broken} NaN or infinite values, which cannot be rounded; "
    if wanted.step:
        return said + "train the network again"
    if wanted.values:
        return said + "keep every bit of all tensors with lossless"
    pattern = escape(name)
    tolerances = {"*": wanted.tolerance, pattern: 0}
    return (
        f"{said}keep every bit of it with tolerance={tolerances} (on the command line "
        f"--tolerance {quote(f'{pattern}=0')}), or of all tensors with lossless"
    )


def _spacing(entry: Entry, book: Codebook) -> float:
    """Least distance of two values of a codebook."""
    gaps = to_floats(book.words, entry.dtype).double().diff()
    gaps = gaps[gaps > 0]  # -0 and 0 are two values without a distance.
    return float(gaps.min()) if len(gaps) else math.inf
