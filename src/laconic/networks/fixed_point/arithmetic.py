"""Networks in integers: the same output bits on every device, thread count and library version.

Activations and weights are integers times 2^-16, both held in float64 tensors.
Sums of products stay below 2^53, where float64 adds integers exactly and in any order; rounding is
`floor` after a multiplication by a power of two; everything else is comparison, or a correctly
rounded square root. No float ever decides a rounding (DESIGN.md, section 4.3).
"""

from decimal import Decimal, localcontext
from functools import cache

import torch
from torch import Tensor

from laconic.errors import ConfigError
from laconic.networks.arithmetic import LEAK, Arithmetic

FRACTION_BITS = 16
"""Activations count in units of 2^-16."""

WEIGHT_BITS = 16
"""Weights count in units of 2^-16."""

LIMIT = 2.0**26
"""Activations are clipped to +-LIMIT units, +-1024, before each affine map."""

EXACT = 2.0**53
"""Below this, float64 holds every integer."""

SCALE_STEPS = 256
"""Steps per nat of a log-scale that `exp` looks up."""

_LOG_BITS = 8
_LOG_FRACTION_BITS = 30
LEAK_UNITS = round(LEAK * 2**FRACTION_BITS)
"""The slope of leaky ReLUs below zero in units of 2^-16."""


def from_float(x: Tensor, bits: int = FRACTION_BITS) -> Tensor:
    """Floats to the nearest units of 2^-bits; exact up to the one rounding."""
    return torch.floor(x.double() * 2.0**bits + 0.5)


def to_float(x: Tensor, bits: int = FRACTION_BITS) -> Tensor:
    """Units of 2^-bits to floats, exactly."""
    return x * 2.0**-bits


def shift(x: Tensor, bits: int) -> Tensor:
    """Divide by 2^bits and round half up."""
    return torch.floor(x * 2.0**-bits + 0.5)


def shift_(x: Tensor, bits: int) -> Tensor:
    """`shift` in place."""
    return x.mul_(2.0**-bits).add_(0.5).floor_()


def leaky_relu(x: Tensor) -> Tensor:
    """Slope 0.2 (13107 / 65536) below zero."""
    return torch.maximum(x, shift_(x.clamp_min(-LIMIT).mul_(LEAK_UNITS), 16))


def leaky_relu_(x: Tensor) -> Tensor:
    """`leaky_relu` in place."""
    return torch.maximum(x, shift_(x.clamp_min(-LIMIT).mul_(LEAK_UNITS), 16), out=x)


def check_sums(weights: Tensor, bias: Tensor) -> None:
    """Refuse a layer whose sums could leave the integers that float64 holds.

    Args:
        weights: of each output, the sum of its weights' sizes, in units of 2^-16.
        bias: of each output, in units of 2^-32.

    Raises:
        ConfigError: a sum of products could be 2^53 or more.
    """
    worst = weights * LIMIT + bias.abs()
    if not bool((worst < EXACT).all()):
        raise ConfigError(
            "the model's weights are too large for exact integer arithmetic "
            f"(a sum of up to 2^{float(worst.max().log2()):.0f}); its files would not be exact"
        )


@cache
def _log_table() -> Tensor:
    """Ln of 1, 1 + 2^-8, ..., 2 in units of 2^-30; decimals round alike on every machine."""
    with localcontext() as context:
        context.prec = 30
        nodes = [(1 + Decimal(i) / 2**_LOG_BITS).ln() for i in range(2**_LOG_BITS + 1)]
        units = [round(node * 2**_LOG_FRACTION_BITS) for node in nodes]
    return torch.tensor(units, dtype=torch.float64)


def log(x: Tensor) -> Tensor:
    """Natural logarithm of positive float64 in units of 2^-16.

    The mantissa's first 20 bits, and a table with linear interpolation: within 2e-6 before the one
    rounding.
    """
    table = _log_table().to(x.device)
    mantissa, exponent = torch.frexp(x)  # In [1/2, 1).
    units = torch.floor((mantissa * 2 - 1) * 2.0**20)
    node = torch.floor(units * 2.0 ** (_LOG_BITS - 20))
    rest = units - node * 2.0 ** (20 - _LOG_BITS)
    index = node.long()
    slope = table[index + 1] - table[index]
    part = table[index] + shift(slope * rest, 20 - _LOG_BITS)
    whole = (exponent - 1).double() * table[-1]
    return shift(part + whole, _LOG_FRACTION_BITS - FRACTION_BITS)


def asinh(x: Tensor) -> Tensor:
    """Inverse hyperbolic sine, units of 2^-16 to units of 2^-16.

    Formula: sign(x) ln(|x| + sqrt(x² + 1)); the square is exact, the root correctly rounded.
    """
    size = x.abs().clamp_max(LIMIT)
    root = torch.sqrt(size * size + 2.0 ** (2 * FRACTION_BITS))
    return torch.sign(x) * log(to_float(size + root))


@cache
def _exp_table(limit: int) -> Tensor:
    """Exp(k / 256) for |k| <= 256 limit, rounded to 24 significant bits."""
    with localcontext() as context:
        context.prec = 30
        ratio = (Decimal(1) / SCALE_STEPS).exp()
        value = Decimal(-limit).exp()
        values = []
        for _ in range(2 * limit * SCALE_STEPS + 1):
            values.append(float(value))
            value *= ratio
    return torch.tensor(values, dtype=torch.float64).float().double()


def exp(x: Tensor, limit: int) -> Tensor:
    """Exp of units of 2^-16, clipped to +-limit nats, as float64 with 24 significant bits.

    The argument is rounded to 1/256 nat.
    """
    steps = shift(x, FRACTION_BITS - 8).clamp(-limit * SCALE_STEPS, limit * SCALE_STEPS)
    return _exp_table(limit).to(x.device)[(steps + limit * SCALE_STEPS).long()]


def expected_rates(scale: Tensor) -> Tensor:
    """Expected KL from a prior of this scale of a posterior whose encoder has scale 1.

    Formula: ½ log2(1 + s²), in 1/256 bit, int64: what a Gaussian of variance s² seen through
    Gaussian noise of variance 1 holds about itself.
    """
    nats = log(1 + scale * scale)
    per_unit = round(2**24 * 128 / (0.6931471805599453 * 2**FRACTION_BITS))
    return shift(nats * per_unit, 24).long()


FIXED_POINT = Arithmetic(
    one=2.0**FRACTION_BITS,
    apply=lambda layer, x, before, after: layer(x, before, after),
    add=lambda x, fresh: fresh.add_(x),
    leaky_relu=leaky_relu,
    rescale=lambda products: shift(products, FRACTION_BITS),
    divide=shift,
    round=lambda x: torch.floor(x + 0.5),
    limit=lambda x: x.clamp(-LIMIT, LIMIT),
    asinh=asinh,
    exp=exp,
    from_float=from_float,
)
"""Integers in float64 tensors, in units of 2^-16. Layers that are applied are
`FixedConvolution`s."""
