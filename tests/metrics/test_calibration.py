"""Calibration measures against sums over examples, and against known cases."""

import pytest
import torch

from laconic.metrics.calibration import (
    adaptive_calibration_error,
    brier_score,
    expected_calibration_error,
    interval_coverage,
    reliability,
)


def example() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(500, 4).mul(2).softmax(1), torch.randint(4, (500,))


def test_the_brier_score_is_a_sum_over_classes() -> None:
    probs, labels = example()
    wanted = sum(
        float(((probs[i] - torch.eye(4)[labels[i]]) ** 2).sum()) for i in range(len(labels))
    )
    assert brier_score(probs, labels) == pytest.approx(wanted / 500, rel=1e-5)
    assert brier_score(torch.eye(4), torch.arange(4)) == 0


def test_the_calibration_error_is_the_sum_over_the_diagrams_bins() -> None:
    pytest.importorskip("torchmetrics")
    probs, labels = example()
    bins = reliability(probs, labels)
    gaps = (bins.confidence - bins.accuracy).abs() * bins.count / 500
    assert int(bins.count.sum()) == 500
    assert expected_calibration_error(probs, labels) == pytest.approx(float(gaps.sum()), abs=1e-6)


def test_adaptive_bins_hold_equally_many() -> None:
    probs, labels = example()
    confidence, answers = probs.max(1)
    order = confidence.argsort()
    wanted = 0.0
    for part in order.view(10, 50):
        gap = confidence[part].mean() - (answers[part] == labels[part]).float().mean()
        wanted += float(gap.abs()) / 10
    assert adaptive_calibration_error(probs, labels, 10) == pytest.approx(wanted, abs=1e-6)


def test_intervals() -> None:
    low, high = torch.zeros(4), torch.ones(4)
    assert interval_coverage(low, high, torch.tensor([0.0, 0.5, 1.0, 1.1])) == 0.75
