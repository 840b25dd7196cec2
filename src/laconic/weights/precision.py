"""How many bits a weight of a layer deserves, and the floating-point format that has just these.

The sources count 1 sign bit, 3 exponent bits and as many significant bits as bring the unit
round-off down to the posterior's deviation. Published code then rounds to a fixed-point grid,
which is another format than the one it counts; here one object does both.

Source: Louizos 6.5.1, Ullrich 3.4 and appendix B (table 9.1: unit round-off 2^-significant).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from laconic.errors import InputError
from laconic.weights.base import ProbabilisticLayer
from laconic.weights.methods.group_scales import GroupPosterior
from laconic.weights.methods.sparse_vd import SparseVDPosterior

EXPONENT_BITS = 3
"""Of the sources."""


@dataclass(frozen=True)
class FloatFormat:
    """Binary floating point with gradual underflow and without infinities or NaN.

    Attributes:
        significant: bits right of the binary point.
        exponent: bits of the exponent, at least 1.
        top: exponent of the largest numbers; told once per layer, not per weight.
    """

    significant: int
    exponent: int
    top: int

    @property
    def bits(self) -> int:
        """Of one number, with its sign."""
        return 1 + self.exponent + self.significant

    @property
    def bottom(self) -> int:
        """Exponent of the smallest normal numbers; smaller ones have their spacing."""
        return self.top - (1 << self.exponent) + 2

    def round(self, values: Tensor) -> Tensor:
        """The nearest numbers that the format has, ties to even; too large ones become the largest.

        Args:
            values: finite, any shape.
        """
        wide = values.double()
        power = torch.frexp(wide).exponent - 1
        power = torch.where(wide == 0, self.bottom, power).clamp(self.bottom, self.top)
        spacing = torch.ldexp(torch.ones_like(wide), power - self.significant)
        largest = (2 - 2.0**-self.significant) * 2.0**self.top
        return (torch.round(wide / spacing) * spacing).clamp(-largest, largest).to(values.dtype)


def format_for(
    weight: Tensor, variance: Tensor, exponent: int = EXPONENT_BITS
) -> FloatFormat | None:
    """The format that weights of such variances deserve; None where all of them are pruned.

    Args:
        weight: exact zeros where it is pruned; any shape.
        variance: marginal, positive, of the same shape; those of pruned weights do not count.
        exponent: bits of the exponent.

    Formula: significant = ceil(-log2 u), at least 0, with the unit round-off u = sqrt(mean
    variance): the arithmetic mean of the sources, where `step_of` has the harmonic one.
    """
    kept = weight != 0
    if not bool(kept.any()):
        return None
    unit = math.sqrt(float(variance[kept].double().mean()))
    significant = max(0, math.ceil(-math.log2(unit)))
    # Half a spacing below a power of two already rounds up to it.
    largest = float(weight.abs().max()) / (1 - 2.0 ** -(significant + 2))
    return FloatFormat(significant, exponent, math.frexp(largest)[1] - 1)


def format_of(layer: ProbabilisticLayer, exponent: int = EXPONENT_BITS) -> FloatFormat | None:
    """The format that a layer's weights deserve; None where all of them are pruned.

    Raises:
        InputError: the layer's method infers no precision.
    """
    posterior = layer.posterior
    if isinstance(posterior, GroupPosterior):
        variance = posterior.marginal_variance()
    elif isinstance(posterior, SparseVDPosterior):
        variance = posterior.log_variance.detach().exp()
    else:
        raise InputError(
            "this layer's method infers no precision: it takes bc-gnj, bc-ghs or sparse-vd"
        )
    return format_for(posterior.point().weight, variance, exponent)


def bits(layer: ProbabilisticLayer, exponent: int = EXPONENT_BITS) -> int:
    """Bits per weight of a layer as the sources' tables count them; 0 where all are pruned.

    Raises:
        InputError: the layer's method infers no precision.
    """
    found = format_of(layer, exponent)
    return 0 if found is None else found.bits


def rounded(layer: ProbabilisticLayer, exponent: int = EXPONENT_BITS) -> Tensor:
    """A layer's stored weights in the format whose bits are counted.

    Raises:
        InputError: the layer's method infers no precision.
    """
    found, weight = format_of(layer, exponent), layer.posterior.point().weight
    return weight if found is None else found.round(weight)
