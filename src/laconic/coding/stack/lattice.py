"""Latents on a lattice: normals, mixtures of normals, and volume-preserving flows of either.

A latent z is n 2^-bits for an integer n. The bits that a finer lattice costs under the marginal
come back from the posterior, so the net length is log q(z) - log p(z) for every lattice. A flow
that adds shifts, z_i + shift_i(z_<i), maps lattice points to lattice points one to one if the
shifts are rounded to the lattice ("integer discrete flow"), so it loses no bits.

Parameters are floats here. Sender and receiver must compute the same floats; one process that
repeats a computation with the same shapes does. So these codecs measure real bits; they are no file
format.

Source: Alemi, F.1 and F.3 (the flows, the mixture); Hoogeboom et al., "Integer discrete flows",
2019; mixtures by bits-back: Ullrich 1.4 with the component's number as the latent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, pi
from typing import Final, Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from laconic.coding.bits_back import drawing
from laconic.coding.stack.ans import IntArray, Stack
from laconic.coding.stack.pixels import GaussianMixture
from laconic.coding.stack.symbols import Categorical, Serial
from laconic.errors import CodingError

DoubleArray = NDArray[np.float64]

_REACH_BITS: Final = 5
_MOST_LEVEL_BITS: Final = 16
_RANGE_BITS: Final = 24
"""The levels of a `GaussianMixture` lie within 2^24 units of its means."""
_LEAST_LEVEL_BITS: Final = 8
_WINDOW: Final = 8.0
"""The window of a draw reaches at least this many scales to either side of its mean."""
_COUNT_BITS: Final = 24
_SLICE: Final = 32
"""Vectors whose densities under all components are computed together."""


class LatentCodec(Protocol):
    """A distribution of lattice vectors that pushes them on a stack and pops them."""

    def push(self, stack: Stack, points: IntArray) -> None:
        """Put vectors `(n, dims)` on the stack."""
        ...

    def pop(self, stack: Stack) -> IntArray:
        """Take them off."""
        ...

    def nats(self, points: IntArray) -> DoubleArray:
        """Their negative log density in nats, `(n,)`: of the distribution before the lattice."""
        ...


@dataclass(frozen=True)
class Lattice:
    """The points that latents can have: multiples of 2^-bits.

    Attributes:
        bits: 2 to 12. Scales down to some steps lose nothing that could be measured.
    """

    bits: int = 10

    def __post_init__(self) -> None:
        """Raise `CodingError` unless `bits` is from 2 to 12."""
        if not 2 <= self.bits <= 12:
            raise CodingError(f"a lattice has 2 to 12 bits after the point, not {self.bits}")

    @property
    def reach_bits(self) -> int:
        """The lattice ends at +-2^reach_bits: 32, or less where it is very fine."""
        return min(_REACH_BITS, _MOST_LEVEL_BITS - 1 - self.bits)

    def values(self, points: IntArray) -> Tensor:
        """The vectors of these points, float64."""
        return torch.from_numpy(points).double() * 2.0**-self.bits

    def nearest(self, values: Tensor) -> IntArray:
        """The points next to vectors of any float type."""
        if not bool(torch.isfinite(values).all()):
            raise CodingError("a latent or a flow's shift is not a number: the model is broken")
        points: IntArray = torch.floor(values.double() * 2.0**self.bits + 0.5).long().numpy()
        return points


@final
class LatticeNormal:
    """Independent normals N(m, s²), under which vectors are encoded.

    Every point of the lattice has at least 2^-28 of the mass, even far ones.

    Args:
        means: `(n, dims)`.
        scales: `(n, dims)`, positive.
        lattice: the points.
    """

    def __init__(self, means: DoubleArray, scales: DoubleArray, lattice: Lattice) -> None:
        _check(means, scales)
        self._means, self._scales, self._lattice = means, scales, lattice
        level_bits = lattice.bits + lattice.reach_bits + 1
        self._half = 1 << (level_bits - 1)
        self._codec = _levels(means.reshape(-1), scales.reshape(-1), lattice, level_bits)

    def push(self, stack: Stack, points: IntArray) -> None:
        """Put vectors on the stack.

        Raises:
            CodingError: a point lies beyond the lattice's end.
        """
        if points.size and int(np.abs(points).max()) >= self._half:
            raise CodingError(
                f"a latent lies beyond the lattice's end at +-{1 << self._lattice.reach_bits}: "
                "take a lattice of fewer bits, or a model with smaller latents"
            )
        self._codec.push(stack, (points + self._half).reshape(-1))

    def pop(self, stack: Stack) -> IntArray:
        """Take them off."""
        return self._codec.pop(stack).reshape(self._means.shape) - self._half

    def nats(self, points: IntArray) -> DoubleArray:
        """Negative log density, `(n,)`."""
        return _normal_nats(self._lattice.values(points).numpy(), self._means, self._scales)


@final
class DrawnNormal:
    """Independent normals N(m, s²) to draw vectors from, each within a window around its mean.

    Every point of the window has at least 2^-28 of the mass. If the window were the whole lattice,
    one draw in some thousands would be such a point, far from the mean.

    Args:
        means: `(n, dims)`.
        scales: `(n, dims)`, positive.
        lattice: the points.
    """

    def __init__(self, means: DoubleArray, scales: DoubleArray, lattice: Lattice) -> None:
        _check(means, scales)
        self._means, self._scales, self._lattice = means, scales, lattice
        centres = np.rint(means * 2.0**lattice.bits).astype(np.int64).reshape(-1)
        rest = means.reshape(-1) - centres * 2.0**-lattice.bits
        wanted = np.ceil(np.log2(2 * _WINDOW * scales.reshape(-1) * 2.0**lattice.bits))
        most = max(_LEAST_LEVEL_BITS, lattice.bits + lattice.reach_bits)  # Half the lattice.
        level_bits = np.clip(wanted.astype(np.int64), _LEAST_LEVEL_BITS, most)
        self._firsts: IntArray = centres - (1 << (level_bits - 1))
        kinds = np.unique(level_bits)
        self._groups = [np.flatnonzero(level_bits == kind) for kind in kinds]
        widths = scales.reshape(-1)
        self._codec = Serial(
            [
                _levels(rest[group], widths[group], lattice, int(kind))
                for kind, group in zip(kinds, self._groups, strict=True)
            ]
        )

    def push(self, stack: Stack, points: IntArray) -> None:
        """Put vectors on the stack; they must be ones that `pop` can draw.

        Raises:
            CodingError: a point lies outside its window.
        """
        symbols = points.reshape(-1) - self._firsts
        self._codec.push(stack, [symbols[group] for group in self._groups])

    def pop(self, stack: Stack) -> IntArray:
        """Take them off."""
        points = self._firsts.copy()
        for group, symbols in zip(self._groups, self._codec.pop(stack), strict=True):
            points[group] += symbols
        return points.reshape(self._means.shape)

    def nats(self, points: IntArray) -> DoubleArray:
        """Negative log density, `(n,)`."""
        return _normal_nats(self._lattice.values(points).numpy(), self._means, self._scales)


@final
class LatticeMixture:
    """Mixtures of normals by bits-back: the component is drawn given the vector, and encoded.

    Net length: log p(k | z) - log w_k - log N(z; m_k, s_k) = -log Σ w_k N(z; m_k, s_k), for every
    component k that may be drawn. So a push needs some bits on the stack.

    Args:
        weights: `(n, components)`, rows that add up to one.
        means: `(n, components, dims)`.
        scales: `(n, components, dims)`, positive.
        lattice: the points.
    """

    def __init__(
        self, weights: DoubleArray, means: DoubleArray, scales: DoubleArray, lattice: Lattice
    ) -> None:
        if means.shape != scales.shape or means.shape[:2] != weights.shape:
            raise CodingError("weights, means and scales of a mixture differ in shape")
        self._weights, self._means, self._scales = weights, means, scales
        self._lattice = lattice
        self._rows = np.arange(len(weights))

    def push(self, stack: Stack, points: IntArray) -> None:
        """Put vectors on the stack.

        Raises:
            StackEmpty: the stack holds too few bits for the components; it is left as it was.
        """
        given = self._responsibilities(points)
        with drawing(stack):
            components = given.pop(stack)
        self._component(components).push(stack, points)
        self._prior().push(stack, components)

    def pop(self, stack: Stack) -> IntArray:
        """Take them off, and give the components' bits back."""
        components = self._prior().pop(stack)
        points = self._component(components).pop(stack)
        self._responsibilities(points).push(stack, components)
        return points

    def nats(self, points: IntArray) -> DoubleArray:
        """Negative log density of the whole mixture, `(n,)`."""
        joint = self._joint_nats(points)
        least = joint.min(1)
        nats: DoubleArray = least - np.log(np.exp(least[:, None] - joint).sum(1))
        return nats

    def _prior(self) -> Categorical:
        return Categorical(_counts(self._weights), self._rows)

    def _responsibilities(self, points: IntArray) -> Categorical:
        joint = self._joint_nats(points)
        likely = np.exp(joint.min(1, keepdims=True) - joint)
        return Categorical(_counts(likely / likely.sum(1, keepdims=True)), self._rows)

    def _component(self, components: IntArray) -> LatticeNormal:
        chosen = self._rows, components
        return LatticeNormal(self._means[chosen], self._scales[chosen], self._lattice)

    def _joint_nats(self, points: IntArray) -> DoubleArray:
        """-log w_k N(z; m_k, s_k), `(n, components)`."""
        values = self._lattice.values(points).numpy()[:, None]
        nats = np.empty(self._weights.shape)
        for first in range(0, len(nats), _SLICE):
            part = slice(first, first + _SLICE)
            nats[part] = _normal_nats(values[part], self._means[part], self._scales[part])
        return nats - np.log(np.maximum(self._weights, np.finfo(float).tiny))


