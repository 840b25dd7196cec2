"""Rate, distortion, IWAE and the information bounds against closed forms and enumeration.

False-alarm rates: a bound of 4 standard errors is crossed with probability 6e-5.
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from laconic.errors import InputError
from laconic.evaluation.models.estimates import (
    BrokenMeasureError,
    Estimate,
    Sampling,
    UnavailableMeasureError,
    make_context,
)
from laconic.evaluation.models.information import (
    Aggregate,
    information,
    iwae,
    rate_distortion,
)

Model = Callable[..., Any]


def within(found: Estimate, truth: float, errors: float = 4) -> bool:
    return abs(found.value - truth) <= errors * found.error


def test_rate_and_distortion_are_the_closed_forms(linear_gaussian: Model) -> None:
    model = linear_gaussian(spread=1.4, shift=0.3)
    x = model.draw(400)
    found = rate_distortion(model, x, draws=40)
    assert found.rate.value == pytest.approx(float(model.rate(x).mean()), rel=1e-12)
    assert within(found.distortion, float(model.distortion(x).mean()), 1)
    assert found.negative_elbo.value == pytest.approx(found.rate.value + found.distortion.value)
    assert found.rate.error == pytest.approx(float(model.rate(x).std()) / 20)
    assert model.entropy - found.distortion.value <= model.information <= found.rate.value


def test_rate_and_distortion_of_choices_are_the_sums(choices: Model) -> None:
    """Where there is no closed form, the draw's own log ratio is averaged."""
    model = choices()
    x = model.all_images.repeat(200, 1, 1, 1)
    found = rate_distortion(model, x, sampling=Sampling(batch=700))
    encoder, shares = model.encoder, model.shares.log()
    assert within(found.rate, float((encoder.exp() * (encoder - shares)).sum(1).mean()))
    assert within(found.distortion, -float((encoder.exp() * model.decoder).sum(1).mean()))


def test_standard_errors_cover_the_truth(linear_gaussian: Model) -> None:
    """Of 400 intervals of 1.96 errors, 94.4 % cover (Student's t of 49); 4 sigma are 4.6 %."""
    model = linear_gaussian(spread=1.4, shift=0.3)
    many = model.draw(400_000)
    truth = float((model.rate(many) + model.distortion(many)).mean())
    hits = 0
    for seed in range(400):
        found = rate_distortion(model, model.draw(50), sampling=Sampling(seed=seed))
        hits += within(found.negative_elbo, truth, 1.96)
    assert abs(hits / 400 - 0.944) < 0.046


def test_iwae_of_the_exact_posterior_is_exact_with_one_draw(linear_gaussian: Model) -> None:
    model = linear_gaussian()
    x = model.draw(7)
    assert iwae(model, x, 1).value == pytest.approx(float(model.surprise(x).mean()), rel=1e-12)


