"""What every dithered message begins with: outliers, the map of steps, the spreads of the means."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from laconic.coding.queue.stream import IntArray, QueueDecoder, QueueEncoder
from laconic.coding.random import FloatArray, SharedRandomness
from laconic.coding.relative_entropy import standardise as standard
from laconic.coding.relative_entropy.base import Receipt
from laconic.coding.relative_entropy.dither import classes as dither
from laconic.coding.relative_entropy.dither.step_map import StepMap, is_far
from laconic.coding.relative_entropy.standardise import DoubleArray


@dataclass(frozen=True)
class Frame:
    """What both sides know before the first integer is told.

    Attributes:
        far: dimensions sent as 16-bit numbers, ascending.
        outliers: their values.
        near: the other dimensions, ascending.
        classes: class of the step of every dimension.
        spreads: told spread of every class.
        parts: bits written so far, by part; empty at the receiver.
    """

    far: IntArray
    outliers: FloatArray
    near: IntArray
    classes: IntArray
    spreads: IntArray
    parts: Mapping[str, float]

    def assemble(self, values: FloatArray) -> FloatArray:
        """All dimensions: the outliers among `values`, which are those of all dimensions."""
        u = values.copy()
        u[self.far] = self.outliers
        return u

    def receipt(
        self, q: standard.Standardised, kernel: dither.Kernel, bits: float, mean: DoubleArray
    ) -> Receipt:
        """What the message cost, `bits` of it for the integers that tell `mean`."""
        theory = dither.information_bits(kernel, mean, self.classes[self.near], self.spreads)
        return Receipt(float(q.kl_bits.sum()), theory, {**self.parts, "integers": bits})


def write(
    stream: QueueEncoder,
    steps: StepMap,
    q: standard.Standardised,
    shape: tuple[int, ...],
    shared: SharedRandomness,
) -> Frame:
    """Tell everything but the integers."""
    marks, is_outlier = [stream.bits], is_far(q)
    far, near = np.flatnonzero(is_outlier), np.flatnonzero(~is_outlier)
    outliers = standard.write_outliers(stream, far, standard.draw_exactly(q, far, shared))
    marks.append(stream.bits)
    classes = steps.write(stream, q, shape)
    spreads = dither.write_spreads(stream, q.mean[near], classes[near])
    marks.append(stream.bits)
    parts = {"outliers": marks[1] - marks[0], "step map": marks[2] - marks[1]}
    return Frame(far, outliers, near, classes, spreads, parts)


def read(stream: QueueDecoder, steps: StepMap, shape: tuple[int, ...]) -> Frame:
    """Read what `write` wrote."""
    dims = int(np.prod(shape, dtype=np.int64))
    far, outliers = standard.read_outliers(stream, dims)
    near = np.setdiff1d(np.arange(dims), far, assume_unique=True)
    classes = steps.read(stream, shape)
    spreads = dither.read_spreads(stream, classes[near])
    return Frame(far, outliers, near, classes, spreads, {})
