"""The dense VAE: cells, likelihoods, and the integers that files are written with."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from laconic.coding.bits_back import BitsBack
from laconic.coding.stack.ans import PRECISION, IntArray, Stack
from laconic.coding.stack.normal_bins import NormalBins
from laconic.coding.stack.pixels import LogisticMixture
from laconic.coding.stack.symbols import Bernoulli, Codec, Uniform
from laconic.distributions.divergence import kl_normal
from laconic.errors import ConfigError
from laconic.models import make_model
from laconic.models.base import Condition, Context
from laconic.models.dense.exact import IntegerDenseVAE
from laconic.models.dense.networks import LOG_SCALES, DenseConfig
from laconic.models.dense.vae import DenseVAE
from laconic.models.exact import (
    BernoulliParameters,
    ExactLadder,
    ExactLikelihood,
    MixtureParameters,
    PixelParameters,
    Shape,
)

SIZES: dict[str, Any] = {"side": 8, "latents": 5, "hidden": (24, 16), "planes": 3, "width": 6}
LIKELIHOODS = ("bernoulli", "mixture")
BITS = 12
ONE = 2.0**16


def make(likelihood: str) -> DenseVAE:
    """A model none of whose layers is at zero, with posteriors of different widths."""
    torch.manual_seed(0)
    model = DenseVAE(DenseConfig(**SIZES, likelihood=likelihood, mixtures=4)).eval()
    for name, parameter in model.named_parameters():
        if float(parameter.detach().abs().max()) == 0 or "layers" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return model.requires_grad_(False)


def pictures(likelihood: str, count: int = 3, height: int = 16, width: int = 24) -> Tensor:
    """Whole numbers of 0 to 255: much black, much white, some greys; or no greys."""
    generator = torch.Generator().manual_seed(1)
    x = (640 * torch.rand(count, 1, height, width, generator=generator) - 192).clamp(0, 255).round()
    return (x > 127) * 255.0 if likelihood == "bernoulli" else x


def context(x: Tensor) -> Context:
    return Context(x.shape[2:], Condition(torch.zeros(len(x))))


def said(parameters: PixelParameters) -> Codec[IntArray]:
    """The codec of one image's pixels."""
    if isinstance(parameters, BernoulliParameters):
        return Bernoulli(parameters.logits[:, 0])
    assert isinstance(parameters, MixtureParameters)
    logits, means, log_scales, _ = parameters
    return LogisticMixture(logits[:, 0], means[:, 0], log_scales[:, 0])


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 3)])
def test_shapes_at_every_multiple_of_the_side(likelihood: str, rows: int, columns: int) -> None:
    model, x = make(likelihood), pictures(likelihood, 2, 8 * rows, 8 * columns) / 255
    (rung,), pixels = model.pass_through(x, context(x))
    for distribution in (rung.prior, rung.posterior):
        assert distribution.loc.shape == distribution.scale.shape == (2, 5, rows, columns)
    assert pixels.log_prob(x).shape == (2,)
    assert pixels.mean.shape == x.shape
    assert bool(((pixels.mean >= 0) & (pixels.mean <= 1)).all())


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_cells_know_nothing_of_each_other(likelihood: str) -> None:
    model, x = make(likelihood), pictures(likelihood, 1) / 255
    where = context(x)
    changed = x.clone()
    changed[:, :, 8:16, 16:24] = 1 - changed[:, :, 8:16, 16:24]
    before, after = model.encode(x, where)[0], model.encode(changed, where)[0]
    moved = (before - after).abs().amax((0, 1))
    assert moved[1, 2] > 1e-3
    moved[1, 2] = 0
    assert float(moved.max()) < 1e-5
    one = model.likelihood([before], where).mean
    other = model.likelihood([after], where).mean
    assert torch.allclose(one[:, :, :8], other[:, :, :8], atol=1e-5)
    assert torch.allclose(one[:, :, 8:, :16], other[:, :, 8:, :16], atol=1e-5)
    assert not torch.allclose(one[:, :, 8:, 16:], other[:, :, 8:, 16:], atol=1e-3)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_parameter_learns(likelihood: str) -> None:
    model, x = make(likelihood).requires_grad_(True), pictures(likelihood) / 255
    (rung,), pixels = model.pass_through(x, context(x))
    (kl_normal(rung.posterior, rung.prior).sum() - pixels.log_prob(x).sum()).backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert bool(parameter.grad.any()), name


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="even"):
        make_model({"name": "dense", "side": 7})
    with pytest.raises(ConfigError, match="hidden"):
        make_model({"name": "dense", "hidden": ()})
    with pytest.raises(ConfigError, match="not one of bernoulli, mixture"):
        make_model({"name": "dense", "likelihood": "laplace"})
    with pytest.raises(ConfigError, match="3 or more"):
        make_model({"name": "dense", "mixtures": 2})


def test_it_serves_as_an_exact_ladder() -> None:
    exact = make("mixture").exact_ladder()
    assert isinstance(exact, ExactLadder)
    state = exact.start(1, 8, 8)
    latent = exact.prior(0, state).loc
    assert isinstance(exact.likelihood(latent, Shape(1, 1, 8, 8)), ExactLikelihood)


