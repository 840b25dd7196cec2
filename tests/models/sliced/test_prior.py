"""The sliced ladder's integer prior: near the float one, and the same bits however it is run."""

import hashlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from laconic.coding.random import SharedRandomness
from laconic.distributions.divergence import kl_normal
from laconic.distributions.rated import RatedNormal
from laconic.models.base import Condition, Context
from laconic.models.sliced.ladder import SlicedLadder

Small = Callable[[], SlicedLadder]


def draws(count: int = 1) -> list[Tensor]:
    sizes = [(4, 2, 3), (3, 4, 6), (9, 4, 6), (36, 4, 6)]
    return [10 * torch.randn(count, *size, dtype=torch.float64) for size in sizes]


def test_it_is_near_the_float_prior(small_ladder: Small) -> None:
    model = small_ladder().double()
    exact, above = model.exact_prior(), draws()
    context = model.context((16, 24), 400, 1000, torch.float64)
    for level in range(model.levels):
        found = exact(level, above[:level], context)
        wanted = model.prior(level, above[:level], context)
        assert float(((found.loc - wanted.loc) / wanted.scale).abs().max()) < 0.01
        assert float((found.scale / wanted.scale - 1).abs().max()) < 0.004
        narrow = Normal(wanted.loc, wanted.scale / 2)
        extra = kl_normal(narrow, found).sum() / kl_normal(narrow, wanted).sum() - 1
        assert abs(float(extra)) < 1e-3


def test_rates_are_what_the_scales_expect(small_ladder: Small) -> None:
    prior = small_ladder().exact_prior()(
        2, draws()[:2], small_ladder().context((16, 24), 400, 1000)
    )
    assert isinstance(prior, RatedNormal)
    expected = 128 * torch.log2(1 + prior.scale.square())
    assert float((prior.rates - expected).abs().max()) < 1


def outputs(model: SlicedLadder, threads: int, count: int) -> str:
    before = torch.get_num_threads()
    digest, source = hashlib.sha256(), SharedRandomness(1)
    above = [torch.from_numpy(source.normals(0, z.numel())).reshape(z.shape) for z in draws(count)]
    try:
        torch.set_num_threads(threads)
        exact, context = model.exact_prior(), model.context((16, 24), 400, 1000)
        for level in range(1, model.levels):
            prior = exact(level, [8 * z.double() for z in above[:level]], context)
            for part in (prior.loc, prior.scale, prior.rates):
                digest.update(part[:1].numpy().tobytes())
    finally:
        torch.set_num_threads(before)
    return digest.hexdigest()


def test_same_bits_for_any_threads_precision_and_batch(small_ladder: Small) -> None:
    """And those of the machine on which this test was written."""
    found = {outputs(small_ladder(), threads, 1) for threads in (1, 2, 3)}
    found.add(outputs(small_ladder().double(), 2, 1))
    with torch.autocast("cpu", torch.bfloat16):
        found.add(outputs(small_ladder(), 2, 1))
    assert found == {PINNED}


def test_it_needs_an_exact_position(small_ladder: Small) -> None:
    model = small_ladder()
    context = Context((16, 24), Condition(torch.zeros(1)))
    with pytest.raises(ValueError, match="position"):
        model.exact_prior()(1, draws()[:1], context)


PINNED = "cb4c3e139d0c5b21b744ad98a192ed7316fe930435065571dcee701813fa39d4"
