"""The importance-weighted bound against the evidence of a linear-Gaussian model."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from laconic.errors import ConfigError
from laconic.models.base import Rung
from laconic.training.objectives.bounds import Iwae
from laconic.training.objectives.elbo import elbo


def bound(gaussian: Any, x: Tensor, draws: int) -> Tensor:
    """`(copies, 1)` -> `(batch,)` nats, an estimate of a bound on -log p(x)."""
    copies = x.repeat_interleave(draws, 0)
    rungs, likelihood = gaussian.draw_rungs(copies)
    loss: Tensor = Iwae(draws)(copies, rungs, likelihood, torch.zeros(len(copies))).loss
    assert loss.shape == (6 * draws,)
    return loss.detach().reshape(6, draws)[:, 0]


def test_one_draw_is_the_elbo_of_the_draw(gaussian: Any, x: Tensor) -> None:
    """On average; with the rate's closed form the means agree within 4 standard errors."""
    torch.manual_seed(0)
    values = torch.stack([bound(gaussian, x, 1) for _ in range(500)])
    exact = gaussian.distortion(x, gaussian.posterior(x)).detach()
    rungs, likelihood = gaussian.draw_rungs(x)
    exact += elbo(x, rungs, likelihood, torch.zeros(6)).rate_nats
    error = values.std(0) / 500**0.5
    assert bool(((values.mean(0) - exact).abs() < 4 * error).all())


def test_more_draws_tighten_it_towards_the_evidence(gaussian: Any, x: Tensor) -> None:
    torch.manual_seed(0)
    gaps = []
    for draws in (1, 5, 50, 2000):
        values = torch.stack([bound(gaussian, x, draws) for _ in range(max(2, 1000 // draws))])
        gaps.append(float((values.mean(0) + gaussian.evidence(x)).mean()))
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] > 0.5
    assert abs(gaps[-1]) < 0.03


@pytest.mark.parametrize("draws", [1, 3])
def test_the_exact_posterior_has_the_evidence_in_every_draw(
    gaussian: Any, x: Tensor, draws: int
) -> None:
    copies = x.repeat_interleave(draws, 0)
    cover = torch.linalg.inv(gaussian.precision()).expand(len(copies), 2, 2)
    posterior = MultivariateNormal(gaussian.best(copies).loc, cover)
    rung = Rung(posterior, gaussian.prior(len(copies)), posterior.sample())
    likelihood = gaussian.likelihood(rung.latent)
    loss = Iwae(draws)(copies, [rung], likelihood, torch.zeros(len(copies))).loss
    torch.testing.assert_close(-loss, gaussian.evidence(copies))


def test_it_needs_a_draw() -> None:
    with pytest.raises(ConfigError, match="draws"):
        Iwae(0)
