"""Refined posteriors against the optimum that is known in closed form."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, MixtureSameFamily, Normal
from torch.distributions.categorical import Categorical

from laconic.distributions.divergence import density, kl_normal
from laconic.errors import ConfigError
from laconic.training.refinement import Refinement, refine


@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_it_finds_the_best_posterior(gaussian: Any, x: Tensor, beta: float) -> None:
    gaussian.weight.requires_grad_()
    settings = Refinement(steps=300, learning_rate=0.05, draws=3, beta=beta, evaluation_draws=200)
    start = gaussian.posterior(x)

    def distortion(z: Tensor) -> Tensor:
        return -density(gaussian.likelihood(z), x)

    refined = refine(start, gaussian.prior(6), distortion, settings)
    best = gaussian.best(x, beta)
    torch.testing.assert_close(refined.posterior.loc, best.loc, atol=0.08, rtol=0)
    torch.testing.assert_close(refined.posterior.scale, best.scale, atol=0.08, rtol=0)

    def cost(q: Normal) -> Tensor:
        return (gaussian.distortion(x, q) + beta * kl_normal(q, gaussian.prior(6)).sum(1)).detach()

    torch.testing.assert_close(refined.before, cost(start), atol=1.5, rtol=0)
    torch.testing.assert_close(refined.after, cost(best), atol=0.6, rtol=0)
    assert float((refined.gap - (cost(start) - cost(best))).mean()) == pytest.approx(0, abs=0.3)
    assert bool((refined.gap > 0).all())
    assert gaussian.weight.grad is None
    assert gaussian.encoder.grad is None


def test_nothing_is_gained_at_the_optimum(gaussian: Any, x: Tensor) -> None:
    """And the figures come from fresh noise, so that nothing seems to be."""
    settings = Refinement(steps=100, learning_rate=0.02, evaluation_draws=200)
    refined = refine(
        gaussian.best(x), gaussian.prior(6), lambda z: -density(gaussian.likelihood(z), x), settings
    )
    assert float(refined.gap.mean()) == pytest.approx(0, abs=0.02)
    assert float(refined.gap.mean()) < 0.002


def test_any_prior_will_do(gaussian: Any, x: Tensor) -> None:
    mixture = MixtureSameFamily(
        Categorical(logits=torch.zeros(6, 3, dtype=torch.float64)),
        Independent(Normal(torch.randn(6, 3, 2, dtype=torch.float64), 1.0), 1),
    )
    with torch.no_grad():
        refined = refine(
            gaussian.posterior(x), mixture, lambda z: -density(gaussian.likelihood(z), x)
        )
    assert bool((refined.gap > 0).all())
    assert refined.posterior.loc.requires_grad is False


def test_it_is_the_same_every_time(gaussian: Any, x: Tensor) -> None:
    def once() -> Tensor:
        found = refine(
            gaussian.posterior(x),
            gaussian.prior(6),
            lambda z: -density(gaussian.likelihood(z), x),
            Refinement(steps=5),
        )
        return found.after

    torch.testing.assert_close(once(), once(), rtol=0, atol=0)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        Refinement(steps=0)