class Step(Protocol):
    """One step of a flow: z -> z + shift(z), with shift_i of z_<i in some order alone."""

    def shift(self, z: Tensor) -> Tensor:
        """`(n, dims)` -> `(n, dims)`."""
        ...


@final
class LatticeFlow:
    """A volume-preserving flow as a bijection of lattice points; it caches its last vectors.

    Args:
        steps: steps of the flow, the first one first.
        lattice: the points.
        dtype: dtype of the steps' input.
    """

    def __init__(
        self, steps: Sequence[Step], lattice: Lattice, dtype: torch.dtype = torch.float64
    ) -> None:
        self._steps, self._lattice, self._dtype = list(steps), lattice, dtype
        self._last: tuple[IntArray, IntArray] | None = None

    def forwards(self, points: IntArray) -> IntArray:
        """One pass through each step's network."""
        if self._last is not None and np.array_equal(self._last[0], points):
            return self._last[1]
        image = points
        for step in self._steps:
            image = image + self._shift(step, image)
        self._last = points, image
        return image

    def backwards(self, image: IntArray) -> IntArray:
        """The vector that the flow maps to `image`, by repeated passes through each step."""
        if self._last is not None and np.array_equal(self._last[1], image):
            return self._last[0]
        points = image
        for step in reversed(self._steps):
            points = self._undo(step, points)
        self._last = points, image
        return points

    def _shift(self, step: Step, points: IntArray) -> IntArray:
        with torch.inference_mode():
            return self._lattice.nearest(step.shift(self._lattice.values(points).to(self._dtype)))

    def _undo(self, step: Step, image: IntArray) -> IntArray:
        """Every pass fixes at least one more feature; a pass that changes nothing is the last."""
        points = image
        for _ in range(image.shape[1] + 1):
            settled = image - self._shift(step, points)
            if np.array_equal(settled, points):
                return points
            points = settled
        raise CodingError("a flow's step is not autoregressive: it cannot be undone")


