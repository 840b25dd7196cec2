"""Find integers and a step for a tensor: given its step, or the error that it may have."""

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from torch import Tensor

from laconic.codecs.network.blocks import (
    Blocks,
    Part,
    compact,
    parts_of,
    round_to,
    to_doubles,
    values_of,
)
from laconic.codecs.network.manifest import Entry, Method
from laconic.codecs.network.step_scales import (
    MULTIPLE,
    Powers,
    StepScales,
    find_missing,
    find_step_scales,
)
from laconic.coding.relative_entropy.standardise import DoubleArray
from laconic.coding.tensors import quantised
from laconic.errors import InputError

DEPENDENT_BITS: Final = 1.25
"""Where rounding takes fewer for a number, dependent quantisation saves nothing any more."""

DEPENDENT_STEP: Final = 0.6
"""Of dependent quantisation, over that of rounding with the same noise: where the search begins."""

SAMPLE: Final = 1 << 16
SAMPLE_ROUNDS: Final = 3
SAMPLE_MARGIN: Final = 0.997
"""Of a large tensor: numbers that its step is fitted to, how often, and a factor for safety."""

SINGLE: Final = (1e-35, 1e35)
"""Steps are stored in single precision, which is accurate between these two values."""


@dataclass(frozen=True)
class InSteps:
    """A tensor as integers.

    Attributes:
        entry: with its method and step.
        blocks: the integers, block by block.
        scales: of rows and columns, where some have finer steps.
    """

    entry: Entry
    blocks: list[Blocks]
    scales: StepScales | None = None

    @property
    def bits_per_number(self) -> float:
        """What a number takes, nearly: on some rows of the first block."""
        block = self.blocks[0]
        sample = block[:: max(1, block.size // SAMPLE)]
        return quantised.bits_per_number(sample.astype(np.int64))


@dataclass(frozen=True)
class _Way:
    """How to quantise."""

    step: float
    method: Method
    scales: StepScales | None

    def divide(self, values: DoubleArray, part: Part) -> DoubleArray:
        """A block's numbers in units in which one step serves all."""
        return self.scales[part].divide(values) if self.scales else values

    def multiply(self, values: DoubleArray, part: Part) -> DoubleArray:
        """Undo `divide`."""
        return self.scales[part].multiply(values) if self.scales else values


@dataclass(frozen=True)
class _Tried:
    """Integers, block by block, and the squared error of the values that they decode to."""

    blocks: list[Blocks]
    error: float


def first_step(entry: Entry, tensor: Tensor, tolerance: float) -> float:
    """The step whose noise has the relative power that is allowed; 0 where none is."""
    if not tolerance:
        return 0.0
    return tolerance * math.sqrt(12 * _power(entry, tensor) / entry.count)


def take_steps(entry: Entry, tensor: Tensor, step: float) -> InSteps:
    """Integers in given steps; multiples of the step stay what they are.

    Raises:
        InputError: the step is too coarse or too fine for a file.
    """
    if not 0 < step < SINGLE[1]:
        raise InputError(
            f"tensor {entry.name!r} cannot be quantised in steps of {step:g}: too coarse"
        )
    step = float(np.float32(step))
    matrix, parts = tensor.reshape(entry.matrix), parts_of(entry)
    way = _Way(step, Method.QUANTISED, None)
    if not step or _largest(matrix, parts, way) > step * quantised.LARGEST / 2:
        raise InputError(
            f"tensor {entry.name!r} cannot be quantised in steps of {step:g}: too fine"
        )
    blocks, exact = list[Blocks](), True
    for part in parts:
        values = to_doubles(matrix[part])
        q = np.rint(values / step).astype(np.int64)
        if not np.array_equal(round_to(q.astype(np.float64) * step, matrix.dtype), values):
            q, exact = quantised.quantise(values, step), False
        blocks.append(compact(q))
    path = quantised.to_indices(blocks) if exact else None
    if path is not None:  # Another tool's dependent quantisation.
        blocks = [compact(k) for k in path]
        return InSteps(replace(entry, method=Method.DEPENDENT, step=step), blocks)
    return InSteps(replace(entry, method=Method.QUANTISED, step=step), blocks)


def fit(entry: Entry, tensor: Tensor, tolerance: float) -> InSteps | None:
    """Integers in the largest steps that a tolerance allows; None where no step can be stored.

    Args:
        entry: of the tensor.
        tensor: finite numbers, not all 0.
        tolerance: largest relative error of the tensor; no row and no column of it loses more than
            `MULTIPLE` times as much of its own norm, see `laconic.codecs.network.step_scales`.
    """
    matrix, parts, power = tensor.reshape(entry.matrix), parts_of(entry), _power(entry, tensor)
    if not SINGLE[0] < tolerance * math.sqrt(12 * power / entry.count) < SINGLE[1]:
        return None
    allowed = tolerance**2 * power
    powers = _powers(matrix, parts) if tolerance * MULTIPLE < 1 else None
    scales = find_step_scales(powers, allowed, tolerance) if powers else None
    noise = scales.noise if scales else entry.count
    way = _Way(float(np.float32(math.sqrt(12 * allowed / noise))) or 1.0, Method.QUANTISED, scales)
    largest = _largest(matrix, parts, way)
    if largest > way.step * quantised.LARGEST:
        return None
    way = _first_guess(entry, matrix, allowed, way)
    while largest <= way.step * quantised.LARGEST / 2:
        errors = Powers.of_none(entry.matrix) if powers else None
        tried = _quantise(matrix, parts, way, errors)
        if tried.error > allowed:
            finer = way.step * min(0.995, tolerance * math.sqrt(power / tried.error))
            way = replace(way, step=float(np.float32(finer)))
            continue
        missing = find_missing(errors, powers, tolerance) if errors and powers else None
        if missing is None:
            kept = replace(entry, method=way.method, step=way.step, scaled=way.scales is not None)
            return InSteps(kept, tried.blocks, way.scales)
        way = replace(way, scales=way.scales.refined(missing) if way.scales else missing)
        if not (way.scales and way.scales.can_be_kept):
            return None
        largest = _largest(matrix, parts, way)
    return None


def _power(entry: Entry, tensor: Tensor) -> float:
    """Sum of squares: not torch's, which depends on the number of threads in its last bits."""
    with np.errstate(over="ignore", under="ignore"):
        return sum(float((values**2).sum()) for values in values_of(entry, tensor))


def _powers(matrix: Tensor, parts: list[Part]) -> Powers:
    """Of rows and columns."""
    powers = Powers.of_none((matrix.shape[0], matrix.shape[1]))
    for part in parts:
        powers.add(part, to_doubles(matrix[part]) ** 2)
    return powers


def _largest(matrix: Tensor, parts: list[Part], way: _Way) -> float:
    """Largest size of a number, in units in which one step serves all."""
    return max(
        float(np.abs(way.divide(to_doubles(matrix[part]), part)).max(initial=0)) for part in parts
    )


def _sample(entry: Entry) -> tuple[slice, slice]:
    """A sample of the rows of a large matrix; of long rows, a sample of the columns."""
    every = slice(None, None, max(1, entry.count // SAMPLE))
    return (slice(None), every) if entry.wide else (every, slice(None))


def _first_guess(entry: Entry, matrix: Tensor, allowed: float, way: _Way) -> _Way:
    """A step, and how to quantise: from a sample, where there are many numbers.

    Args:
        entry: of the tensor.
        matrix: its numbers.
        allowed: power of its error.
        way: rounding, in the step whose noise has this power.
    """
    chosen, whole = _sample(entry), (slice(None), slice(None))
    sample, scales = matrix[chosen], way.scales
    own = replace(way, scales=scales[chosen] if scales else None)
    q = np.rint(own.divide(to_doubles(sample), whole) / own.step).astype(np.int64)
    if quantised.bits_per_number(q) < DEPENDENT_BITS:
        return way
    own = replace(own, step=own.step * DEPENDENT_STEP, method=Method.DEPENDENT)
    if sample.numel() < matrix.numel():
        share = sample.numel() / matrix.numel()
        if scales and own.scales:
            share = own.scales.noise / scales.noise
        for _ in range(SAMPLE_ROUNDS):
            error = _quantise(sample, [whole], own).error
            own = replace(own, step=own.step * (math.sqrt(allowed * share / error) if error else 1))
        own = replace(own, step=own.step * SAMPLE_MARGIN)
    return replace(own, step=float(np.float32(own.step)) or 1.0, scales=scales)


def _quantise(matrix: Tensor, parts: list[Part], way: _Way, errors: Powers | None = None) -> _Tried:
    """Quantise block by block; `errors` gets the squared errors of rows and columns."""
    blocks, error, state = list[Blocks](), 0.0, 0
    for part in parts:
        values = to_doubles(matrix[part])
        scaled = way.divide(values, part)
        if way.method == Method.DEPENDENT:
            q, after = quantised.quantise_dependently(scaled, way.step, state)
            stored, state = quantised.to_values(q, state)[0], after
        else:
            stored = q = quantised.quantise(scaled, way.step)
        stored_values = way.multiply(stored.astype(np.float64) * way.step, part)
        squares = (round_to(stored_values, matrix.dtype) - values) ** 2
        error += float(squares.sum())
        if errors:
            errors.add(part, squares)
        blocks.append(compact(q))
    return _Tried(blocks, error)
