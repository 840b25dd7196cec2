"""The border lies in the window's widest gap; the figure shows every group once."""

import math

import pytest
import torch

from laconic.weights.thresholds import histogram, widest_gap


def _normal(count: int, mean: float, deviation: float = 1.0, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return mean + deviation * torch.randn(count, generator=generator)


@pytest.mark.parametrize("kept", [0, 1, 14, 300, 784])
def test_two_clusters_are_told_apart_whatever_their_sizes(kept: int) -> None:
    """Six deviations from the border: 784 values all on their side but once in a million."""
    values = torch.cat([_normal(kept, -7), _normal(784 - kept, 5, seed=1)])
    threshold = widest_gap(values[torch.randperm(784)], -2.0, 0.0)
    assert -2 < threshold < 0
    assert int((values < threshold).sum()) == kept


def test_stragglers_are_cut_at_the_widest_gap() -> None:
    values = torch.tensor([-9.0, -1.9, -1.5, -0.4, -0.3, 8.0])
    assert widest_gap(values, -2.0, 0.0) == pytest.approx(-0.95)
    assert widest_gap(values.flip(0), -2.0, 0.0) == pytest.approx(-0.95)


def test_without_values_in_the_window_the_border_is_its_middle() -> None:
    assert widest_gap(torch.tensor([]), 1.0, 3.0) == 2.0
    assert widest_gap(torch.tensor([0.5, 1.0, 3.0]), 1.0, 3.0) == 2.0


def test_the_histogram_counts_every_group_once() -> None:
    values = torch.cat([_normal(60, -4), _normal(30, 5, seed=1)])
    shown = histogram(values, 0.5, bins=20)
    assert len(shown.edges) == 21
    assert len(shown.kept) == len(shown.pruned) == 20
    assert (int(shown.kept.sum()), int(shown.pruned.sum())) == (60, 30)
    first, last = float(shown.edges[0]), float(shown.edges[-1])
    expected = torch.histc(values, 20, first, last)
    torch.testing.assert_close((shown.kept + shown.pruned).float(), expected)


def test_the_histogram_of_equal_values_has_one_full_bin() -> None:
    shown = histogram(torch.ones(7), math.inf, bins=5)
    assert int(shown.kept.max()) == 7
    assert int(shown.pruned.sum()) == 0