def test_iwae_falls_with_draws_to_the_truth(linear_gaussian: Model) -> None:
    model = linear_gaussian(spread=1.6, shift=0.4)
    x = model.draw(300)
    truth = float(model.surprise(x).mean())
    found = [iwae(model, x, draws).value - truth for draws in (1, 4, 16, 64, 256)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.5
    assert abs(found[-1]) < 0.03
    # The first two are E ln means of 1 and 4 weights: the ELBO's gap, known in closed form.
    elbo = float((model.rate(x) + model.distortion(x)).mean())
    assert found[0] == pytest.approx(elbo - truth, abs=0.25)


def test_iwae_of_choices_is_the_sum_over_all_draws(choices: Model) -> None:
    """All 4 x 4 pairs of draws enumerated."""
    model = choices()
    encoder = model.encoder
    weight = model.shares.log() + model.decoder - encoder
    pairs = torch.logaddexp(weight[:, :, None], weight[:, None]) - math.log(2)
    chance = (encoder[:, :, None] + encoder[:, None]).exp()
    truth = -float((chance * pairs).sum((1, 2)).mean())
    x = model.all_images.repeat(300, 1, 1, 1)
    assert within(iwae(model, x, 2, Sampling(batch=1000)), truth)


def test_information_lies_between_the_bounds(linear_gaussian: Model) -> None:
    """The sandwich, on data whose entropy is known."""
    model = linear_gaussian(spread=1.2)
    x = model.draw(1000)
    plane = rate_distortion(model, x)
    found = information(model, x, draws=4)
    truth = model.information
    assert found.images == 1000
    assert found.lower.value - 4 * found.lower.error <= truth
    assert truth <= found.upper.value + 4 * found.upper.error
    assert truth <= plane.rate.value + 4 * plane.rate.error
    assert model.entropy - plane.distortion.value - 4 * plane.distortion.error <= truth
    assert found.upper.value - found.lower.value < 0.05
    assert within(found.lower, truth)
    spread = torch.diag(model.scale.square()) + model.reader.T @ model.covariance @ model.reader
    gap = 0.5 * float(torch.trace(spread) - 2 - torch.logdet(spread))
    assert found.gap_lower.value - 4 * found.gap_lower.error <= gap
    assert gap <= found.gap_upper.value + 4 * found.gap_upper.error
    assert within(found.gap_upper, gap)


def test_the_lower_bound_ends_at_the_logarithm_of_the_images(linear_gaussian: Model) -> None:
    model = linear_gaussian(spread=1e-3)
    x = model.draw(30)
    found = information(model, x)
    assert found.lower.value == pytest.approx(math.log(30), abs=1e-6)
    assert found.upper.value > model.information


def test_bounds_of_information_are_bounds_on_average(linear_gaussian: Model) -> None:
    """With few images both are far off, on their own sides; 300 repetitions, 4 sigma.

    Their errors are those that repetitions show, within 20 % (the spread of 300 has one of 4 %).
    """
    model = linear_gaussian(spread=0.5)
    found = [
        information(model, model.draw(20), sampling=Sampling(seed=seed)) for seed in range(300)
    ]
    for name, sign in (("lower", 1), ("upper", -1)):
        bounds = [getattr(one, name) for one in found]
        values = torch.tensor([one.value for one in bounds]).double()
        margin = 4 * float(values.std()) / math.sqrt(300)
        assert sign * (model.information - float(values.mean())) > margin
    values = torch.tensor([one.lower.value for one in found]).double()
    errors = torch.tensor([one.lower.error for one in found]).double()
    assert float(values.std()) <= 1.2 * float(errors.square().mean().sqrt())


def test_the_upper_gap_is_the_divergence_of_the_mixture(linear_gaussian: Model) -> None:
    """KL(mixture of five posteriors || m), by integration over a fine grid."""
    model = linear_gaussian(spread=0.8)
    x = model.draw(5)
    line = torch.linspace(-6, 6, 401).double()
    grid = torch.cartesian_prod(line, line)
    context = make_context(model, (2, 3), x, 5, None)
    posterior = model.posterior(0, model.encode(x, context), [], None, context)
    mixture = posterior.log_prob(grid[:, None]).sum(2).logsumexp(1) - math.log(5)
    marginal = Normal(0.0, 1.0).log_prob(grid).sum(1)
    truth = float((mixture.exp() * (mixture - marginal)).sum() * (line[1] - line[0]) ** 2)
    found = information(model, x.repeat(600, 1, 1, 1), draws=2)
    assert within(found.gap_upper, truth)


@pytest.mark.parametrize("shared", [True, False])
def test_posteriors_behind_transforms_are_compared_exactly(
    linear_gaussian: Model, flowed: Model, shared: bool
) -> None:
    """Shared or not, the table is what every posterior says of every latent."""
    model = flowed(linear_gaussian(), shared)
    x = model.plain.draw(7)
    posteriors = []
    for part in (x[:4], x[4:]):
        context = make_context(model, (2, 3), part, len(part), None)
        posteriors.append(model.posterior(0, model.encode(part, context), [], None, context))
    aggregate = Aggregate(posteriors)
    assert (aggregate.normal is not None) == shared
    z = posteriors[0].sample()
    expected = torch.stack([torch.cat([one.log_prob(row) for one in posteriors]) for row in z])
    torch.testing.assert_close(aggregate(z), expected, rtol=1e-9, atol=1e-9)


def test_shared_transforms_change_nothing_but_the_cost(
    linear_gaussian: Model, flowed: Model
) -> None:
    plain = linear_gaussian()
    x = plain.draw(40)
    quick = information(flowed(plain, True), x)
    slow = information(flowed(plain, False), x)
    assert quick.lower.value == pytest.approx(slow.lower.value, abs=1e-9)
    assert quick.gap_upper.value == pytest.approx(slow.gap_upper.value, abs=1e-9)


def test_information_of_choices(choices: Model) -> None:
    """Posteriors that are no normals; of all 16 images the lower bound is the exact sum."""
    model = choices()
    encoder = model.encoder
    aggregate = encoder.logsumexp(0) - math.log(16)
    truth = float((encoder.exp() * (encoder - aggregate)).sum(1).mean())
    found = information(model, model.all_images, draws=400)
    assert found.lower.value == pytest.approx(truth, abs=0.03)


def test_broken_weights_are_named(linear_gaussian: Model) -> None:
    model = linear_gaussian()
    model.likelihood = lambda latents, context: Broken()
    with pytest.raises(BrokenMeasureError, match="distortion: 4 of 4"):
        rate_distortion(model, model.draw(4))
    with pytest.raises(BrokenMeasureError, match="IWAE bound: 4 of 4"):
        iwae(model, model.draw(4), 3)


class Broken(Distribution):
    """A likelihood that says nothing."""

    def __init__(self) -> None:
        super().__init__(validate_args=False)

    def log_prob(self, x: Tensor) -> Tensor:
        return x * math.nan


def test_several_levels_have_no_information_here(linear_gaussian: Model) -> None:
    model = linear_gaussian()
    model.levels = 2
    with pytest.raises(UnavailableMeasureError, match="2 levels"):
        information(model, model.draw(4))


@pytest.mark.parametrize("measure", [rate_distortion, iwae, information])
def test_no_draws_are_refused(linear_gaussian: Model, measure: Callable[..., Any]) -> None:
    model = linear_gaussian()
    with pytest.raises(InputError, match="draws: 0"):
        measure(model, model.draw(4), 0)


def test_the_same_seed_gives_the_same_numbers(linear_gaussian: Model) -> None:
    model = linear_gaussian()
    x = model.draw(20)
    first, again, other = (iwae(model, x, 2, Sampling(seed=seed)) for seed in (1, 1, 2))
    assert first == again
    model = linear_gaussian(spread=2)
    first, again, other = (iwae(model, x, 2, Sampling(seed=seed)) for seed in (1, 1, 2))
    assert first == again != other
