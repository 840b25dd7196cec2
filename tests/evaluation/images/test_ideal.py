"""Ideal curves: more bits at smaller beta, better pictures, the same draws every time."""

from collections.abc import Callable

import numpy as np

from laconic.evaluation.images.ideal import ideal_curve
from laconic.models.sliced.ladder import SlicedLadder


def test_rate_and_quality_rise_together(small_ladder: Callable[[], SlicedLadder]) -> None:
    rows, columns = np.mgrid[:179, :190]
    waves = 127 + 90 * np.sin(rows / 5)[..., None] * np.cos(columns / 7)[..., None]
    images = [waves.repeat(3, 2).astype(np.uint8)]
    curve = ideal_curve(small_ladder(), images, 3)
    assert [point.beta for point in curve] == sorted((p.beta for p in curve), reverse=True)
    rates = [point.ideal_bits_per_pixel for point in curve]
    assert rates == sorted(rates)
    assert curve[0].psnr_db < curve[-1].psnr_db
    assert curve == ideal_curve(small_ladder(), images, 3, taste=1.0), "it has no taste"
