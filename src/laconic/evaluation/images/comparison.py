"""Comparison of curves: BD-rates, and the quality of a codec at one rate."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from laconic.errors import InputError
from laconic.evaluation.images.results import Curve, Study
from laconic.metrics import bd_quality, bd_rate, pareto, quality_at
from laconic.metrics.curves import MIN_POINTS, RateRange

DEFAULT_RANGE: RateRange = (0.15, 1.0)
"""Range of bits per pixel in which codecs are compared."""

QUALITIES = {"psnr": "PSNR", "ms_ssim_db": "MS-SSIM"}
"""The figures that are compared, both in dB, and their names in tables."""


@dataclass(frozen=True)
class Difference:
    """The difference between a codec and a reference on one figure; NaN if it cannot be computed.

    Attributes:
        codec: short name.
        reference: short name.
        figure: "psnr" or "ms_ssim_db".
        rate_range: compared range of bits per pixel.
        bd_rate_of_mean_curve: per cent, of the curves of means over the pictures.
        mean_of_image_bd_rates: per cent, the mean of one BD-rate per picture.
        images_counted: number of pictures in that mean, those whose curves overlap.
        bd_quality_of_mean_curve: dB at equal rate.
        obstacle: why the mean curves cannot be compared, in words; empty if they can.
    """

    codec: str
    reference: str
    figure: str
    rate_range: RateRange
    bd_rate_of_mean_curve: float
    mean_of_image_bd_rates: float
    images_counted: int
    bd_quality_of_mean_curve: float
    obstacle: str = ""


def compare(
    codec: Curve, reference: Curve, figure: str, rate_range: RateRange = DEFAULT_RANGE
) -> Difference:
    """Compare a codec with a reference on one figure, by mean curves and picture by picture.

    Points whose quality a cheaper point reaches are left out (`laconic.metrics.pareto`).

    Args:
        codec: the curve to compare.
        reference: the curve of the reference.
        figure: "psnr" or "ms_ssim_db".
        rate_range: range of bits per pixel.
    """
    rate, quality = pareto(*_finite(codec.mean("bpp"), codec.mean(figure)))
    other_rate, other_quality = pareto(*_finite(reference.mean("bpp"), reference.mean(figure)))
    args = (rate, quality, other_rate, other_quality)
    per_image = [
        value
        for name in _images(codec)
        if not math.isnan(value := _image_bd_rate(codec, reference, name, figure, rate_range))
    ]
    rate_difference = _or_nan(lambda: bd_rate(*args, rate_range=rate_range))
    obstacle = ""
    if math.isnan(rate_difference):
        obstacle = _find_obstacle({codec.codec: rate, reference.codec: other_rate}, rate_range)
    return Difference(
        codec=codec.codec,
        reference=reference.codec,
        figure=figure,
        rate_range=rate_range,
        bd_rate_of_mean_curve=rate_difference,
        mean_of_image_bd_rates=math.fsum(per_image) / len(per_image) if per_image else math.nan,
        images_counted=len(per_image),
        bd_quality_of_mean_curve=_or_nan(lambda: bd_quality(*args, rate_range=rate_range)),
        obstacle=obstacle,
    )


def compare_all(study: Study, rate_range: RateRange = DEFAULT_RANGE) -> list[Difference]:
    """Compare the study's first codec with each of the others, on PSNR and on MS-SSIM."""
    first, *others = study.curves
    return [compare(first, other, figure, rate_range) for other in others for figure in QUALITIES]


def image_at(curve: Curve, image: str, figure: str, bpp: float) -> float:
    """A picture's figure at one rate, between the measured points by PCHIP; NaN outside them."""
    points = pareto(*_finite(curve.of_image(image, "bpp"), curve.of_image(image, figure)))
    return _or_nan(lambda: quality_at(*points, bpp))


def mean_at(curve: Curve, figure: str, bpp: float) -> float:
    """The mean curve's figure at one rate, by PCHIP; NaN outside the measured points."""
    points = pareto(*_finite(curve.mean("bpp"), curve.mean(figure)))
    return _or_nan(lambda: quality_at(*points, bpp))


def _find_obstacle(rates: Mapping[str, list[float]], rate_range: RateRange) -> str:
    """Why two curves cannot be compared; `rates`: of each curve's usable points, by codec."""
    for codec, points in rates.items():
        if not points:
            return f"{codec} has no point with a finite value"
        if len(points) < MIN_POINTS:
            return (
                f"{codec} has {len(points)} point that no cheaper one equals, {MIN_POINTS} or more "
                "are needed: measure more qualities"
            )
    low, high = rate_range
    return (
        f"the two curves have no quality in common between {low:g} and {high:g} bits per pixel: "
        "measure qualities whose rates lie there"
    )


def _image_bd_rate(
    codec: Curve, reference: Curve, image: str, figure: str, rate_range: RateRange
) -> float:
    """BD-rate on one picture; NaN if the curves do not overlap."""
    ours = pareto(*_finite(codec.of_image(image, "bpp"), codec.of_image(image, figure)))
    theirs = pareto(*_finite(reference.of_image(image, "bpp"), reference.of_image(image, figure)))
    return _or_nan(lambda: bd_rate(*ours, *theirs, rate_range=rate_range))


def _images(curve: Curve) -> list[str]:
    return [image.image for image in curve.points[0].images] if curve.points else []


def _finite(rate: list[float], quality: list[float]) -> tuple[list[float], list[float]]:
    """The points that have a finite quality."""
    kept = [(r, q) for r, q in zip(rate, quality, strict=True) if math.isfinite(q)]
    return [r for r, _ in kept], [q for _, q in kept]


def _or_nan(compute: Callable[[], float]) -> float:
    """The value, or NaN if the curves cannot be compared."""
    try:
        return compute()
    except InputError:
        return math.nan
