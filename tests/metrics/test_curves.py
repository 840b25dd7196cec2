"""BD-rate against analytic curves and against figures measured elsewhere with other code."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from laconic.errors import InputError
from laconic.metrics import bd_quality, bd_rate, pareto, quality_at

RATES = [0.1, 0.2, 0.4, 0.7, 1.1, 2.0]


def line(rates: list[float], shift: float = 0.0, slope: float = 4.0) -> list[float]:
    """A curve that is straight in the logarithm of the rate, which PCHIP reproduces."""
    return [30 + shift + slope * math.log(rate) for rate in rates]


def test_equal_curves() -> None:
    assert bd_rate(RATES, line(RATES), RATES, line(RATES)) == pytest.approx(0, abs=1e-12)
    assert bd_quality(RATES, line(RATES), RATES, line(RATES)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("factor", [0.5, 0.7, 1.3, 2.0])
@pytest.mark.parametrize("rate_range", [None, (0.15, 1.0)])
def test_a_codec_that_spends_a_constant_factor(
    factor: float, rate_range: tuple[float, float] | None
) -> None:
    rates = [rate * factor for rate in RATES]
    got = bd_rate(rates, line(RATES), RATES, line(RATES), rate_range=rate_range)
    assert got == pytest.approx(100 * (factor - 1), abs=1e-6)


def test_different_slopes() -> None:
    """ln ratio at quality q is (q - 30) (1/5 - 1/4); its mean over the overlap is at the middle."""
    low, high = 30 + 4 * math.log(0.1), 30 + 4 * math.log(2.0)
    middle = (low + high) / 2 - 30
    got = bd_rate(RATES, line(RATES, slope=5.0), RATES, line(RATES))
    assert got == pytest.approx(100 * math.expm1(middle * (1 / 5 - 1 / 4)), abs=1e-6)


def test_better_by_a_constant() -> None:
    got = bd_quality(RATES, line(RATES, 1.5), RATES, line(RATES), rate_range=(0.15, 1.0))
    assert got == pytest.approx(1.5, abs=1e-9)


def test_swapped_curves_are_reciprocal() -> None:
    a, b = (RATES, line(RATES, 1.0, 4.5)), (RATES, line(RATES))
    there, back = bd_rate(*a, *b), bd_rate(*b, *a)
    assert (1 + there / 100) * (1 + back / 100) == pytest.approx(1, abs=1e-9)


def test_the_range_cuts_the_curves() -> None:
    """Outside the range the codec is terrible, which must not count."""
    qualities = [*line(RATES[:-1]), line(RATES[-1:])[0] + 9]
    full = bd_rate(RATES, qualities, RATES, line(RATES))
    cut = bd_rate(RATES, qualities, RATES, line(RATES), rate_range=(0.15, 0.6))
    assert abs(cut) < 0.01 < 1 < abs(full)


@pytest.mark.parametrize(
    ("name", "key", "expected"),
    [
        ("webp", "psnr", 40.88),
        ("webp", "msssim_db", 28.43),
        ("jpeg420", "psnr", 123.98),
        ("jpeg2000", "psnr", 21.48),
        ("avif444_tunepsnr_s4", "msssim_db", -2.57),
        ("jxl_e7", "psnr", 59.73),
    ],
)
def test_figures_measured_elsewhere(data_root: Path, name: str, key: str, expected: float) -> None:
    """Those figures dropped the points outside 0.08-2.2 bpp and interpolated in log2 of rates
    that had not been rounded to 1e-5, hence the tolerance of 0.1."""
    rows = json.loads((data_root / "anchors/kodak-rd/classical-kodim01-16.json").read_text())

    def curve(codec: str) -> tuple[list[float], list[float]]:
        points = [row for row in rows["lossy"][codec] if 0.08 <= row["bpp"] <= 2.2]
        return [float(row["bpp"]) for row in points], [float(row[key]) for row in points]

    got = bd_rate(*curve(name), *curve("heif444_bpg_like"))
    assert got == pytest.approx(expected, abs=0.1)


def test_quality_at() -> None:
    assert quality_at(RATES, line(RATES), 0.55) == pytest.approx(30 + 4 * math.log(0.55))
    assert quality_at(RATES, line(RATES), 0.1) == pytest.approx(line(RATES)[0])
    assert math.isnan(quality_at(RATES, line(RATES), 3.0))


def test_pareto_makes_any_curve_usable() -> None:
    rng = np.random.default_rng(0)
    rates, qualities = pareto(rng.uniform(0.1, 2, 40).tolist(), rng.uniform(20, 40, 40).tolist())
    assert len(rates) >= 2
    assert bd_rate(rates, qualities, rates, qualities) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("rates", "qualities"),
    [
        ([1.0], [30.0]),
        ([1.0, 2.0], [30.0]),
        ([1.0, 2.0], [30.0, 29.0]),
        ([1.0, 1.0], [30.0, 31.0]),
        ([0.0, 1.0], [30.0, 31.0]),
        ([1.0, 2.0], [30.0, math.nan]),
        ([1.0, 2.0], [50.0, 60.0]),
    ],
)
def test_curves_that_cannot_be_compared(rates: list[float], qualities: list[float]) -> None:
    with pytest.raises(InputError):
        bd_rate(rates, qualities, RATES, line(RATES))


def test_a_range_without_points() -> None:
    with pytest.raises(InputError):
        bd_rate(RATES, line(RATES), RATES, line(RATES), rate_range=(5.0, 9.0))
    with pytest.raises(InputError):
        bd_quality(RATES, line(RATES), RATES, line(RATES), rate_range=(5.0, 9.0))