@final
class Flowed:
    """The distribution of draws from `base` that went through a flow.

    Args:
        base: distribution of the vectors before the flow.
        flow: a bijection of lattice points.
        inverse: whether draws go through the flow backwards, as with a masked flow.
    """

    def __init__(self, base: LatentCodec, flow: LatticeFlow, inverse: bool) -> None:
        self._base = base
        self._apply = flow.backwards if inverse else flow.forwards
        self._undo = flow.forwards if inverse else flow.backwards

    def push(self, stack: Stack, points: IntArray) -> None:
        """Put vectors on the stack, by pushing the vectors before the flow."""
        self._base.push(stack, self._undo(points))

    def pop(self, stack: Stack) -> IntArray:
        """Take them off."""
        return self._apply(self._base.pop(stack))

    def nats(self, points: IntArray) -> DoubleArray:
        """Negative log density, `(n,)`: the flow preserves volume."""
        return self._base.nats(self._undo(points))


def _normal_nats(values: DoubleArray, means: DoubleArray, scales: DoubleArray) -> DoubleArray:
    """Negative log density of independent normals, summed over the last axis."""
    distance = (values - means) / scales
    nats: DoubleArray = (0.5 * distance**2 + np.log(scales) + 0.5 * log(2 * pi)).sum(-1)
    return nats


def _check(means: DoubleArray, scales: DoubleArray) -> None:
    if means.shape != scales.shape or not bool((scales > 0).all() and np.isfinite(means).all()):
        raise CodingError("normals need finite means, and as many positive scales")


def _levels(
    means: DoubleArray, scales: DoubleArray, lattice: Lattice, level_bits: int
) -> GaussianMixture:
    """A codec of `0 .. 2^level_bits - 1`; the middle is the zero of the lattice."""
    units = 2.0 ** (lattice.bits + _RANGE_BITS - level_bits)
    centre = np.rint(means * units).astype(np.int64) + (1 << (_RANGE_BITS - 1))
    width = np.rint(np.log(scales * units * 2.0**-16) * 65536).astype(np.int64)
    rows = np.zeros((means.size, 1), np.int64), centre[:, None], width[:, None]
    return GaussianMixture(*rows, levels=1 << level_bits)


def _counts(probabilities: DoubleArray) -> IntArray:
    """Probabilities `(n, size)` as positive integers that add up to at most 2^24."""
    room = (1 << _COUNT_BITS) - probabilities.shape[1]
    counts: IntArray = 1 + np.floor(probabilities * room).astype(np.int64)
    return counts
