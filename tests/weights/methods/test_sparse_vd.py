"""Sparse variational dropout: its KL, its draws, and weights that do nothing disappear."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from laconic.distributions.divergence import kl_log_uniform
from laconic.training.classification import error_percent
from laconic.weights import convert, plain
from laconic.weights.base import step_of


def test_the_penalty_is_the_kl_to_the_log_uniform_prior() -> None:
    """Against quadrature: KL = E[log |w|] - entropy + constant, 0 as alpha grows; within 0.02."""
    log_alpha = torch.linspace(-8, 8, 33, dtype=torch.float64)
    grid = torch.linspace(-12, 12, 400_001, dtype=torch.float64)
    density = torch.exp(-0.5 * grid**2) / (2 * torch.pi) ** 0.5

    def exact(value: torch.Tensor) -> torch.Tensor:
        deviation = torch.exp(value / 2)
        w = 1 + deviation * grid
        mean_log = (density * torch.log(w.abs().clamp_min(1e-12))).sum() * (grid[1] - grid[0])
        return mean_log - torch.log(deviation)

    far = exact(torch.tensor(30.0, dtype=torch.float64))
    for value in log_alpha:
        expected = exact(value) - far
        assert abs(float(kl_log_uniform(value) - expected)) < 0.02, float(value)


@pytest.mark.slow
def test_useless_weights_become_zero(
    small_net: nn.Sequential, small_data: tuple[torch.Tensor, torch.Tensor]
) -> None:
    x, y = small_data
    penalty = convert(small_net, "sparse-vd")
    optimizer = torch.optim.Adam(small_net.parameters(), 0.01)
    torch.manual_seed(0)
    for step in range(300):
        loss = functional.cross_entropy(small_net(x), y) + min(1, step / 150) * penalty() / len(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        penalty.constrain()
    ordinary = plain(small_net)
    kept = sum(int((layer.weight != 0).sum()) for layer in ordinary if hasattr(layer, "weight"))
    total = sum(layer.weight.numel() for layer in ordinary if hasattr(layer, "weight"))
    assert kept < 0.3 * total
    assert error_percent(ordinary, x, y) < 3


def test_the_step_does_as_much_harm_as_the_posteriors_noise() -> None:
    """Half a nat a weight, in the quadratic model of the loss; one vague weight changes little."""
    variance = torch.tensor([0.01, 0.03])
    noise = step_of(variance) ** 2 / 12
    assert abs(float((0.5 * noise / variance).mean()) - 0.5) < 1e-6
    vague = torch.tensor([0.01, 0.01, 1e6])
    assert step_of(vague) < 1.3 * step_of(variance[:1])
    assert step_of(variance[:0]) is None
