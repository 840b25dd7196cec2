"""The pixel ladder: its contract, its likelihoods, its integers."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch

from laconic.errors import ConfigError
from laconic.models import make_model
from laconic.models.base import Condition, Context
from laconic.models.exact import MixtureParameters, Shape
from laconic.models.pixel_ladder.causal import CausalPixels
from laconic.models.pixel_ladder.exact import IntegerPixelLadder
from laconic.models.pixel_ladder.ladder import PixelLadder
from laconic.models.pixel_ladder.networks import PixelLadderConfig
from laconic.models.pixel_ladder.waves import CausalLikelihood, centred, mixture_parameters

CAUSAL = PixelLadderConfig(strides=(), latents=(), widths=(), context_width=8, context_kernel=5)
LADDER = PixelLadderConfig(strides=(8, 4, 4, 2), latents=(4, 4, 3, 4), widths=(8, 8, 8, 12))
BOTH = dataclasses.replace(LADDER, context_width=8, context_kernel=5, context_blocks=1)
CONFIGS = {"causal": CAUSAL, "ladder": LADDER, "both": BOTH}


def make(kind: str, seed: int = 0) -> PixelLadder:
    """A model none of whose layers is still at zero."""
    torch.manual_seed(seed)
    model = PixelLadder(CONFIGS[kind]).eval()
    for parameter in model.parameters():
        if float(parameter.detach().abs().max()) == 0:
            torch.nn.init.normal_(parameter, std=0.05)
    return model


def pictures(count: int = 2, height: int = 16, width: int = 24) -> torch.Tensor:
    """Smooth noise, whole numbers from 0 to 255."""
    generator = torch.Generator().manual_seed(1)
    x = 255 * torch.rand(count, 3, height, width, generator=generator)
    return torch.nn.functional.avg_pool2d(x, 3, 1, 1).round()


def context(x: torch.Tensor) -> Context:
    return Context(x.shape[2:], Condition(torch.zeros(len(x))))


@pytest.mark.parametrize("kind", CONFIGS)
def test_one_pass_agrees_with_the_contract_one_by_one(kind: str) -> None:
    model, x = make(kind), pictures() / 255
    where = context(x)
    torch.manual_seed(3)
    rungs, likelihood = model.pass_through(x, where)
    features, above = model.encode(x, where), []
    for level, rung in enumerate(rungs):
        prior = model.prior(level, above, where)
        posterior = model.posterior(level, features, above, prior, where)
        for got, expected in ((prior, rung.prior), (posterior, rung.posterior)):
            assert torch.allclose(got.loc, expected.loc, atol=1e-4)
            assert torch.allclose(got.scale, expected.scale, atol=1e-4)
        above.append(rung.latent)
    assert torch.allclose(
        model.likelihood(above, where).log_prob(x), likelihood.log_prob(x), rtol=1e-4
    )


def test_both_sides_know_the_posteriors_scale() -> None:
    model, x = make("ladder"), pictures() / 255
    for rung in model.pass_through(x, context(x))[0]:
        variance = rung.prior.scale.square()
        assert torch.allclose(rung.posterior.scale.square(), variance / (1 + variance), rtol=1e-4)


@pytest.mark.parametrize("kind", ["causal", "both"])
@torch.inference_mode()
def test_a_pixel_depends_on_those_before_it_alone(kind: str) -> None:
    model, x = make(kind), pictures(1) / 255
    latents = [rung.latent for rung in model.pass_through(x, context(x))[0]]
    likelihood = model.likelihood(latents, context(x))
    assert isinstance(likelihood, CausalPixels)
    changed = x.clone()
    changed[0, :, 7, 11] = 1 - changed[0, :, 7, 11]
    moved = (likelihood.given(changed).means - likelihood.given(x).means).abs().amax((0, 1, 2))
    order = torch.arange(x.shape[2] * x.shape[3]).reshape(x.shape[2:])
    assert float(moved[order <= order[7, 11]].max()) < 1e-3
    assert float(moved[order > order[7, 11]].max()) > 1e-2


def test_an_autoregressive_likelihood_has_no_mean() -> None:
    model, x = make("causal"), pictures()
    with pytest.raises(NotImplementedError):
        _ = model.likelihood([], context(x)).mean


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="one value per level"):
        make_model({"name": "pixels", "strides": (4, 2), "latents": (4,), "widths": (8, 8)})
    with pytest.raises(ConfigError, match="cannot follow"):
        make_model({"name": "pixels", "strides": (8, 2), "latents": (4, 4), "widths": (8, 8)})
    with pytest.raises(ConfigError, match="context_width above 0"):
        make_model({"name": "pixels", "strides": (), "latents": (), "widths": ()})


class Descent:
    """The integer ladder taken down with the posteriors' means for latents."""

    def __init__(self, exact: IntegerPixelLadder, pixels: torch.Tensor) -> None:
        self.numbers: list[torch.Tensor] = []
        self.latents: list[torch.Tensor] = []
        batch, colours, height, width = pixels.shape
        features = exact.encode(pixels.double())
        self.state = exact.start(batch, height, width)
        for level in range(exact.levels):
            known = exact.prior(level, self.state)
            mean, log_scale = exact.posterior(level, known, features)
            latent = known.loc + torch.floor(known.scale * mean + 0.5)
            self.state = exact.take_in(level, known, latent)
            self.numbers += [known.loc, known.scale, mean, log_scale]
            self.latents.append(latent)
        self.likelihood = exact.likelihood(self.state, Shape(batch, colours, height, width))


