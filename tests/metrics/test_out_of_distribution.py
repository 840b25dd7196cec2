"""Detection and risk-coverage against counts of pairs and sorted lists."""

import pytest
import torch

from laconic.errors import InputError
from laconic.metrics.out_of_distribution import cumulative_shares, detect, risk_coverage


def test_the_auroc_counts_pairs_in_order() -> None:
    pytest.importorskip("torchmetrics")
    torch.manual_seed(0)
    inside, outside = torch.randn(60).round(decimals=1), torch.randn(50).round(decimals=1) + 1
    found = detect(inside, outside)
    pairs = outside[:, None] - inside
    wanted = (pairs > 0).double().mean() + 0.5 * (pairs == 0).double().mean()
    assert found.auroc == pytest.approx(float(wanted))
    precision = 0.0
    for threshold in outside.unique():
        hits = int((outside == threshold).sum())
        above = (outside >= threshold).sum(), (inside >= threshold).sum()
        precision += hits / 50 * float(above[0] / (above[0] + above[1]))
    assert found.aupr == pytest.approx(precision)
    threshold = outside.sort().values[2]
    assert found.fpr95 == pytest.approx(float((inside >= threshold).double().mean()))


def test_detection_of_sets_that_do_not_overlap() -> None:
    pytest.importorskip("torchmetrics")
    found = detect(torch.tensor([0.1, 0.2]), torch.tensor([5.0, 6.0]))
    assert (found.auroc, found.aupr, found.fpr95) == (1, 1, 0)
    with pytest.raises(InputError, match="empty"):
        detect(torch.zeros(0), torch.ones(1))


def test_risk_and_coverage() -> None:
    uncertainty = torch.tensor([0.1, 0.4, 0.2, 0.3])
    wrong = torch.tensor([False, True, False, True])
    curve = risk_coverage(uncertainty, wrong)
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk.tolist() == pytest.approx([0, 0, 1 / 3, 0.5])
    assert curve.area == pytest.approx((1 / 3 + 0.5) / 4)
    assert curve.coverage_at(0.05) == 0.5
    assert risk_coverage(uncertainty, ~wrong | True).coverage_at(0.05) == 0
    with pytest.raises(InputError, match="one answer"):
        risk_coverage(torch.zeros(0), torch.zeros(0, dtype=torch.bool))


def test_cumulative_shares() -> None:
    found = cumulative_shares(torch.tensor([0.5, 1.5, 1.0]), torch.tensor([0.0, 0.5, 1.2, 2.0]))
    assert found.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
