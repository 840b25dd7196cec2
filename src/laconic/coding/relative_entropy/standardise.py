"""Functions that all coders share: standardising by the prior, outliers, the codebook of normals.

A draw is z = loc_p + scale_p u. Coders compute u from integers and shared randomness alone; the
receiver applies its prior only at the end.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Normal

from laconic.coding.queue.stream import IntArray, QueueDecoder, QueueEncoder
from laconic.coding.random import FloatArray, SharedRandomness
from laconic.compiled import compiled
from laconic.errors import CodingError, CorruptFileError, UnsupportedFileError

DoubleArray = NDArray[np.float64]

BOOK_BITS = 17
"""The shared codebook holds 2^17 standard normals, read cyclically."""

_MAX_EXPONENT = 40


@dataclass(frozen=True)
class Standardised:
    """A target in units of its prior, flattened in raster order; float64.

    Attributes:
        mean: (loc_q - loc_p) / scale_p, shape `(dims,)`.
        scale: scale_q / scale_p, shape `(dims,)`.
        kl_bits: KL(q || p) per dimension in bits, shape `(dims,)`.
    """

    mean: DoubleArray
    scale: DoubleArray
    kl_bits: DoubleArray

    @property
    def linear(self) -> DoubleArray:
        """Coefficient of u in log q(u)/p(u)."""
        result: DoubleArray = self.mean / self.scale**2
        return result

    @property
    def quadratic(self) -> DoubleArray:
        """Coefficient of -u²/2 in log q(u)/p(u)."""
        result: DoubleArray = 1 / self.scale**2 - 1
        return result


def standardise(target: Normal, prior: Normal) -> Standardised:
    """Express `target` in units of `prior`.

    Formula: KL = ½ (m² + s² - 1) - ln s nats, m and s the standardised mean and scale.

    Raises:
        CodingError: shapes differ, or a value is NaN, infinite or beyond 2^40 prior scales.
    """
    if target.loc.shape != prior.loc.shape:
        raise CodingError(
            f"target {tuple(target.loc.shape)} and prior {tuple(prior.loc.shape)} differ in shape"
        )
    q_loc, q_scale, p_loc, p_scale = (
        x.detach().to("cpu", torch.float64).reshape(-1).numpy()
        for x in (target.loc, target.scale, prior.loc, prior.scale)
    )
    with np.errstate(all="ignore"):
        mean, scale = (q_loc - p_loc) / p_scale, q_scale / p_scale
        kl_bits = (0.5 * (mean**2 + scale**2 - 1) - np.log(scale)) / np.log(2.0)
    bound = 2.0**_MAX_EXPONENT
    if not bool((np.isfinite(kl_bits) & (np.abs(mean) < bound) & (scale < bound)).all()):
        raise CodingError(
            "the model returned means or scales that are NaN, infinite or out of range: "
            "they cannot be encoded"
        )
    return Standardised(mean, scale, np.maximum(kl_bits, 0.0))


def restore(u: FloatArray, prior: Normal) -> Tensor:
    """Z = loc_p + scale_p u, in the prior's own shape, dtype and device."""
    values = torch.from_numpy(u).reshape(prior.loc.shape).to(prior.loc.device, prior.loc.dtype)
    return prior.loc + prior.scale * values


def codebook(shared: SharedRandomness, extra: int = 0) -> FloatArray:
    """2^17 shared normals; the first `extra` are repeated at the end, so that no run wraps."""
    book = shared.child(0).normals(0, 1 << BOOK_BITS)
    return np.concatenate([book, book[:extra]])


def offsets(shared: SharedRandomness, dims: int) -> IntArray:
    """Place in the codebook where each dimension starts: candidate i is the entry offset + i."""
    return (shared.child(1).bits(0, dims) >> np.uint32(32 - BOOK_BITS)).astype(np.int64)


def write_values(stream: QueueEncoder, values: DoubleArray) -> FloatArray:
    """Write values as 16-bit integers; returns the values that the receiver will read.

    The step is a power of two, sent as an integer, such that the largest value fits 16 bits.
    Source: Flamich, 3.4.1.
    """
    if not values.size:
        return np.zeros(0, np.float32)
    exponent = int(np.clip(np.frexp(np.abs(values).max())[1], -_MAX_EXPONENT, 2 * _MAX_EXPONENT))
    stream.uniform([exponent + _MAX_EXPONENT], 128)
    steps = np.clip(np.rint(np.ldexp(values, 15 - exponent)), -32768, 32767).astype(np.int64)
    stream.uniform(steps + 32768, 65536)
    return np.ldexp(steps.astype(np.float32), exponent - 15)


def read_values(stream: QueueDecoder, count: int) -> FloatArray:
    """Read what `write_values` wrote."""
    if not count:
        return np.zeros(0, np.float32)
    exponent = int(stream.uniform(1, 128)[0]) - _MAX_EXPONENT
    steps = stream.uniform(count, 65536) - 32768
    return np.ldexp(steps.astype(np.float32), exponent - 15)


def write_outliers(stream: QueueEncoder, where: IntArray, values: DoubleArray) -> FloatArray:
    """Write positions (ascending) and 16-bit values; returns the values that are read back.

    Source: Flamich, Alg. 3.
    """
    stream.integer(where.size)
    stream.integers(np.diff(where, prepend=-1) - 1)
    return write_values(stream, values)


def read_outliers(stream: QueueDecoder, dims: int) -> tuple[IntArray, FloatArray]:
    """Read what `write_outliers` wrote: positions and values."""
    gaps = stream.integers(stream.integer(dims), dims)
    where = np.cumsum(gaps + 1) - 1
    if where.size and where[-1] >= dims:
        raise CorruptFileError("an outlier lies outside the tensor: the file is damaged")
    return where, read_values(stream, where.size)


def draw_exactly(target: Standardised, where: IntArray, shared: SharedRandomness) -> DoubleArray:
    """The sender's own draws from the target at some dimensions."""
    noise = shared.child(2).normals(0, target.mean.size)[where].astype(np.float64)
    return target.mean[where] + target.scale[where] * noise


def form_groups(kl_bits: DoubleArray, budget: float, limit: int) -> IntArray:
    """Sizes of consecutive groups, each with at most `budget` bits of KL and `limit` dimensions.

    Source: Flamich, Alg. 3.
    """
    sizes: IntArray = _form_groups(kl_bits, budget, limit)
    return sizes


@compiled()
def _form_groups(kl_bits: DoubleArray, budget: float, limit: int) -> IntArray:
    sizes = np.zeros(kl_bits.size, np.int64)
    group, size, total = 0, 0, 0.0
    for kl in kl_bits:
        if size and (total + kl > budget or size == limit):
            sizes[group] = size
            group, size, total = group + 1, 0, 0.0
        size += 1
        total += kl
    if size:
        sizes[group] = size
        group += 1
    return sizes[:group]


def take_config(config: Mapping[str, int], ranges: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """Exactly the named integers, each within its range (both ends included).

    Raises:
        UnsupportedFileError: a name is missing or unknown, or a value is out of range.
    """
    if set(config) != set(ranges):
        raise UnsupportedFileError(
            f"the coder has the parameters {sorted(ranges)}, the file names {sorted(config)}"
        )
    for name, (low, high) in ranges.items():
        if not low <= int(config[name]) <= high:
            raise UnsupportedFileError(
                f"coder parameter {name} = {config[name]} is outside {low}..{high}"
            )
    return {name: int(config[name]) for name in ranges}
