"""The one-level VAE, and what every model must obey: `check_*` run over the VAE and the PLN."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributions import Laplace, Normal, kl_divergence

from laconic.models import MODELS
from laconic.models.base import Condition, Context, LatentVariableModel, combine
from laconic.models.pln import PLN, PLN_PRESETS
from laconic.models.vae import VAE, VAE_PRESETS

pytestmark = pytest.mark.usefixtures("float64")

TINY_VAE, TINY_PLN = VAE_PRESETS["tiny"], PLN_PRESETS["tiny"]


def build(name: str) -> LatentVariableModel:
    return {
        "vae": lambda: VAE(TINY_VAE),
        "vae, steered": lambda: VAE(replace(TINY_VAE, conditional=True)),
        "pln": lambda: PLN(TINY_PLN),
        "pln, steered": lambda: PLN(replace(TINY_PLN, conditional=True)),
        "gamma-pln": lambda: PLN(replace(TINY_PLN, learn_gamma=True)),
    }[name]()


@pytest.fixture(params=["vae", "vae, steered", "pln", "pln, steered", "gamma-pln"])
def model(request: pytest.FixtureRequest) -> LatentVariableModel:
    return build(request.param)


def context_for(x: Tensor, log_beta: float = -3.0) -> Context:
    batch, _, height, width = x.shape
    return Context((height, width), Condition(torch.full((batch,), log_beta)))


def total_loss(model: LatentVariableModel, x: Tensor, context: Context) -> Tensor:
    rungs = model.draw_rungs(x, context)
    remaining = -model.likelihood([rung.latent for rung in rungs], context).log_prob(x).sum()
    return remaining + sum(kl_divergence(rung.posterior, rung.prior).sum() for rung in rungs)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 3), (2, 1), (3, 5)])
def test_shapes_at_every_multiple_of_the_stride(
    model: LatentVariableModel, rows: int, columns: int
) -> None:
    x = torch.rand(2, 3, rows * model.stride, columns * model.stride)
    context = context_for(x)
    rungs = model.draw_rungs(x, context)
    assert len(rungs) == model.levels
    for rung in rungs:
        for distribution in (rung.prior, rung.posterior):
            assert distribution.loc.shape == distribution.scale.shape == rung.latent.shape
            assert (distribution.scale > 0).all()
    likelihood = model.likelihood([rung.latent for rung in rungs], context)
    assert likelihood.mean.shape == x.shape
    assert ((likelihood.mean >= 0) & (likelihood.mean <= 1)).all()


def test_every_parameter_gets_a_finite_gradient(model: LatentVariableModel) -> None:
    x = torch.rand(2, 3, 64, 96)
    total_loss(model, x, context_for(x)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    # Gains start at zero, so what feeds them learns only from the second step on.
    idle = [
        name
        for name, parameter in model.named_parameters()
        if not parameter.grad.any() and not name.startswith("operating_point")  # type: ignore[union-attr]
    ]
    assert idle == []


@pytest.mark.parametrize("name", ["vae", "pln"])
def test_the_sender_alone_sees_the_picture(name: str) -> None:
    model = build(name)
    x = torch.rand(1, 3, 64, 64)
    context = context_for(x)
    rungs = model.draw_rungs(x, context)
    above: list[Tensor] = []
    for level, rung in enumerate(rungs):
        again = model.prior(level, above, context)
        assert torch.equal(again.loc, rung.prior.loc)
        assert torch.equal(again.scale, rung.prior.scale)
        above.append(rung.latent)
    # Another picture moves every posterior and, given the same latents, no prior.
    other = model.encode(1 - x, context)
    for level, rung in enumerate(rungs):
        moved = model.posterior(level, other, above[:level], rung.prior, context)
        assert not torch.allclose(moved.loc, rung.posterior.loc)


@pytest.mark.parametrize("name", ["vae", "pln"])
def test_untrained_steering_changes_nothing(name: str) -> None:
    x = torch.rand(2, 3, 64, 64)
    plain, steered = build(name), build(f"{name}, steered")
    missing, unexpected = steered.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert all("gain" in key or key.startswith("operating_point") for key in missing)
    context = context_for(x)
    for one, other in zip(plain.encode(x, context), steered.encode(x, context), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["vae, steered", "pln, steered"])
def test_trained_steering_separates_qualities(name: str) -> None:
    model = build(name)
    x = torch.rand(1, 3, 64, 64)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-6)
    total_loss(model, x, context_for(x)).backward()
    optimiser.step()
    fine, coarse = (model.encode(x, context_for(x, log_beta))[0] for log_beta in (-9.0, -3.0))
    assert not torch.equal(fine, coarse)


def test_images_of_a_batch_do_not_touch(model: LatentVariableModel) -> None:
    x = torch.rand(3, 3, 64, 64)
    together = model.encode(x, context_for(x))
    alone = model.encode(x[1:2], context_for(x[1:2]))
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(one[1:2], other)


def test_kl_of_every_level_matches_monte_carlo(model: LatentVariableModel) -> None:
    """False-alarm rate 1e-3 per level: |mean - KL| below 3.3 standard errors of 4,000 draws."""
    x = torch.rand(1, 3, model.stride, model.stride)
    for rung in model.draw_rungs(x, context_for(x)):
        exact = kl_divergence(rung.posterior, rung.prior).sum()
        z = rung.posterior.sample(torch.Size([4000]))
        ratio = rung.posterior.log_prob(z) - rung.prior.log_prob(z)
        estimate = ratio.flatten(1).sum(1)
        assert abs(estimate.mean() - exact) < 3.3 * estimate.std() / 4000**0.5


def test_vae_prior_is_standard_normal() -> None:
    x = torch.rand(2, 3, 32, 48)
    prior = VAE(TINY_VAE).prior(0, [], context_for(x))
    assert prior.loc.shape == (2, TINY_VAE.latents, 2, 3)
    assert not prior.loc.any()
    assert (prior.scale == 1).all()


def test_combine_is_the_product_of_the_densities() -> None:
    encoder = Normal(torch.tensor([0.3, -2.0]), torch.tensor([0.5, 1.5]))
    prior = Normal(torch.tensor([-0.4, 1.0]), torch.tensor([2.0, 0.7]))
    grid = torch.linspace(-12, 12, 200_001).unsqueeze(1)
    density = (encoder.log_prob(grid) + prior.log_prob(grid)).exp()
    density = density / density.sum(0)
    mean = (density * grid).sum(0)
    deviation = (density * (grid - mean).square()).sum(0).sqrt()
    product = combine(encoder, prior)
    assert torch.allclose(product.loc, mean, atol=1e-9)
    assert torch.allclose(product.scale, deviation, atol=1e-9)


def test_unit_likelihood() -> None:
    model = VAE(TINY_VAE)
    x = torch.rand(1, 3, 32, 32)
    context = context_for(x)
    likelihood = model.likelihood([torch.zeros(1, TINY_VAE.latents, 2, 2)], context)
    assert isinstance(likelihood, Laplace)
    assert (likelihood.scale == 1).all()


@pytest.mark.parametrize(("gamma_infinity", "floors"), [(None, [0.1, 0.02]), (0.05, [0.05, 0.05])])
def test_learned_scale_is_clamped(gamma_infinity: float | None, floors: list[float]) -> None:
    model = VAE(replace(TINY_VAE, learn_gamma=True, gamma_infinity=gamma_infinity))
    context = Context((32, 32), Condition(torch.tensor([0.1, 0.02]).log()))
    assert torch.allclose(model.pixels.scale(context), torch.ones(2))
    assert model.pixels.log_gamma is not None
    model.pixels.log_gamma.data.fill_(math.log(0.06))
    expected = torch.tensor(floors).clamp_min(0.06)
    assert torch.allclose(model.pixels.scale(context), expected)
    scale = model.likelihood([torch.zeros(2, TINY_VAE.latents, 2, 2)], context).scale
    assert torch.allclose(scale[:, 0, 0, 0], expected)


def test_gamma_falls_to_its_floor_by_itself() -> None:
    """With a perfect picture the best scale is zero, so the learned one stops at the clamp."""
    model = VAE(replace(TINY_VAE, learn_gamma=True, gamma_infinity=0.01))
    context = context_for(torch.rand(1, 3, 32, 32))
    picture = torch.rand(1, 3, 32, 32)
    optimiser = torch.optim.Adam([model.pixels.log_gamma], lr=0.1)  # type: ignore[list-item]
    for _ in range(80):
        optimiser.zero_grad()
        (-model.pixels(picture, context).log_prob(picture).mean()).backward()
        optimiser.step()
    assert torch.allclose(model.pixels.scale(context), torch.tensor([0.01]))


def test_registry_builds_every_model() -> None:
    assert {"vae", "pln"} <= set(MODELS)
    for config, kind in MODELS.values():
        assert config.__dataclass_params__.frozen
        assert issubclass(kind, LatentVariableModel)
    assert isinstance(MODELS["vae"][1](TINY_VAE), VAE)  # type: ignore[call-arg]


@pytest.mark.slow
def test_training_lowers_the_loss(model: LatentVariableModel) -> None:
    model = model.float()
    x = torch.rand(1, 3, 1, 1, dtype=torch.float32).expand(2, 3, model.stride, model.stride)
    context = Context((model.stride,) * 2, Condition(torch.full((2,), -3.0, dtype=torch.float32)))
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(10):
        optimiser.zero_grad()
        loss = total_loss(model, x, context)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
