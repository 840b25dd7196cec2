"""The Markov ladder: a joint density, integers beside floats, and archives by Bit-Swap."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from torch import Tensor

from laconic.codecs.lossless.chains.bits_back import ChainCoder
from laconic.codecs.lossless.chains.codecs import LatentPosterior, LatentPrior, Pixels, chained
from laconic.codecs.lossless.chains.stacks import GroupShape, IntegerWalk, Lane, Lanes
from laconic.codecs.lossless.codec import Core, LosslessCodec
from laconic.codecs.lossless.core import Samples
from laconic.codecs.lossless.file import LosslessFile, make_coder
from laconic.coding.bits_back import BitsBack
from laconic.coding.stack.ans import StackEmpty
from laconic.distributions.divergence import density
from laconic.errors import ConfigError
from laconic.models.base import Condition, Context
from laconic.models.exact import SwapLadder
from laconic.models.markov.ladder import MarkovLadder
from laconic.models.markov.networks import MarkovConfig
from laconic.testing.stacks import seeded_stack
from laconic.training.loop import LoopConfig
from laconic.training.objectives.beta_range import LadderLoss
from laconic.training.objectives.elbo import elbo

ONE = 2.0**16


def make(strides: tuple[int, ...] = (4, 2), latents: tuple[int, ...] = (4, 4)) -> MarkovLadder:
    torch.manual_seed(0)
    return MarkovLadder(MarkovConfig(strides, latents, width=12, mixtures=2)).eval()


def pictures(count: int, height: int = 14, width: int = 18, colours: int = 3) -> Samples:
    rng = np.random.default_rng(0)
    start = rng.integers(60, 180, (count, 1, 1, colours))
    slope = rng.integers(-3, 4, (count, 1, width, 1)).cumsum(2)
    return (start + slope + rng.integers(-3, 4, (count, height, width, colours))).astype(np.uint8)


def as_tensor(samples: Samples) -> Tensor:
    return torch.from_numpy(samples).permute(0, 3, 1, 2).float() / 255


def one_level(state: IntegerWalk, shape: GroupShape) -> BitsBack[Lanes, Samples, list]:
    """The first level by BB-ANS, without the levels above it."""
    return BitsBack(
        LatentPrior(state), lambda x: LatentPosterior(state, x), lambda bins: Pixels(state, shape)
    )


@functools.cache
def trained(steps: int = 15) -> MarkovLadder:
    """A ladder that has learned a little."""
    model = make()
    x = as_tensor(pictures(64, 16, 16))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def run(batch: Tensor, log_beta: Tensor):  # noqa: ANN202
        return model.pass_through(batch, Context(batch.shape[2:], Condition(log_beta)))

    loss = LadderLoss(run, elbo, (1.0, 1.0), LoopConfig(weight_power=0.0))
    for step in range(steps):
        value, _ = loss([x], step)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return model.requires_grad_(False)


def test_the_posterior_is_the_product_of_its_levels() -> None:
    model, x = make(), as_tensor(pictures(2, 8, 8))
    context = Context((8, 8), Condition(torch.zeros(2)))
    features = model.encode(x, context)
    posterior, prior = model.posterior(0, features, [], None, context), model.prior(0, [], context)
    z = posterior.rsample()
    one, two = posterior.split(z)
    assert [part.shape[1:] for part in (one, two)] == model.shapes((8, 8))
    by_hand = density(posterior.first, one) + density(posterior.steps[0](one), two)
    torch.testing.assert_close(density(posterior, z), by_hand)
    assert [torch.equal(a, b) for a, b in zip(prior.split(z), (two, one), strict=True)] == [
        True
    ] * 2
    top = density(prior.first, two) + density(prior.steps[0](two), one)
    torch.testing.assert_close(density(prior, z), top)


def test_integers_are_the_floats_rounded() -> None:
    model = make()
    exact, x = model.exact_ladder(), pictures(2, 8, 8)
    assert isinstance(exact, SwapLadder)
    with torch.no_grad():
        context = Context((8, 8), Condition(torch.zeros(2)))
        centred = model.encode(as_tensor(x), context)
        mean, log_scale = exact.encode(255 * as_tensor(x).double())
        for integers, floats in zip((mean, log_scale), model.upward[0].normal(model.seen(centred)),
                                    strict=True):  # fmt: skip
            assert float((integers / ONE - floats).abs().max()) < 1e-3
        for name, networks in (("rise", model.upward), ("fall", model.downward)):
            given = mean if name == "rise" else torch.zeros(2, *model.shapes((8, 8))[1]).double()
            wanted = networks[1].normal((given / ONE).float())
            for integers, floats in zip(getattr(exact, name)(0, given), wanted, strict=True):
                assert float((integers / ONE - floats).abs().max()) < 1e-3


@pytest.mark.parametrize("colours", [1, 3])
def test_chains_come_back_whatever_the_batch(colours: int) -> None:
    samples = pictures(24, colours=colours)
    exact = trained().exact_ladder()
    group = ChainCoder(exact, batch=16, threads=2).encode(samples)
    assert group.chains[0].alone < group.chains[0].count
    again = ChainCoder(exact, batch=1, threads=1)
    assert dataclasses.replace(again.encode(samples), costs=group.costs) == group
    assert np.array_equal(np.stack(list(again.decode(group, *GroupShape.of(samples)))), samples)


def test_an_archive_by_bit_swap_takes_its_ideal_length() -> None:
    """The whole archive is decoded; its bits are those that the pictures added to the stack."""
    model = trained()
    core = Core(make_coder(model), "swap", bytes(8))
    codec, samples = LosslessCodec(core), pictures(40, 16, 16)
    sources = [(f"{k}.png", lambda k=k: samples[k]) for k in range(len(samples))]
    data = codec.archive(sources)
    file = LosslessFile.read(data)
    assert 8 * len(data) == pytest.approx(file.header.net_bits, rel=0.05)
    assert file.header.ideal_bits == pytest.approx(file.header.net_bits, rel=0.02)
    for (name, image), (wanted, _), pixels in zip(
        codec.unarchive(file), sources, samples, strict=True
    ):
        assert name == wanted
        assert np.array_equal(np.asarray(image), pixels)


def test_draws_above_the_first_pay_with_the_pixels_bits() -> None:
    """A stack that holds the first level's draw alone is enough for both levels."""
    exact, samples = trained().exact_ladder(), pictures(1, 16, 16)
    shape = GroupShape.of(samples)
    needed = []
    for levels in (1, 2):
        for words in range(0, 2000, 10):
            stack = seeded_stack(words)
            state = IntegerWalk(exact, 1, shape)
            codec = chained(state, shape) if levels == 2 else one_level(state, shape)
            try:
                codec.push(Lanes([Lane(range(1), stack)]), samples)
            except StackEmpty:
                continue
            needed.append(words)
            break
    assert needed[1] == needed[0] > 0


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="cannot follow"):
        MarkovConfig((8, 2), (4, 4))
    with pytest.raises(ConfigError, match="one value per level"):
        MarkovConfig((4, 2), (4,))