class Passed:
    """What both sides compute for some pictures; latents are posteriors' means."""

    def __init__(self, exact: IntegerDenseVAE, pixels: Tensor) -> None:
        batch, _, height, width = pixels.shape
        rows, columns = (-(-side // 8) * 8 for side in (height, width))
        padded = torch.nn.functional.pad(
            pixels.double(), (0, columns - width, 0, rows - height), mode="replicate"
        )
        known = exact.prior(0, exact.start(batch, rows, columns))
        self.mean, self.log_scale = exact.posterior(0, known, exact.encode(padded))
        state = exact.take_in(0, known, torch.floor(known.loc + known.scale * self.mean + 0.5))
        self.likelihood = exact.likelihood(state, Shape(batch, 1, height, width))
        self.parameters = self.likelihood.given(pixels)

    def picture(self, number: int) -> list[np.ndarray[Any, Any]]:
        """All numbers of one picture."""
        parts = [part for part in self.parameters[number] if part is not None]
        return [self.mean[number].numpy(), self.log_scale[number].numpy(), *parts]


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_numbers_do_not_depend_on_batch_or_threads(likelihood: str) -> None:
    exact, x = make(likelihood).exact_ladder(), pictures(likelihood, 5, 13, 24)
    threads = torch.get_num_threads()
    together = Passed(exact, x)
    torch.set_num_threads(1)
    try:
        for number in range(5):
            alone = Passed(exact, x[number : number + 1])
            for one, other in zip(together.picture(number), alone.picture(0), strict=True):
                assert np.array_equal(one, other)
                assert np.array_equal(one, np.round(one))
    finally:
        torch.set_num_threads(threads)


def test_samples_of_sixteen_bits_keep_their_fractions() -> None:
    exact, x = make("mixture").exact_ladder(), pictures("mixture")
    fine = exact.encode((x + 3 / 256).clamp_max(255).double())
    assert torch.equal(fine, torch.round(fine))
    assert not torch.equal(fine, exact.encode(x.double()))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_integers_are_close_to_floats(likelihood: str) -> None:
    model, x = make(likelihood), pictures(likelihood)
    passed, where = Passed(model.exact_ladder(), x), context(x)
    mean, log_scale = model.encode(x / 255, where)
    assert torch.allclose(passed.mean.float() / ONE, mean, atol=2e-3)
    assert torch.allclose(passed.log_scale.float() / ONE, log_scale, atol=2e-3)
    assert float(passed.log_scale.min()) >= LOG_SCALES[0] * ONE


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_pixels_cost_in_integers_what_floats_say(likelihood: str) -> None:
    """Within 0.1 %, of latents that are the same in both."""
    model, x = make(likelihood), pictures(likelihood)
    passed = Passed(model.exact_ladder(), x)
    nats = -model.likelihood([passed.mean.float() / ONE], context(x)).log_prob(x / 255)
    unit = 255 if likelihood == "bernoulli" else 1
    for number, expected in enumerate(nats.tolist()):
        stack = Stack()
        said(passed.parameters[number]).push(stack, x[number].flatten().long().numpy() // unit)
        assert stack.bits == pytest.approx(expected / math.log(2), rel=1e-3)


def test_rare_values_cost_no_more_than_coders_ask() -> None:
    """A value no component expects costs the coder's precision, in floats as in integers."""
    model = make("mixture")
    model.components.log_scales.fill_(-4.0)
    x = torch.full((1, 1, 8, 8), 77.0)
    passed = Passed(model.exact_ladder(), x)
    nats = -model.likelihood([passed.mean.float() / ONE], context(x)).log_prob(x / 255)
    stack = Stack()
    said(passed.parameters[0]).push(stack, x.flatten().long().numpy())
    assert float(nats) / math.log(2) == pytest.approx(64 * PRECISION, rel=1e-3)
    assert stack.bits == pytest.approx(64 * PRECISION, rel=1e-3)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_bits_back_returns_pictures_and_bits(likelihood: str) -> None:
    exact, unit = make(likelihood).exact_ladder(), 255 if likelihood == "bernoulli" else 1

    def posterior(symbols: IntArray) -> NormalBins:
        pixels = torch.from_numpy(symbols * unit).double().reshape(1, 1, 8, 8)
        known = exact.prior(0, exact.start(1, 8, 8))
        mean, log_scale = exact.posterior(0, known, exact.encode(pixels))
        means, log_scales = (part.flatten().long().numpy() for part in (mean, log_scale))
        return NormalBins(means, log_scales, BITS)

    def likelihood_of(bins: IntArray) -> Codec[IntArray]:
        latent = torch.from_numpy(NormalBins.centres(bins, BITS)).double().reshape(1, 5, 1, 1)
        return said(exact.likelihood(latent, Shape(1, 1, 8, 8)).given(torch.zeros(0))[0])

    codec = BitsBack(NormalBins.prior(BITS, 5), posterior, likelihood_of)
    stack, filler = Stack(), Uniform(256, 100)
    filler.push(stack, np.random.default_rng(0).integers(0, 256, 100))
    before = stack.to_bytes()
    images = pictures(likelihood, 4, 8, 8).flatten(1).long().numpy() // unit
    for image in images:
        codec.push(stack, image)
    for image in images[::-1]:
        assert np.array_equal(codec.pop(stack), image)
    assert stack.to_bytes() == before
