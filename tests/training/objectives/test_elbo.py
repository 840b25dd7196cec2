"""Objectives against their formulas."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Independent, Laplace, MultivariateNormal, Normal

from laconic.errors import ConfigError
from laconic.models.base import Rung
from laconic.training.objectives.base import kl_warmup
from laconic.training.objectives.elbo import (
    OBJECTIVES,
    FreeBits,
    RateDistortion,
    beta_elbo,
    elbo,
)
from laconic.training.objectives.pictures import picture_numbers, squared_error


def rung() -> Rung:
    posterior = Normal(torch.full((2, 1, 1, 1), 1.0), torch.full((2, 1, 1, 1), 0.5))
    return Rung(posterior, Normal(torch.zeros(2, 1, 1, 1), torch.ones(2, 1, 1, 1)), posterior.loc)


KL = 0.5 * (0.25 - 1 - math.log(0.25) + 1)


def test_elbo_is_nats_per_example() -> None:
    x = torch.rand(2, 3, 4, 4)
    likelihood = Laplace(torch.full_like(x, 0.5), 1.0)
    terms = elbo(x, [rung()], likelihood, torch.zeros(2))
    expected = -likelihood.log_prob(x).flatten(1).sum(1) + KL
    torch.testing.assert_close(terms.loss, expected)
    torch.testing.assert_close(terms.level_nats[0], torch.full((2,), KL))
    torch.testing.assert_close(terms.rate_nats, torch.full((2,), KL))


def test_pictures_have_bits_per_pixel_and_decibels() -> None:
    x = torch.rand(2, 3, 4, 4)
    likelihood = Laplace(torch.full_like(x, 0.5), 1.0)
    numbers = picture_numbers(x, likelihood, elbo(x, [rung()], likelihood, torch.zeros(2)))
    assert numbers["bits_per_pixel"] == pytest.approx(KL / math.log(2) / 16)
    assert numbers["bits_level_0"] == numbers["bits_per_pixel"]
    error = (x - 0.5).square().flatten(1).mean(1)
    assert numbers["psnr_db"] == pytest.approx(float(-10 * error.log10().mean()), rel=1e-5)


def test_beta_weighs_the_rate() -> None:
    x = torch.rand(2, 3, 4, 4)
    likelihood = Laplace(torch.full_like(x, 0.5), 1.0)
    log_beta = torch.tensor([0.0, math.log(3.0)])
    terms = beta_elbo(x, [rung()], likelihood, log_beta, warmup=0.5)
    expected = -likelihood.log_prob(x).flatten(1).sum(1) + 0.5 * torch.tensor([1.0, 3.0]) * KL
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


def test_rate_and_distortion_add_up_to_the_loss(gaussian: Any, x: Tensor) -> None:
    """In nats per image; the warm-up raises the rate's weight from 0 to beta."""
    rungs, likelihood = gaussian.draw_rungs(x)
    terms = RateDistortion(beta=0.3)(x, rungs, likelihood, torch.zeros(6), warmup=0.5)
    torch.testing.assert_close(terms.loss, terms.distortion_nats + 0.5 * 0.3 * terms.rate_nats)
    torch.testing.assert_close(terms.distortion_nats, -likelihood.log_prob(x))
    torch.testing.assert_close(terms.rate_nats, terms.level_nats[0])


def test_fixed_beta_finds_the_known_optimum(gaussian: Any, x: Tensor) -> None:
    """The encoder is linear, so that it can be the closed form's best for every x."""
    objective = RateDistortion(beta=0.4)
    optimizer = torch.optim.Adam([gaussian.encoder, gaussian.log_scale], lr=0.02)
    for _ in range(600):
        q = gaussian.posterior(x)
        rung = Rung(q, gaussian.prior(6), q.loc)
        likelihood = gaussian.likelihood(q.loc)
        at_mean = objective(x, [rung], likelihood, torch.zeros(6)).loss
        loss = (at_mean + gaussian.distortion(x, q) + likelihood.log_prob(x)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    best = gaussian.best(x, beta=0.4)
    torch.testing.assert_close(gaussian.posterior(x).loc, best.loc, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(gaussian.posterior(x).scale, best.scale, atol=1e-3, rtol=1e-3)


def test_any_posterior_has_a_rate(gaussian: Any, x: Tensor) -> None:
    """A correlated normal has no closed form here: the draw's own log q - log p."""
    cover = torch.linalg.inv(gaussian.precision()).expand(6, 2, 2)
    posterior = MultivariateNormal(gaussian.best(x).loc, cover)
    rung = Rung(posterior, gaussian.prior(6), posterior.sample())
    terms = elbo(x, [rung], gaussian.likelihood(rung.latent), torch.zeros(6))
    torch.testing.assert_close(-terms.loss, gaussian.evidence(x))


def test_free_bits_are_free_for_each_group() -> None:
    """KLs of 0.02 and 0.5 nats with 0.1 free: levels sum them first, dimensions do not."""
    loc = torch.tensor([[0.2, 1.0], [0.2, 1.0]], requires_grad=True)
    posterior = Normal(loc, torch.ones(2, 2))
    rung = Rung(posterior, Normal(torch.zeros(2, 2), torch.ones(2, 2)), loc)
    x = torch.rand(2, 1, 2, 2)
    likelihood = Independent(Normal(torch.zeros_like(x), 1.0), 3)
    for per, expected, slopes in (("level", 0.52, [0.2, 1.0]), ("dimension", 0.6, [0.0, 1.0])):
        terms = FreeBits(nats=0.1, per=per)(x, [rung], likelihood, torch.zeros(2))
        torch.testing.assert_close(
            terms.loss, -likelihood.log_prob(x) + expected, msg=lambda m, per=per: per + m
        )
        (gradient,) = torch.autograd.grad(terms.loss.mean(), loc)
        torch.testing.assert_close(gradient, torch.tensor([slopes, slopes]) / 2)
        torch.testing.assert_close(terms.rate_nats, torch.full((2,), 0.52))


def test_free_bits_of_a_flow_are_by_level_only(gaussian: Any, x: Tensor) -> None:
    posterior = MultivariateNormal(gaussian.best(x).loc, torch.eye(2).double().expand(6, 2, 2))
    rung = Rung(posterior, gaussian.prior(6), posterior.sample())
    with pytest.raises(ConfigError, match="per: level"):
        FreeBits(per="dimension")(x, [rung], gaussian.likelihood(rung.latent), torch.zeros(6))


def test_binary_pixels_have_no_picture_worth_showing() -> None:
    x = torch.ones(2, 1, 4, 4)
    for likelihood in (
        Bernoulli(logits=torch.zeros_like(x)),
        Independent(Bernoulli(logits=torch.zeros_like(x)), 3),
    ):
        assert bool(squared_error(x, likelihood).isnan().all())


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [(RateDistortion, {"beta": -1.0}), (FreeBits, {"nats": -1.0}), (FreeBits, {"per": "pixel"})],
)
def test_settings_out_of_range_are_refused(kind: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="objective"):
        kind(**wrong)
