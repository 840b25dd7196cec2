"""The difference between two rate-distortion curves: Bjøntegaard's differences."""

from collections.abc import Sequence
from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from laconic.errors import InputError, MissingPackageError


@runtime_checkable
class Curve(Protocol):
    """An interpolated curve."""

    def __call__(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values at these positions."""

    def integrate(self, low: float, high: float) -> float:
        """The integral from `low` to `high`."""


MIN_POINTS: Final = 2
"""Fewest points of a curve that can be compared."""

RateRange = tuple[float, float]
"""Lowest and highest rate of a comparison, in bits per pixel."""


def bd_rate(
    rate: Sequence[float],
    quality: Sequence[float],
    reference_rate: Sequence[float],
    reference_quality: Sequence[float],
    *,
    rate_range: RateRange | None = None,
) -> float:
    """How many per cent more bits a codec spends than the reference at equal quality.

    Formula: 100 (exp(mean over q of [ln rate(q) - ln reference rate(q)]) - 1), where ln rate(q)
    is the monotone piecewise cubic (PCHIP) through the points and q runs over the qualities that
    both curves reach inside `rate_range`. The range cuts the interpolated curves and drops no
    points, so that the result hardly depends on where the points lie.

    Args:
        rate: bits per pixel of the codec, one per point, any order.
        quality: its quality at these points (PSNR or MS-SSIM, both in dB).
        reference_rate: bits per pixel of the reference.
        reference_quality: its quality, on the same scale.
        rate_range: bits per pixel outside which neither curve counts; all of both by default.

    Returns:
        Per cent; negative means fewer bits than the reference.

    Raises:
        InputError: fewer than two points, a value that is not finite, quality that does not rise
            with rate (see `pareto`), or no quality in common.
        ConfigError: the `eval` extra is not installed.

    Source: Bjøntegaard, VCEG-M33 (2001); PCHIP and the logarithm as in JCT-VC.

    >>> twice = bd_rate([2.0, 4.0, 8.0], [30.0, 33.0, 36.0], [1.0, 2.0, 4.0], [30.0, 33.0, 36.0])
    >>> round(twice, 6)
    100.0
    """
    codec, reference = _points(rate, quality), _points(reference_rate, reference_quality)
    ends = [_quality_range(points, rate_range) for points in (codec, reference)]
    low, high = _overlap(ends, "quality")
    difference = _mean(_curve(codec[1], codec[0]), low, high) - _mean(
        _curve(reference[1], reference[0]), low, high
    )
    return float(100 * np.expm1(difference))


def bd_quality(
    rate: Sequence[float],
    quality: Sequence[float],
    reference_rate: Sequence[float],
    reference_quality: Sequence[float],
    *,
    rate_range: RateRange | None = None,
) -> float:
    """How much better a codec looks than the reference at equal rate, on the scale of `quality`.

    Formula: mean over ln r of [quality(ln r) - reference quality(ln r)] by PCHIP, ln r running over
    the rates that both curves reach inside `rate_range`.

    Args, raises and source: as `bd_rate`.

    Returns:
        dB where `quality` is in dB; positive means better than the reference.
    """
    codec, reference = _points(rate, quality), _points(reference_rate, reference_quality)
    ends = [(points[0][0], points[0][-1]) for points in (codec, reference)]
    if rate_range is not None:
        ends.append((float(np.log(rate_range[0])), float(np.log(rate_range[1]))))
    low, high = _overlap(ends, "rate")
    return _mean(_curve(*codec), low, high) - _mean(_curve(*reference), low, high)


def quality_at(rate: Sequence[float], quality: Sequence[float], at: float) -> float:
    """The quality of a curve at one rate by PCHIP in ln rate; NaN outside the curve.

    >>> quality_at([0.5, 1.0, 2.0], [30.0, 33.0, 36.0], 1.0)
    33.0
    """
    points = _points(rate, quality)
    position = float(np.log(at))
    if not points[0][0] - 1e-9 <= position <= points[0][-1] + 1e-9:
        return float("nan")
    inside = np.clip(position, points[0][0], points[0][-1])
    return float(_curve(*points)(np.array([inside]))[0])


def pareto(rate: Sequence[float], quality: Sequence[float]) -> tuple[list[float], list[float]]:
    """The points whose quality no cheaper point reaches, by rising rate.

    >>> pareto([1.0, 2.0, 3.0], [30.0, 29.0, 31.0])
    ([1.0, 3.0], [30.0, 31.0])
    """
    rates: list[float] = []
    qualities: list[float] = []
    for bits, value in sorted(zip(rate, quality, strict=True), key=lambda p: (p[0], -p[1])):
        if not qualities or value > qualities[-1]:
            rates.append(bits)
            qualities.append(value)
    return rates, qualities


Points = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Logarithms of the rates and the qualities, both ascending."""


def _points(rate: Sequence[float], quality: Sequence[float]) -> Points:
    """Sorted, checked points of one curve, the rate as its natural logarithm."""
    rates, qualities = np.asarray(rate, np.float64), np.asarray(quality, np.float64)
    if rates.shape != qualities.shape or rates.ndim != 1 or len(rates) < MIN_POINTS:
        raise InputError(
            f"a curve of {rates.shape} rates and {qualities.shape} qualities; "
            f"give {MIN_POINTS} or more of each, equally many"
        )
    if not (np.isfinite(rates).all() and np.isfinite(qualities).all() and (rates > 0).all()):
        raise InputError("a curve needs finite qualities and finite rates above zero")
    order = np.argsort(rates)
    rates, qualities = rates[order], qualities[order]
    if not ((np.diff(rates) > 0).all() and (np.diff(qualities) > 0).all()):
        raise InputError(
            "quality must rise with rate from point to point; `pareto` removes other points"
        )
    return np.log(rates), qualities


def _curve(positions: NDArray[np.float64], values: NDArray[np.float64]) -> Curve:
    """The monotone piecewise cubic through the points."""
    try:
        from scipy.interpolate import PchipInterpolator
    except ImportError as error:
        raise MissingPackageError("BD-rate needs", "scipy", "eval") from error
    curve: Curve = PchipInterpolator(positions, values)
    return curve


def _mean(curve: Curve, low: float, high: float) -> float:
    """The mean of a curve between two positions, by its own antiderivative."""
    return float(curve.integrate(low, high)) / (high - low)


def _quality_range(points: Points, rate_range: RateRange | None) -> tuple[float, float]:
    """Lowest and highest quality of a curve inside the range of rates."""
    rates, qualities = points
    if rate_range is None:
        return float(qualities[0]), float(qualities[-1])
    inside = np.clip(np.log(rate_range), rates[0], rates[-1])
    low, high = _curve(rates, qualities)(inside)
    return float(low), float(high)


def _overlap(ranges: Sequence[tuple[float, float]], what: str) -> tuple[float, float]:
    """The part common to all ranges; `InputError` if there is none."""
    low, high = max(start for start, _ in ranges), min(end for _, end in ranges)
    if not low < high:
        raise InputError(f"the curves have no {what} in common: {ranges}; measure more points")
    return low, high
