"""Objectives against their formulas."""

import math

import pytest
import torch
from torch.distributions import Laplace, Normal

from laconic.models.base import Rung
from laconic.training.objectives import OBJECTIVES, beta_elbo, elbo, kl_warmup


def rung() -> Rung:
    posterior = Normal(torch.full((2, 1, 1, 1), 1.0), torch.full((2, 1, 1, 1), 0.5))
    return Rung(posterior, Normal(torch.zeros(2, 1, 1, 1), torch.ones(2, 1, 1, 1)), posterior.loc)


KL = 0.5 * (0.25 - 1 - math.log(0.25) + 1)


def test_elbo_is_nats_per_pixel() -> None:
    x = torch.rand(2, 3, 4, 4)
    likelihood = Laplace(torch.full_like(x, 0.5), 1.0)
    terms = elbo(x, [rung()], likelihood, torch.zeros(2))
    expected = (-likelihood.log_prob(x).flatten(1).sum(1) + KL) / 16
    torch.testing.assert_close(terms.loss, expected)
    torch.testing.assert_close(terms.level_bits[0], torch.full((2,), KL / math.log(2) / 16))
    torch.testing.assert_close(terms.squared_error, (x - 0.5).square().flatten(1).mean(1))


def test_beta_weighs_the_rate() -> None:
    x = torch.rand(2, 3, 4, 4)
    likelihood = Laplace(torch.full_like(x, 0.5), 1.0)
    log_beta = torch.tensor([0.0, math.log(3.0)])
    terms = beta_elbo(x, [rung()], likelihood, log_beta, warmup=0.5)
    expected = (
        -likelihood.log_prob(x).flatten(1).sum(1) + 0.5 * torch.tensor([1.0, 3.0]) * KL
    ) / 16
    torch.testing.assert_close(terms.loss, expected)


def test_a_learned_scale_settles_at_the_mean_absolute_error() -> None:
    """The gamma objective's minimum over the Laplace scale is the mean error (Flamich 3.3.1)."""
    x = torch.rand(1, 3, 16, 16)
    log_gamma = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.Adam([log_gamma], lr=0.05)
    for _ in range(300):
        terms = OBJECTIVES["gamma"](
            x, [], Laplace(torch.full_like(x, 0.5), log_gamma.exp()), torch.zeros(1), 1.0
        )
        optimizer.zero_grad()
        terms.loss.sum().backward()
        optimizer.step()
    assert float(log_gamma.detach().exp()) == pytest.approx(float((x - 0.5).abs().mean()), rel=1e-3)


def test_warmup() -> None:
    assert [kl_warmup(step, 4) for step in (0, 1, 4, 9)] == [0, 0.25, 1, 1]
    assert kl_warmup(0, 0) == 1
