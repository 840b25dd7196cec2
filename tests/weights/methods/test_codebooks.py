"""Codebooks: laws of k-means against enumeration, exact zeros, whole networks."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from laconic.errors import ConfigError, InputError
from laconic.weights.methods.codebooks import Codebook, kmeans, share_values


def cost(x: Tensor, book: Codebook) -> float:
    return float((x - book.tensor).square().sum())


def best_cost(x: Tensor, size: int) -> float:
    """By trying all ways to cut the sorted entries into intervals."""
    ordered = x.sort().values
    return min(
        sum(
            float((ordered[a:b] - ordered[a:b].mean()).square().sum())
            for a, b in itertools.pairwise((0, *cuts, len(x)))
        )
        for cuts in itertools.combinations(range(1, len(x)), size - 1)
    )


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_clear_clusters_are_found_as_by_enumeration(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    centres = torch.linspace(-1, 1, size, dtype=torch.float64)
    x = centres.repeat(5) + 0.05 * torch.randn(5 * size, generator=generator, dtype=torch.float64)
    x = x[:14]
    assert cost(x, kmeans(x, size)) == pytest.approx(best_cost(x, size))


def test_nothing_is_gained_by_moving_an_entry_or_a_value() -> None:
    """A fixed point: entries take the nearest value, values are their entries' means."""
    x = torch.randn(5000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    book = kmeans(x, 16, rounds=10_000)
    assert len(book.values) == 17
    nearest = (x[:, None] - book.values[1:]).abs().argmin(1) + 1
    assert torch.equal(nearest, book.indices)
    for index in range(1, 17):
        mean = float(x[book.indices == index].mean())
        assert float(book.values[index]) == pytest.approx(mean, abs=1e-12)


def test_rounds_of_lloyd_only_help() -> None:
    x = torch.randn(3000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    costs = [cost(x, kmeans(x, 8, rounds)) for rounds in (0, 1, 2, 5, 20)]
    assert all(later < earlier for earlier, later in itertools.pairwise(costs))


def test_the_start_is_even_over_the_range() -> None:
    x = torch.cat([torch.linspace(-1, 3, 1001), torch.full((5000,), 0.1)])
    torch.testing.assert_close(kmeans(x, 5, rounds=0).values[1:], torch.linspace(-1, 3, 5))


def test_zeros_stay_zero_and_pull_nothing() -> None:
    x = torch.tensor([[0.0, 0.5, 0.7], [0.1, 0.0, 0.0]])
    book = kmeans(x, 2)
    torch.testing.assert_close(book.tensor, torch.tensor([[0, 0.6, 0.6], [0.1, 0, 0]]))
    assert torch.equal(book.indices == 0, x == 0)
    assert book.values.tolist() == pytest.approx([0, 0.1, 0.6])


def test_few_distinct_entries_are_kept_exactly() -> None:
    x = torch.tensor([0.25, -1.5, 0.25, 0.0, 2.0, -1.5])
    book = kmeans(x, 32)
    assert torch.equal(book.tensor, x)
    assert book.values.tolist() == [0.0, -1.5, 0.25, 2.0]


def test_extremes() -> None:
    assert torch.equal(kmeans(torch.zeros(3, 2), 4).tensor, torch.zeros(3, 2))
    same = torch.full((4,), 0.3)
    assert torch.equal(kmeans(same, 4).tensor, same)
    with pytest.raises(ConfigError, match="at least one"):
        kmeans(torch.ones(3), 0)
    with pytest.raises(InputError, match="infinite"):
        kmeans(torch.tensor([1.0, float("nan")]), 2)


def test_a_network_takes_few_values_and_hardly_changes(small_net: nn.Sequential) -> None:
    x = torch.randn(50, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    before, bias = small_net(x).detach(), small_net[4].bias.detach().clone()
    books = share_values(small_net, 32, skip=("6",))
    assert list(books) == ["0", "4"]
    assert len(small_net[4].weight.unique()) <= 32
    assert torch.equal(small_net[4].bias, bias)
    change = (small_net(x).detach() - before).square().mean() / before.var()
    assert 0 < float(change) < 0.01


def test_what_cannot_be_shared_is_told(small_net: nn.Sequential) -> None:
    with pytest.raises(InputError, match="'fc'"):
        share_values(small_net, 4, skip=("fc",))
    with pytest.raises(InputError, match="no ordinary layer"):
        share_values(nn.Sequential(nn.ReLU()), 4)
