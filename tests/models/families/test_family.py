"""The twelve families: their parts by name, their densities, and the source's sizes."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.distributions import Distribution, Normal, TransformedDistribution

from laconic.distributions.divergence import density, rate
from laconic.errors import ConfigError
from laconic.models import make_model
from laconic.models.base import Condition, Context, LatentVariableModel, NormalLadder
from laconic.models.families.family import Family
from laconic.models.families.networks import PRESETS, FamilyConfig

NAMES = ["".join(parts) for parts in itertools.product("-+", "-+", "-+v")]
TINY = {
    "latents": 6,
    "encoder": [[4, 4, 2]],
    "read_out": 8,
    "decoder_start": 6,
    "decoder": [[4, 4, 2]],
    "last": [3, 1],
    "flow_hidden": [12, 12],
    "pseudo_inputs": 5,
    "pixels": {"width": 8, "layers": (1,)},
}
SIDE = 8


def tiny(name: str, seed: int = 0) -> Family:
    torch.manual_seed(seed)
    model = Family(FamilyConfig(name, "small", TINY, SIDE))
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.3)
    return model


def context(batch: int) -> Context:
    return Context((SIDE, SIDE), Condition(torch.zeros(batch)))


def pictures(batch: int, side: int = SIDE) -> torch.Tensor:
    return (torch.rand(batch, 1, side, side) < 0.3).float()


@pytest.mark.parametrize("name", NAMES)
def test_every_family_makes_one_pass_with_gradients(name: str) -> None:
    model = tiny(name)
    x = pictures(3)
    (rung,), likelihood = model.pass_through(x, context(3))
    known = rate(rung.posterior, rung.prior, rung.latent)
    remaining = -likelihood.log_prob(x)
    assert rung.latent.shape == (3, 6)
    assert known.shape == remaining.shape == (3,)
    (known + remaining).sum().backward()
    unused = [key for key, value in model.named_parameters() if value.grad is None]
    assert not unused


@pytest.mark.parametrize("name", NAMES)
def test_draws_and_pictures_have_the_shapes_of_data(name: str) -> None:
    model = tiny(name)
    prior = model.prior(0, [], context(4))
    z = prior.sample()
    assert z.shape == (4, 6)
    assert density(prior, z).shape == (4,)
    x = model.likelihood([z], context(4)).sample()
    assert x.shape == (4, 1, SIDE, SIDE)
    assert set(x.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("name", ["--+", "+--", "--v", "+-v", "+-+"])
def test_rates_are_averages_of_the_kl_and_never_negative_on_average(name: str) -> None:
    """A mean of 4,000 estimates of KL >= 0 lies above -4 standard errors."""
    model = tiny(name)
    x = pictures(1).expand(4_000, -1, -1, -1)
    with torch.no_grad():
        (rung,) = model.draw_rungs(x, context(4_000))
        known = rate(rung.posterior, rung.prior, rung.latent)
    assert known.mean() > -4 * known.std() / math.sqrt(len(known))
    assert known.std() > 0


def mass_on_a_grid(distribution: Distribution) -> float:
    axis = torch.linspace(-9, 9, 181)
    points = torch.cartesian_prod(axis, axis)
    return float(density(distribution, points).exp().sum() * (axis[1] - axis[0]) ** 2)


@pytest.mark.parametrize("name", ["--+", "--v", "+-v", "+--"])
def test_marginals_and_posteriors_have_mass_one(name: str) -> None:
    sizes = TINY | {"latents": 2}
    torch.manual_seed(3)
    model = Family(FamilyConfig(name, "small", sizes, SIDE))
    for key, parameter in model.named_parameters():
        if "flow" in key and parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.3)
    many = context(181**2)
    with torch.no_grad():
        assert mass_on_a_grid(model.prior(0, [], many)) == pytest.approx(1, abs=2e-3)
        x = pictures(1).expand(181**2, -1, -1, -1)
        features = model.encode(x, many)
        posterior = model.posterior(0, features, [], None, many)
        assert mass_on_a_grid(posterior) == pytest.approx(1, abs=2e-3)


def test_a_vampprior_is_the_mixture_of_its_pseudo_inputs_posteriors() -> None:
    model = tiny("--v")
    with torch.no_grad():
        model.pseudo_inputs.shares.copy_(torch.linspace(-1, 1, 5))
        z = torch.randn(3, 6)
        inputs = model.pseudo_inputs()
        shares = torch.softmax(model.pseudo_inputs.shares, 0)
        expected = torch.zeros(3)
        for share, x in zip(shares, inputs, strict=True):
            features = model.encode(x.expand(3, -1, -1, -1), context(3))
            posterior = model.posterior(0, features, [], None, context(3))
            expected += share * density(posterior, z).exp()
        torch.testing.assert_close(density(model.prior(0, [], context(3)), z), expected.log())


def test_pseudo_inputs_can_begin_as_data() -> None:
    model = tiny("--v")
    x = pictures(9)
    model.prepare([x])
    torch.testing.assert_close(model.pseudo_inputs().round(), x[:5])
    tiny("---").prepare([x])  # no pseudo-inputs


def test_gaussian_and_other_parts_by_name() -> None:
    posterior = tiny("-++").draw_rungs(pictures(2), context(2))[0]
    assert isinstance(posterior.posterior, Normal)
    assert isinstance(posterior.prior, TransformedDistribution)
    assert not isinstance(tiny("---"), NormalLadder)
    assert isinstance(tiny("---"), LatentVariableModel)


@pytest.mark.parametrize("name", ["", "--", "v--", "-v-", "--x", "----"])
def test_impossible_families_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"model.family: .* is no family"):
        make_model({"name": "family", "family": name})


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model.sizes.latent: unknown key"):
        FamilyConfig(sizes={"latent": 3})
    with pytest.raises(ConfigError, match=r"model.sizes.pixels: .*depth"):
        FamilyConfig(sizes={"pixels": {"depth": 3}})
    with pytest.raises(ConfigError, match=r"model.side: 30 is no multiple"):
        FamilyConfig(side=30)
    with pytest.raises(ConfigError, match=r"model.preset: 'large'"):
        FamilyConfig(preset="large")


def test_the_paper_preset_has_the_sources_layers() -> None:
    """Weights of appendix F.1 to F.3, counted by hand; gates double every gated layer's outputs."""
    model = Family(FamilyConfig("+-+", "paper"))
    gates = 2
    layers = [(1, 32, 25), (32, 32, 25), (32, 64, 25), (64, 64, 25), (64, 256, 49)]
    encoder = sum(gates * out * (into * taps + 1) for into, out, taps in layers)
    assert _count(model.encoder) == encoder + 2 * 64 * (256 + 1)
    up = [(64, 64, 49), (64, 64, 25), (64, 64, 25), (64, 32, 25), (32, 32, 25), (32, 32, 16)]
    decoder = sum(gates * out * (into * taps + 1) for into, out, taps in up)
    assert _count(model.decoder) == decoder + 32 * 25 + 1
    assert len(model.encoder_flow.steps) == len(model.marginal_flow.steps) == 4
    made = (64 + 1) * 640 + 2 * (640 + 1) * 640 + (640 + 1) * 64
    assert _count(model.encoder_flow) == 4 * made
    with torch.no_grad():
        x = pictures(1, side=28)
        logits = model.likelihood(
            [torch.zeros(1, 64)], Context((28, 28), Condition(torch.zeros(1)))
        )
        assert logits.log_prob(x).shape == (1,)


def test_presets_serve_other_sides_too() -> None:
    small = PRESETS["small"]
    assert small.growth == small.shrinkage == 4
    model = Family(FamilyConfig("---", side=16))
    _, likelihood = model.pass_through(
        pictures(2, 16), Context((16, 16), Condition(torch.zeros(2)))
    )
    assert likelihood.log_prob(pictures(2, 16)).shape == (2,)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
