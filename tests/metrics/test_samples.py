"""Distances between draws and distributions: right draws pass, wrong ones are caught."""

import numpy as np
import pytest

from laconic.metrics.samples import critical_distance, energy_rank, normal_distance


def test_the_distance_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(0).normal(size=500)
    assert normal_distance(values) == pytest.approx(stats.kstest(values, "norm").statistic)


def test_the_critical_distance_is_not_below_kolmogorovs() -> None:
    stats = pytest.importorskip("scipy.stats")
    for count in (100, 5000):
        exact = stats.kstwo.isf(1e-3, count)
        assert exact <= critical_distance(count, 1e-3) <= 1.02 * exact


def test_false_alarms_come_at_the_stated_rate() -> None:
    rng = np.random.default_rng(1)
    ranks = [
        energy_rank(rng.normal(size=(20, 2)), rng.normal(size=(20, 2)), rng.random((19, 40)))
        for _ in range(400)
    ]
    # Uniform on 0..19; chi square with 19 degrees of freedom, 43.8 at 1e-3.
    counts = np.bincount(ranks, minlength=20)
    assert float(((counts - 20) ** 2 / 20).sum()) < 43.8


@pytest.mark.slow
def test_dependence_is_caught_where_every_margin_is_right() -> None:
    rng = np.random.default_rng(2)
    keys = rng.random((999, 1600))
    fair = rng.normal(size=(800, 3))
    tied = rng.normal(size=(800, 3))
    tied[:, 1] = 0.8 * tied[:, 0] + 0.6 * tied[:, 1]
    assert energy_rank(fair, rng.normal(size=(800, 3)), keys) > 0
    assert energy_rank(tied, rng.normal(size=(800, 3)), keys) == 0
