"""The sliced ladder: what it is before training, and that everything in it learns."""

import math

import pytest
import torch
from torch.distributions import Normal

from laconic.distributions.divergence import kl_normal
from laconic.models.base import Condition, Context, combine
from laconic.models.sliced.config import SlicedConfig
from laconic.models.sliced.ladder import SlicedLadder

TINY = SlicedConfig(
    block=4, slices=(3, 9, 36), top=4, fine_width=8, coarse_width=8, prior_width=8, embedding=4
)


def tiny() -> SlicedLadder:
    torch.manual_seed(0)
    return SlicedLadder(TINY)


def context(height: int = 16, width: int = 24, beta: float = 0.01, batch: int = 2) -> Context:
    return Context((height, width), Condition(torch.full((batch,), math.log(beta))))


def test_shapes_climb_to_the_picture() -> None:
    model, where = tiny(), context()
    rungs = model.draw_rungs(torch.rand(2, 3, 16, 24), where)
    shapes = [tuple(rung.latent.shape) for rung in rungs]
    assert shapes == [(2, 4, 2, 3), (2, 3, 4, 6), (2, 9, 4, 6), (2, 36, 4, 6)]
    assert model.levels == 4
    assert model.stride == 8
    assert model.likelihood([rung.latent for rung in rungs], where).mean.shape == (2, 3, 16, 24)


def test_untrained_it_is_an_orthonormal_transform() -> None:
    """With all 48 coefficients the picture of the analysed image is the image."""
    model, where = tiny(), context(beta=1e-4)
    x = torch.rand(2, 3, 16, 24)
    loc, scale, _ = model.encode(x, where)
    torch.testing.assert_close(scale, torch.ones_like(scale))
    latents = [torch.zeros(2, 4, 2, 3), *loc.split(TINY.slices, dim=1)]
    picture = model.likelihood(latents, where).mean
    torch.testing.assert_close(picture, x, rtol=0, atol=1e-5)


def test_fit_finds_the_principal_axes() -> None:
    model = tiny()
    direction = torch.nn.functional.normalize(torch.randn(48, dtype=torch.float64), dim=0)
    model.transform.fit(torch.eye(48).double() + 5 * torch.outer(direction, direction))
    first = model.transform.analysis[0].detach().flatten().double()
    assert abs(float(first @ direction)) == pytest.approx(1, abs=1e-5)
    assert float(model.transform.variance[0]) == pytest.approx(6, rel=1e-5)


def test_the_ladder_is_the_optimal_test_channel() -> None:
    """For a Gaussian of variance S and noise D: rate ½ log(S/D), distortion D."""
    torch.manual_seed(2)
    variance, noise = 9.0, 1.0
    source = torch.randn(400_000, dtype=torch.float64) * variance**0.5
    encoder = Normal(source, torch.full_like(source, noise**0.5))
    prior = Normal(torch.zeros_like(source), torch.full_like(source, (variance - noise) ** 0.5))
    posterior = combine(encoder, prior)
    rate = float(kl_normal(posterior, prior).mean())
    distortion = float((posterior.sample() - source).square().mean())
    assert rate == pytest.approx(0.5 * math.log(variance / noise), rel=0.01)
    assert distortion == pytest.approx(noise, rel=0.01)


def test_priors_do_not_see_the_image() -> None:
    """Two images with the same latents above have the same prior."""
    model, where = tiny(), context()
    above = [rung.latent for rung in model.draw_rungs(torch.rand(2, 3, 16, 24), where)]
    for level in range(model.levels):
        first = model.prior(level, above[:level], where)
        torch.testing.assert_close(first.loc, model.prior(level, above[:level], where).loc)
        changed = [*above[:level], *(torch.randn_like(z) for z in above[level:])]
        torch.testing.assert_close(first.scale, model.prior(level, changed[:level], where).scale)


@pytest.mark.slow
def test_every_parameter_learns() -> None:
    """A few steps from the zero start, every parameter has a finite gradient, not all zero."""
    model, where = tiny(), context()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for _ in range(6):
        rungs = model.draw_rungs(torch.rand(2, 3, 16, 24), where)
        likelihood = model.likelihood([rung.latent for rung in rungs], where)
        rate = sum(kl_normal(rung.posterior, rung.prior).sum() for rung in rungs)
        optimizer.zero_grad()
        (rate - likelihood.log_prob(torch.rand(2, 3, 16, 24)).sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert float(parameter.grad.abs().sum()) > 0, name


def test_finer_operating_points_spend_more_bits() -> None:
    model = tiny()
    x = torch.rand(1, 3, 16, 16)
    rates = []
    for beta in (0.02, 0.002, 0.0002):
        rungs = model.draw_rungs(x, context(16, 16, beta, batch=1))
        rates.append(sum(float(kl_normal(r.posterior, r.prior).detach().sum()) for r in rungs))
    assert rates == sorted(rates)
