"""The first part of every dithered message: outliers, the map of steps, the spread of the means."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from laconic.coding.queue.stream import IntArray, QueueDecoder, QueueEncoder
from laconic.coding.random import FloatArray, SharedRandomness
from laconic.coding.relative_entropy import standardise
from laconic.coding.relative_entropy.base import Receipt
from laconic.coding.relative_entropy.dither import classes as dither
from laconic.coding.relative_entropy.dither.step_map import StepMap, is_far
from laconic.coding.relative_entropy.standardise import DoubleArray


@dataclass(frozen=True)
class Preamble:
    """The first part of a dithered message, known to both sides before the first integer.

    Attributes:
        far: dimensions sent as 16-bit numbers, ascending.
        outliers: their values.
        near: the other dimensions, ascending.
        classes: class of the step of every dimension.
        spreads: encoded σ of the means of every class.
        parts: bits written so far, by part; empty at the receiver.
    """

    far: IntArray
    outliers: FloatArray
    near: IntArray
    classes: IntArray
    spreads: IntArray
    parts: Mapping[str, float]

    def assemble(self, values: FloatArray) -> FloatArray:
        """The values of all dimensions, with those of outliers replaced."""
        u = values.copy()
        u[self.far] = self.outliers
        return u

    def receipt(
        self, q: standardise.Standardised, kernel: dither.Kernel, bits: float, mean: DoubleArray
    ) -> Receipt:
        """The cost of the message; `bits`: those of the integers that encode `mean`."""
        theory = dither.information_bits(kernel, mean, self.classes[self.near], self.spreads)
        return Receipt(float(q.kl_bits.sum()), theory, {**self.parts, "integers": bits})


def write(
    stream: QueueEncoder,
    steps: StepMap,
    q: standardise.Standardised,
    shape: tuple[int, ...],
    shared: SharedRandomness,
) -> Preamble:
    """Write the preamble: everything but the integers."""
    marks, is_outlier = [stream.bits], is_far(q)
    far, near = np.flatnonzero(is_outlier), np.flatnonzero(~is_outlier)
    outliers = standardise.write_outliers(stream, far, standardise.draw_exactly(q, far, shared))
    marks.append(stream.bits)
    classes = steps.write(stream, q, shape)
    spreads = dither.write_spreads(stream, q.mean[near], classes[near])
    marks.append(stream.bits)
    parts = {"outliers": marks[1] - marks[0], "step map": marks[2] - marks[1]}
    return Preamble(far, outliers, near, classes, spreads, parts)


def read(stream: QueueDecoder, steps: StepMap, shape: tuple[int, ...]) -> Preamble:
    """Read what `write` wrote."""
    dims = int(np.prod(shape, dtype=np.int64))
    far, outliers = standardise.read_outliers(stream, dims)
    near = np.setdiff1d(np.arange(dims), far, assume_unique=True)
    classes = steps.read(stream, shape)
    spreads = dither.read_spreads(stream, classes[near])
    return Preamble(far, outliers, near, classes, spreads, {})
