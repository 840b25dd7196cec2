"""The suite of latent-variable models: ladders of latents behind `models.base`."""

import math
from abc import ABC, abstractmethod
from copy import deepcopy
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from laconic.codecs.lossless.chains.pixels import PixelCodec
from laconic.coding.stack.ans import Stack
from laconic.distributions.divergence import density, rate
from laconic.errors import ConfigError
from laconic.models.base import (
    POSITION_BITS,
    Condition,
    Context,
    LatentVariableModel,
    NormalLadder,
    PriorWalk,
)
from laconic.models.exact import Shape
from laconic.models.walk import walk
from laconic.networks.fixed_point.arithmetic import FRACTION_BITS

STEPS = 1000
"""Steps of log beta that files have."""
_ONE = 2.0**FRACTION_BITS


class ModelSuite(ABC):
    """What every model keeps, on a batch of three small examples.

    Subclass it, say how the model is made, and pytest finds the laws.
    """

    count: ClassVar[int] = 3
    """Examples in a batch."""

    has_integers: ClassVar[bool] = False
    """Whether `exact_ladder` gives the model in integers; else it must raise `ConfigError`."""

    integer_error: ClassVar[float] = 0.01
    """Most that integers may differ from floats: means in standard deviations, and shares of
    standard deviations and of bits."""

    @abstractmethod
    def make(self) -> LatentVariableModel:
        """The model under test, in float32, the same at every call."""

    def examples(self) -> Tensor:
        """A batch `(count, channels, *shape)` in [0, 1], in steps of 1 / 255.

        Sides are multiples of the model's `stride`. Pixels are near mid-grey, where models that are
        not trained have probability: integers have a least probability, floats have none.
        """
        side = self.make().stride
        shape = (self.count, 3, side, 2 * side if self.make().takes_any_size else side)
        return torch.randint(118, 138, shape, generator=torch.Generator().manual_seed(1)) / 255

    def test_every_level_has_one_shape(self) -> None:
        """Prior, posterior and latent of a level agree; the likelihood has a density per example.

        All of it is finite, and no rate that is a closed form is negative.
        """
        model, x, context = self._setting()
        rungs, likelihood = model.pass_through(x, context)
        assert len(rungs) == model.levels
        for rung in rungs:
            assert _shape(rung.prior) == _shape(rung.posterior) == rung.latent.shape
            assert len(rung.latent) == self.count
            nats = rate(rung.posterior, rung.prior, rung.latent)
            assert nats.shape == (self.count,)
            assert bool(nats.isfinite().all())
            if isinstance(rung.posterior, Normal) and isinstance(rung.prior, Normal):
                assert float(nats.detach().min()) >= 0
        nats = density(likelihood, x)
        assert nats.shape == (self.count,)
        assert bool(nats.isfinite().all())

    def test_gradients_reach_every_parameter(self) -> None:
        """Those of the negative ELBO; they are finite."""
        model, x, context = self._setting()
        model.train()
        rungs, likelihood = model.pass_through(x, context)
        nats = -density(likelihood, x).sum()
        for rung in rungs:
            nats = nats + rate(rung.posterior, rung.prior, rung.latent).sum()
        nats.backward()  # type: ignore[no-untyped-call]
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert bool(parameter.grad.isfinite().all()), name

    def test_a_walk_agrees_with_the_contract(self) -> None:
        """`pass_through` gives what prior, posterior and likelihood give one by one."""
        model, x, context = self._setting()
        with torch.no_grad():
            rungs, likelihood = model.pass_through(x, context)
            latents, features = [rung.latent for rung in rungs], model.encode(x, context)
            for level, rung in enumerate(rungs):
                above = latents[:level]
                prior = model.prior(level, above, context)
                posterior = model.posterior(level, features, above, prior, context)
                for one, other in ((rung.prior, prior), (rung.posterior, posterior)):
                    torch.testing.assert_close(
                        density(one, rung.latent), density(other, rung.latent)
                    )
            again = model.likelihood(latents, context)
            torch.testing.assert_close(density(likelihood, x), density(again, x))

    def test_the_receiver_has_the_senders_priors(self) -> None:
        """The latents alone, without the example, give the same priors."""
        model, x, context = self._setting()
        with torch.no_grad():
            rungs = model.draw_rungs(x, context)
            found: list[Distribution] = []

            def step(level: int, prior: Distribution) -> Tensor:
                found.append(prior)
                return rungs[level].latent

            walk(PriorWalk(model.levels, model.prior, context), step)
            for rung, prior in zip(rungs, found, strict=True):
                torch.testing.assert_close(density(rung.prior, rung.latent),
                                           density(prior, rung.latent))  # fmt: skip

    def test_a_file_can_carry_the_context(self) -> None:
        """Of an operating point and a shape, sender and receiver make the same context."""
        model = self.make()
        low, high = (math.log(beta) for beta in model.beta_range)
        given = [side - 1 for side in self.examples().shape[2:]]
        padded = tuple(-(-side // model.stride) * model.stride for side in given)
        for step in (0, 137, STEPS):
            context = model.context(given, step, STEPS, torch.float64)
            again = model.context(given, step, STEPS, torch.float64)
            assert context.shape == again.shape == padded
            assert torch.equal(context.log_beta, again.log_beta)
            position = context.condition.position
            assert position is not None
            assert position == again.condition.position
            middle, half = (low + high) / 2, (high - low) / 2
            exact = middle + half * position / 2**POSITION_BITS
            assert abs(float(context.log_beta) - exact) <= half * 2.0**-POSITION_BITS + 1e-9

    def test_integers_are_the_floats_rounded(self) -> None:
        """Prior, posterior and the bits of the pixels, by `exact_ladder`."""
        model, x, _ = self._setting()
        if not self.has_integers:
            try:
                model.exact_ladder()
            except ConfigError:
                return
            raise AssertionError("set has_integers: this model has an exact_ladder")
        exact, size = model.exact_ladder(), Shape(len(x), *x.shape[1:])
        pixels = torch.round(255 * x).double()
        context = Context(x.shape[2:], Condition(torch.zeros(len(x))))
        with torch.no_grad():
            features, integer_features = model.encode(x, context), exact.encode(pixels)
            floats = model.begin(context)
            state = exact.start(len(x), *x.shape[2:]) if exact.levels else None
            for level in range(exact.levels):
                known, prior = exact.prior(level, state), floats.prior(level)
                self._check_close(known.loc / _ONE, known.scale, prior)
                mean, log_scale = exact.posterior(level, known, integer_features)
                loc = (known.loc + known.scale * mean) / _ONE
                scale = known.scale * torch.exp(log_scale / _ONE)
                self._check_close(loc, scale, floats.posterior(level, features, prior))
                latent = torch.floor(_ONE * loc + 0.5)
                state = exact.take_in(level, known, latent)
                floats.take_in(level, (latent / _ONE).float().reshape(_shape(prior)))
            likelihood = exact.likelihood(state, size)
            expected = -density(floats.likelihood(), x) / math.log(2)
            order = np.concatenate(likelihood.waves())
            for one, image, bits in zip(likelihood.given(pixels), pixels, expected, strict=True):
                stack, samples = Stack(), image.flatten(1).T.numpy().astype(np.int64)
                PixelCodec(one, 8).push(stack, samples[order])
                share = stack.bits / float(bits) - 1
                assert abs(share) < self.integer_error, f"{share:.2%} more bits"

    def test_an_exact_prior_is_the_floats_rounded(self) -> None:
        """For lossy codecs, by `exact_prior`, at two operating points."""
        model, x, _ = self._setting()
        if not isinstance(model, NormalLadder):
            return
        model, x = model.double(), x[:1].double()
        exact_prior = model.exact_prior()
        for step in (400, 900):
            context = model.context(x.shape[2:], step, STEPS, torch.float64)
            state, features = model.begin(context), model.encode(x, context)
            with torch.no_grad():
                for level in range(model.levels):
                    prior, exact = state.prior(level), exact_prior(level, state.above, context)
                    self._check_close(exact.loc, exact.scale, prior)
                    latent = state.posterior(level, features, prior).sample()
                    state.take_in(level, latent.float().double())

    def _check_close(self, loc: Tensor, scale: Tensor, floats: Distribution) -> None:
        assert isinstance(floats, Normal)
        distance = (loc.reshape(floats.loc.shape) - floats.loc) / floats.scale
        assert float(distance.abs().max()) < self.integer_error
        ratio = scale.reshape(floats.scale.shape) / floats.scale - 1
        assert float(ratio.abs().max()) < self.integer_error

    def _setting(self) -> tuple[LatentVariableModel, Tensor, Context]:
        """The model in evaluation mode, a batch, and its context in the middle of the range."""
        torch.manual_seed(0)
        model, x = deepcopy(self.make()).eval(), self.examples()
        middle = sum(math.log(beta) for beta in model.beta_range) / 2
        return model, x, Context(x.shape[2:], Condition(torch.full((len(x),), middle)))


def _shape(distribution: Distribution) -> torch.Size:
    return distribution.batch_shape + distribution.event_shape
