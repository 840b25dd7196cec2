"""Trained quantisation: laws of k-means against enumeration, exact zeros, trained values."""

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import laconic
from laconic.errors import ConfigError
from laconic.weights import convert, plain
from laconic.weights.methods import kmeans as module
from laconic.weights.methods.kmeans import SharedValues, assign, kmeans


def shared(x: Tensor, count: int, rounds: int = 300) -> Tensor:
    values = kmeans(x, count, rounds)
    return torch.cat([values.new_zeros(1), values])[assign(x, values)]


def cost(x: Tensor, count: int, rounds: int = 300) -> float:
    return float((x - shared(x, count, rounds)).square().sum())


def best_cost(x: Tensor, count: int) -> float:
    """By trying all ways to cut the sorted numbers into intervals."""
    ordered = x.sort().values
    return min(
        sum(
            float((ordered[a:b] - ordered[a:b].mean()).square().sum())
            for a, b in itertools.pairwise((0, *cuts, len(x)))
        )
        for cuts in itertools.combinations(range(1, len(x)), count - 1)
    )


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_clear_clusters_are_found_as_by_enumeration(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    centres = torch.linspace(-1, 1, count, dtype=torch.float64)
    x = centres.repeat(5) + 0.05 * torch.randn(5 * count, generator=generator, dtype=torch.float64)
    x = x[:14]
    assert cost(x, count) == pytest.approx(best_cost(x, count))


def test_no_change_of_a_number_or_a_value_gains() -> None:
    """A fixed point: numbers take the nearest value, values are their numbers' means."""
    x = torch.randn(5000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = kmeans(x, 16, rounds=10_000)
    assert len(values) == 16
    indices = assign(x, values)
    assert torch.equal((x[:, None] - values).abs().argmin(1) + 1, indices)
    for index in range(16):
        mean = float(x[indices == index + 1].mean())
        assert float(values[index]) == pytest.approx(mean, abs=1e-12)


def test_rounds_of_lloyd_only_help() -> None:
    x = torch.randn(3000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    costs = [cost(x, 8, rounds) for rounds in (0, 1, 2, 5, 20)]
    assert all(later < earlier for earlier, later in itertools.pairwise(costs))


def test_the_initial_values_are_even_over_the_range() -> None:
    x = torch.cat([torch.linspace(-1, 3, 1001), torch.full((5000,), 0.1)])
    torch.testing.assert_close(kmeans(x, 5, rounds=0), torch.linspace(-1, 3, 5).double())


def test_values_of_a_large_tensor_are_those_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their range is that of the whole tensor."""
    x = torch.randn(40_000, generator=torch.Generator().manual_seed(3))
    x[1] = 9.0
    whole = kmeans(x, 8)
    monkeypatch.setattr(module, "SAMPLE", 4000)
    sampled = kmeans(x, 8)
    torch.testing.assert_close(sampled[:-1], whole[:-1], atol=0.2, rtol=0)
    assert float(kmeans(x, 8, rounds=0)[-1]) == 9.0


def test_zeros_stay_zero_and_attract_nothing() -> None:
    x = torch.tensor([[0.0, 0.5, 0.7], [0.1, 0.0, 0.0]])
    values = kmeans(x, 2)
    torch.testing.assert_close(values, torch.tensor([0.1, 0.6]).double())
    assert torch.equal(assign(x, values), torch.tensor([[0, 2, 2], [1, 0, 0]]))


def test_few_distinct_numbers_are_kept_exactly() -> None:
    x = torch.tensor([0.25, -1.5, 0.25, 0.0, 2.0, -1.5])
    assert torch.equal(shared(x, 32).float(), x)
    assert torch.equal(shared(torch.zeros(3, 2), 4).float(), torch.zeros(3, 2))
    same = torch.full((4,), 0.3)
    assert torch.equal(shared(same, 4).float(), same)


@pytest.mark.parametrize("values", [0, 256])
def test_impossible_numbers_of_values_are_refused(values: int) -> None:
    with pytest.raises(ConfigError, match=rf"kmeans\.values: {values} is not in 1 to 255"):
        convert(nn.Sequential(nn.Linear(2, 2)), "kmeans", values=values)


def test_the_gradient_of_a_value_is_the_sum_of_its_weights_gradients() -> None:
    weight = torch.randn(5, 7, generator=torch.Generator().manual_seed(4))
    weight[0] = 0
    posterior, x = SharedValues(weight, None, 4), torch.randn(3, 7)
    free = posterior.weight.detach().requires_grad_()
    functional.linear(x, free).square().sum().backward()
    posterior(x, functional.linear).square().sum().backward()
    assert free.grad is not None
    sums = [free.grad[posterior.indices == index + 1].sum() for index in range(4)]
    torch.testing.assert_close(posterior.values.grad, torch.stack(sums))


def train(net: nn.Module, data: tuple[Tensor, Tensor], steps: int) -> list[float]:
    """Losses before each step."""
    x, y = data
    optimizer, losses = torch.optim.Adam(net.parameters(), 1e-2), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def test_values_train_and_zeros_and_clusters_stay(
    small_net: nn.Sequential, small_data: tuple[Tensor, Tensor]
) -> None:
    train(small_net, small_data, 30)
    with torch.no_grad():
        small_net[4].weight[:, 3] = 0
    penalty = convert(small_net, "kmeans", values=2)
    assert float(penalty().detach()) == 0
    start = plain(small_net)[4].weight
    losses = train(small_net, small_data, 30)
    assert losses[-1] < 0.7 * losses[0]
    end = plain(small_net)[4].weight
    assert len(end.unique()) == 3
    assert not bool(end[:, 3].any())
    for value in start.unique():
        assert len(end[start == value].unique()) == 1


def test_the_file_keeps_every_bit(small_net: nn.Sequential) -> None:
    convert(small_net, "kmeans", values=8)
    ordinary = plain(small_net.eval())
    tensors = laconic.expand(laconic.shrink(small_net))
    for name, value in ordinary.state_dict().items():
        assert torch.equal(tensors[name], value), name
