"""E <= I_gen <= G against sums over all pictures and latents.

False-alarm rates: a bound of 4 standard errors is crossed with probability 6e-5.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution

from laconic.errors import InputError
from laconic.evaluation.models.estimates import Estimate, Sampling, UnavailableMeasureError
from laconic.evaluation.models.generative import generative

Model = Callable[..., Any]
SIZE = (2, 2)


def truth(model: Any) -> tuple[float, float]:
    """E and I_gen, nats."""
    prior = model.shares.log()
    joint = prior + model.decoder
    marginal = joint.logsumexp(1, keepdim=True)
    chance = joint.exp()
    lower = (chance * (model.encoder - prior)).sum()
    return float(lower), float((chance * (model.decoder - marginal)).sum())


def below(one: float | Estimate, other: float | Estimate) -> bool:
    low = one if isinstance(one, float) else one.value - 4 * one.error
    high = other if isinstance(other, float) else other.value + 4 * other.error
    return low <= high


@pytest.mark.parametrize("strength", [0.3, 1.5, 4.0])
def test_the_bounds_hold_and_the_lower_is_the_sum(choices: Model, strength: float) -> None:
    model = choices(strength)
    lower, information = truth(model)
    found = generative(model, SIZE, 4000, 500, 4, Sampling(batch=1000))
    assert abs(found.lower.value - lower) <= 4 * found.lower.error
    assert lower <= information
    assert below(information, found.upper)
    assert found.upper_iwae is not None
    assert below(information, found.upper_iwae)
    assert found.density == "mixture" or strength < 1
    # 500 draws of z know p_gen(x) nearly.
    assert below(found.upper, information + 0.05)


def test_few_references_loosen_the_upper_bound_but_never_break_it(choices: Model) -> None:
    """Over 100 seeds, the mean of G with two references lies above I_gen by over 4 sigma."""
    model = choices(4.0)
    _, information = truth(model)
    uppers = torch.tensor(
        [generative(model, SIZE, 100, 2, 0, Sampling(seed=s)).upper.value for s in range(100)]
    )
    assert float(uppers.mean()) - information > 4 * float(uppers.std()) / 10


def test_a_decoder_that_ignores_its_latent_generates_no_information(choices: Model) -> None:
    model = choices()
    model.logits = model.logits[:1].expand(4, 4)
    found = generative(model, SIZE, 50, 60)
    assert found.density == "mixture"
    assert found.upper.value == pytest.approx(0, abs=1e-9)
    assert found.lower.value < 0
    assert found.upper_iwae is None


def test_pixels_are_chosen_where_two_latents_know_too_little(choices: Model) -> None:
    """Every latent has one picture for sure: a mixture of a few misses most others."""
    model = choices()
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * 4)
    model.shares, model.logits = torch.full((16,), 1 / 16).double(), 40 * corners - 20
    model.reader = torch.zeros(4, 16).double()
    model.prior = lambda level, above, context: torch.distributions.Categorical(
        model.shares.expand(context.batch, 16)
    )
    found = generative(model, SIZE, 2000, 12, 0, Sampling(batch=500))
    assert found.density == "pixels"
    assert below(float(torch.tensor(16.0).log()), found.upper)


class Hidden(Distribution):
    """A likelihood of which nothing is known but what it says."""

    def __init__(self, inner: Distribution) -> None:
        super().__init__(inner.batch_shape, inner.event_shape, validate_args=False)
        self.inner = inner

    def log_prob(self, value: Tensor) -> Tensor:
        return self.inner.log_prob(value)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        return self.inner.sample(sample_shape)


def test_any_likelihood_gives_what_bernoullis_give(choices: Model) -> None:
    model = choices()
    quick = generative(model, SIZE, 30, 9, 0, Sampling(batch=7))
    whole = model.likelihood

    def hidden(latents: Sequence[Tensor], context: Any) -> Distribution:
        return Hidden(whole(latents, context))

    model.likelihood = hidden
    slow = generative(model, SIZE, 30, 9, 0, Sampling(batch=7))
    assert slow.upper.value == pytest.approx(quick.upper.value)
    assert slow.lower == quick.lower


def test_what_cannot_be_generated_says_so(choices: Model) -> None:
    model = choices()
    with pytest.raises(InputError, match="2 or more"):
        generative(model, SIZE, 1)
    model.likelihood = lambda latents, context: Distribution(validate_args=False)
    with pytest.raises(UnavailableMeasureError, match="no pictures can be drawn"):
        generative(model, SIZE, 4)