@pytest.mark.parametrize("kind", CONFIGS)
def test_integers_are_close_to_floats(kind: str) -> None:
    model, x = make(kind), pictures()
    with torch.inference_mode():
        descent = Descent(model.exact_ladder(), x)
        where, features, above = context(x), model.encode(x / 255, context(x)), []
        for level in range(model.levels):
            loc, scale, mean, log_scale = descent.numbers[4 * level : 4 * level + 4]
            prior = model.prior(level, above, where)
            posterior = model.posterior(level, features, above, prior, where)
            assert torch.allclose(loc.float() / 2**16, prior.loc, atol=1e-3)
            assert torch.allclose(scale.float(), prior.scale, rtol=3e-3)
            got = (loc + scale * mean).float() / 2**16
            assert torch.allclose(got, posterior.loc, atol=2e-2)
            got = (scale * torch.exp(log_scale / 2**16)).float()
            assert torch.allclose(got, posterior.scale, rtol=3e-3)
            above.append(descent.latents[level].float() / 2**16)
        likelihood = model.likelihood(above, where)
        said = likelihood.given(x / 255) if isinstance(likelihood, CausalPixels) else likelihood
    order = np.concatenate(descent.likelihood.waves())
    for number, given in enumerate(descent.likelihood.given(x.double())):
        assert isinstance(given, MixtureParameters)
        means = said.means[number].flatten(2)[..., order].permute(2, 0, 1)
        assert torch.allclose(torch.from_numpy(given.means).float() / 2**16, means, atol=0.15)


@pytest.mark.parametrize("kind", ["causal", "both"])
@pytest.mark.parametrize("size", [(8, 16), (16, 2), (1, 5), (5, 1), (23, 31)])
@pytest.mark.parametrize("colours", [1, 3])
def test_waves_give_what_whole_maps_give(kind: str, size: tuple[int, int], colours: int) -> None:
    """The compiled loops against the network in torch, to the bit."""
    stride = 8 if kind == "both" else 1
    x = pictures(3, *size)[:, :colours]
    padded = [-(-side // stride) * stride for side in size]
    with torch.inference_mode():
        exact = make(kind).exact_ladder()
        state = exact.start(3, *padded)
        for level in range(exact.levels):
            known = exact.prior(level, state)
            state = exact.take_in(level, known, known.loc + 3e4)
        likelihood = exact.likelihood(state, Shape(3, colours, *size))
        given = likelihood.given(x.double())
        assert isinstance(likelihood, CausalLikelihood)
        pivot, parameters = likelihood.context(
            centred(x.double()), likelihood.base, likelihood.features
        )
    order = np.concatenate(likelihood.waves())
    for number, whole in enumerate(given):
        p, q = (part[number].flatten(1).T[order] for part in (pivot, parameters))
        expected = mixture_parameters(p, q, colours)
        for one, two in zip(whole, expected, strict=True):
            assert (one is None) == (two is None)
            assert one is None or np.array_equal(one, two)


def test_every_pixel_is_in_one_wave_after_all_that_it_sees() -> None:
    x = pictures(1, 7, 12)
    waves = Descent(make("causal").exact_ladder(), x).likelihood.waves()
    order = np.concatenate(waves)
    assert sorted(order) == list(range(7 * 12))
    number = np.empty(7 * 12, int)
    for k, wave in enumerate(waves):
        number[wave] = k
    number = number.reshape(7, 12)
    for above, row in pairwise(range(7)):
        for column in range(12):
            assert number[above, : column + 3].max() < number[row, column]


@pytest.mark.parametrize("kind", CONFIGS)
def test_nothing_depends_on_batch_or_threads(kind: str) -> None:
    x, exact = pictures(3), make(kind).exact_ladder()
    threads = torch.get_num_threads()
    try:
        with torch.inference_mode():
            torch.set_num_threads(2)
            together = Descent(exact, x)
            torch.set_num_threads(1)
            for number in range(3):
                alone = Descent(exact, x[number : number + 1])
                for one, all_three in zip(alone.numbers, together.numbers, strict=True):
                    assert torch.equal(one[0], all_three[number])
                got = alone.likelihood.given(x[number : number + 1].double())[0]
                expected = together.likelihood.given(x.double())[number]
                assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))
    finally:
        torch.set_num_threads(threads)


def test_grey_pictures_are_predicted_by_their_first_colour() -> None:
    x = pictures(1)[:, :1]
    with torch.inference_mode():
        exact = make("both").exact_ladder()
        grey = Descent(exact, x).likelihood.given(x.double())[0]
        colour = Descent(exact, x.expand(-1, 3, -1, -1)).likelihood.given(
            x.double().expand(-1, 3, -1, -1)
        )[0]
    assert isinstance(grey, MixtureParameters)
    assert grey.couplings is None
    for one, three in zip(grey[:3], colour[:3], strict=True):
        assert np.array_equal(one, three[:, :1])
