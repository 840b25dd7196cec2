"""The border lies in the window's widest gap; the figure shows every group once."""

import math

import pytest
import torch

from laconic.weights.methods.thresholds import histogram, widest_gap


def _normal(count: int, mean: float, deviation: float = 1.0, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return mean + deviation * torch.randn(count, generator=generator)


@pytest.mark.parametrize("kept", [0, 1, 14, 300, 784])
def test_two_clusters_are_separated_whatever_their_sizes(kept: int) -> None:
    """Six deviations from the border: 784 values all on their side but once in a million."""
    values = torch.cat([_normal(kept, -7), _normal(784 - kept, 5, seed=1)])
    threshold = widest_gap(values[torch.randperm(784)], -2.0, 0.0)
    assert -2 < threshold < 0
    assert int((values < threshold).sum()) == kept


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        # Between the stragglers, where both clusters are near.
        ([-2.1, -1.9, -1.5, -0.4, -0.3, 0.2], -0.95),
        # Before all of them, where only the noise is near; behind them, where only the signal is.
        ([-9.0, -0.4, -0.3, 0.2], -1.2),
        ([-2.1, -1.9, -1.5, 8.0], -0.75),
        # A stretch counts in full though the window has a sliver of it: no edge makes a border.
        ([-2.6, -1.9, -1.4, -0.9, -0.6, -0.1, 0.7], -0.05),
    ],
)
def test_stragglers_are_cut_at_the_widest_gap(values: list[float], wanted: float) -> None:
    found = torch.tensor(values)
    assert widest_gap(found, -2.0, 0.0) == pytest.approx(wanted)
    assert widest_gap(found.flip(0), -2.0, 0.0) == pytest.approx(wanted)


def test_without_values_in_the_window_the_border_is_its_middle() -> None:
    assert widest_gap(torch.tensor([]), 1.0, 3.0) == 2.0
    assert widest_gap(torch.tensor([0.5, 1.0, 3.0]), 1.0, 3.0) == 2.0
    assert widest_gap(torch.tensor([0.5]), 1.0, 3.0) == 2.0
    assert widest_gap(torch.tensor([7.0]), 1.0, 3.0) == 2.0


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
