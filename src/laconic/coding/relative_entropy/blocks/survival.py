"""The mass that a greedy sampler has left: the survival function of the density ratio of a block.

Greedy samplers use up the target from the bottom: at level h, the mass of min(q, h p) is used. The
rest is F(h) = E_p[(r - h)+] = w_q(h) - h w_p(h), r = q/p, where w_q, w_p are the masses of the
super-level set {r >= h}. For a product of Gaussians that set is an ellipsoid, and its masses are
distributions of weighted non-central chi-squares. No Monte Carlo: F is the Mellin-Barnes integral

    F(e^k) = 1 + (1/2πi) ∫ e^{K(s) - (s - 1) k} / (s (s - 1)) ds,   K(s) = log E_p[r^s],

over a line between the poles 0 and 1 (the 1 is the residue at s = 1; in finance this is the price
of a call option by Fourier inversion). K is a sum over dimensions in closed form,

    K(s) = Σ (1 - s) ln σ - ½ ln v + s (s - 1) m²/(2 v),   v = σ² + s (1 - σ²),

with branch points on the negative axis alone while σ <= 1, so the line is bent to the left into a
hyperbola, on which the trapezoidal rule converges geometrically (Weideman & Trefethen 2007). A
single dimension, of any scale, has F in normal CDFs instead. Between nodes in h, F is a cubic with
the slopes -w_p at the nodes. A test bounds the error of F by 1e-4 of F or 1e-6 of the whole target,
whichever is more; this bounds the error of the coders' draws.
"""

import math

import numpy as np
from numpy.typing import NDArray

from laconic.coding.relative_entropy.rejection import masses
from laconic.coding.relative_entropy.standardise import DoubleArray, Standardised
from laconic.compiled import compiled

NODES = 192
_LOWEST = -15.0
"""Below the ratio e^-15, F(h) = 1 - h to within 3e-7."""

_ANGLE = 0.2
"""Bend of the hyperbola: fast decay where a few dimensions dominate, stable for Gaussian log r."""

_SIZE = 1.25
_STEP = 0.05
_POINTS = 520


@compiled()
def _integrand(
    mean: DoubleArray, scale: DoubleArray, y: float, k: float
) -> tuple[complex, complex]:
    """On the hyperbola at y: the integrand of F(e^k) - 1 times ds/dy, and s."""
    s = complex(
        0.5 - _SIZE * math.sin(_ANGLE) * (math.cosh(y) - 1),
        _SIZE * math.cos(_ANGLE) * math.sinh(y),
    )
    slope = complex(
        -_SIZE * math.sin(_ANGLE) * math.sinh(y), _SIZE * math.cos(_ANGLE) * math.cosh(y)
    )
    exponent = -(s - 1) * k
    for d in range(mean.size):
        variance = scale[d] * scale[d]
        v = variance + s * (1 - variance)
        exponent += (1 - s) * math.log(scale[d]) - 0.5 * np.log(v)
        exponent += s * (s - 1) * (mean[d] * mean[d]) / (2 * v)
    return np.exp(exponent) * slope / (s * (s - 1)), s


@compiled()
def _transform(
    mean: DoubleArray, scale: DoubleArray, low: float, high: float
) -> tuple[DoubleArray, DoubleArray]:
    """F and h F' at the nodes log h = high - (high - low) (n / (NODES - 1))², highest first."""
    left, slope = np.zeros(NODES), np.zeros(NODES)
    gap = (high - low) / (NODES - 1) ** 2
    small = 0
    for j in range(_POINTS):
        term, s = _integrand(mean, scale, j * _STEP, high)
        if j == 0:
            term *= 0.5
        size, weight = abs(term) * (1 + abs(s)), 1 - s
        # Going down in k, every node is the last one times a factor below 1; so is every factor.
        factor, ratio = np.exp((s - 1) * gap), np.exp((s - 1) * (2 * gap))
        for n in range(NODES):
            left[n] += term.imag
            slope[n] += (term * weight).imag
            term *= factor
            factor *= ratio
        small = small + 1 if size < 1e-13 else 0
        if small == 3:
            break
    return 1 + left * (_STEP / math.pi), slope * (_STEP / math.pi)


@compiled()
def _lowest(mean: DoubleArray, scale: DoubleArray) -> float:
    """Eight standard deviations of log r below its mean under p, its minimum, or e^-15."""
    if mean.size == 1 and scale[0] > 1:
        return float(-math.log(scale[0]) - 0.5 * mean[0] ** 2 / (scale[0] ** 2 - 1))
    middle, variance = 0.0, 0.0
    for d in range(mean.size):
        linear = mean[d] / scale[d] ** 2
        half = 0.5 * (1 / scale[d] ** 2 - 1)
        middle += -math.log(scale[d]) - 0.5 * (mean[d] / scale[d]) ** 2 - half
        variance += linear * linear + 2 * half * half
    return max(middle - 8 * math.sqrt(variance), _LOWEST)


@compiled()
def tabulate(
    mean: DoubleArray, scale: DoubleArray, cap: float
) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Nodes h (from 0 to e^cap), the mass of min(r, e^cap) left there, and its slopes.

    For the ratio cut off at C, the mass left at h is F(h) - F(C).
    """
    low = min(_lowest(mean, scale), cap - 1e-3)
    level = np.zeros(NODES + 1)
    left, slope = np.ones(NODES + 1), -np.ones(NODES + 1)
    wide = mean.size == 1 and scale[0] > 1
    for n in range(NODES):
        x = n / (NODES - 1)
        # Dense where F is a power law: at the top, and at the lowest ratio of a wide target.
        place = math.sin(0.5 * math.pi * x) ** 2 if wide else x * x
        level[NODES - n] = math.exp(cap - (cap - low) * place)
    if mean.size == 1:
        for n in range(1, NODES + 1):
            q, p = masses(level[n], mean[0], scale[0])
            left[n], slope[n] = q - level[n] * p, -p
    else:
        f, g = _transform(mean, np.minimum(scale, 1.0), low, cap)
        left[1:], slope[1:] = f[::-1], g[::-1] / level[1:]
    left -= left[NODES]
    for n in range(NODES - 1, -1, -1):  # rounding must not make it rise
        left[n] = max(left[n], left[n + 1] + 1e-300)
    return level, left, np.minimum(slope, 0.0)


@compiled()
def left_at(h: float, n: int, level: DoubleArray, left: DoubleArray, slope: DoubleArray) -> float:
    """The mass left at h, between nodes n and n + 1: a cubic in h."""
    gap = level[n + 1] - level[n]
    x = (h - level[n]) / gap
    value = left[n] * (1 + 2 * x) * (1 - x) ** 2 + left[n + 1] * x * x * (3 - 2 * x)
    value += gap * x * (1 - x) * (slope[n] * (1 - x) - slope[n + 1] * x)
    return float(min(max(value, left[n + 1]), left[n]))


def needs_own_block(q: Standardised) -> NDArray[np.bool_]:
    """Dimensions wider than the prior: K has branch points on the other side, so no blocks.

    Up to 1 + 2^-20 the scale counts as 1, at a total variation below 2^-21.
    """
    wide: NDArray[np.bool_] = q.scale > 1 + 2.0**-20
    return wide
