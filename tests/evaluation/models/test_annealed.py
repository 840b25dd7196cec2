"""Annealed importance sampling against closed forms.

False-alarm rates: a bound of 4 standard errors is crossed with probability 6e-5.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, TransformedDistribution

from laconic.errors import ConfigError
from laconic.evaluation.models import annealed as module
from laconic.evaluation.models.annealed import Annealing, annealed, schedule
from laconic.evaluation.models.estimates import Sampling, UnavailableMeasureError, make_context
from laconic.evaluation.models.information import iwae

Model = Callable[..., Any]
MANY = Sampling(batch=10_000)


def test_from_the_exact_posterior_nothing_is_left_to_chance(linear_gaussian: Model) -> None:
    model = linear_gaussian()
    x = model.draw(5)
    found = annealed(model, x, Annealing(5, 2, 2))
    assert found.bound.value == pytest.approx(float(model.surprise(x).mean()), rel=1e-9)
    assert found.effective_chains == pytest.approx(2)


@pytest.mark.parametrize("start", ["posterior", "marginal"])
@pytest.mark.parametrize("leapfrogs", [1, 4])
def test_the_mean_weight_is_the_evidence(
    linear_gaussian: Model, start: str, leapfrogs: int
) -> None:
    """E w / p(x) = 1 for every image: the law that makes the bound a bound."""
    model = linear_gaussian(spread=0.6, shift=0.5)
    x = model.draw(20)
    context = make_context(model, (2, 3), x, 20, None)
    with torch.no_grad():
        weights, _ = module._batch(model, x, context, Annealing(12, 400, leapfrogs, start))
    ratios = (weights + model.surprise(x)[:, None]).exp().flatten()
    error = float(ratios.std()) / math.sqrt(len(ratios))
    assert error < 0.05
    assert abs(float(ratios.mean()) - 1) < 4 * error


@pytest.mark.parametrize("start", ["posterior", "marginal"])
def test_more_bridges_bring_the_bound_to_the_truth(linear_gaussian: Model, start: str) -> None:
    model = linear_gaussian(spread=0.5, shift=1.0)
    x = model.draw(40)
    truth = float(model.surprise(x).mean())
    found = [annealed(model, x, Annealing(n, 4, 3, start), MANY) for n in (2, 10, 60)]
    gaps = [one.bound.value - truth for one in found]
    assert gaps[0] > gaps[1] > gaps[2] > -0.02
    assert gaps[2] < 0.3
    assert found[0].effective_chains < found[2].effective_chains


def test_annealing_beats_importance_sampling_at_equal_cost(linear_gaussian: Model) -> None:
    """A posterior far too narrow and beside the truth; passes of the decoder are counted.

    Its chains begin at the marginal, as such a start is too narrow to be widened.
    """
    model = linear_gaussian(spread=0.1, shift=1.5)
    x = model.draw(40)
    passes = {"annealed": 0, "iwae": 0}
    whole, name = model.likelihood, "annealed"

    def count(latents: Sequence[Tensor], context: Any) -> Distribution:
        passes[name] += len(latents[0])
        return whole(latents, context)

    model.likelihood = count
    bound = annealed(model, x, Annealing(40, 4, 3, "marginal"), MANY).bound
    draws = passes["annealed"] // len(x)
    name = "iwae"
    weighted = iwae(model, x, draws, MANY)
    assert passes["iwae"] == pytest.approx(passes["annealed"], rel=0.01)
    truth = float(model.surprise(x).mean())
    assert bound.value - truth < 0.2
    assert weighted.value - truth > 2


def test_step_sizes_reach_the_asked_share_of_accepted_moves(linear_gaussian: Model) -> None:
    model = linear_gaussian(spread=0.2, shift=0.5)
    found = annealed(model, model.draw(60), Annealing(60, 4, 3, accept=0.6), MANY)
    assert len(found.accepted) == 59
    assert sum(found.accepted) / 59 == pytest.approx(0.6, abs=0.08)


def test_encoders_with_flows_are_annealed_in_the_flows_noise(
    linear_gaussian: Model, flowed: Model
) -> None:
    """The transform's volume counts; and it is never inverted, which may be slow."""
    model = flowed(linear_gaussian(), True)
    x = model.plain.draw(30)
    whole = model.prior

    def remembered(level: int, above: Sequence[Tensor], context: Any) -> Distribution:
        """A marginal behind the encoder's flow, as the mixtures of posteriors are."""
        plain = whole(level, above, context)
        return TransformedDistribution(Independent(plain, 1), [model.stretch])

    def never(y: Tensor) -> Tensor:
        raise AssertionError("the flow was inverted")

    model.stretch._inverse = never
    found = annealed(model, x, Annealing(50, 4, 3), MANY)
    model.prior = remembered
    annealed(model, x, Annealing(3, 2, 3), MANY)
    truth = float(model.plain.surprise(x).mean())
    assert -0.02 < found.bound.value - truth < 0.1


@pytest.mark.parametrize("inverse", [False, True])
def test_marginals_with_flows(linear_gaussian: Model, flowed: Model, inverse: bool) -> None:
    """From m(z), a flow's noise or z itself, whichever is quick, gives the same evidence."""
    model = flowed(linear_gaussian(), True)
    transform = model.stretch.inv if inverse else model.stretch

    def marginal(level: int, above: Sequence[Tensor], context: Any) -> Distribution:
        zeros = torch.zeros(context.batch, 2).double()
        base = Independent(Normal(zeros, torch.ones_like(zeros)), 1)
        return TransformedDistribution(base, [transform])

    model.prior = marginal
    x = model.plain.draw(6)
    context = make_context(model, (2, 3), x, 2, None)
    line = torch.linspace(-12, 12, 241).double()
    grid = torch.cartesian_prod(line, line)
    prior = model.prior(0, [], context).log_prob(grid[:, None].expand(-1, 2, 2))[:, 0]
    mean = grid @ model.plain.weight.T
    seen = Normal(mean[:, None], model.plain.noise).log_prob(x.flatten(1)).sum(2)
    cell = 2 * math.log(float(line[1] - line[0]))
    truth = (prior[:, None] + seen).logsumexp(0) + cell
    context = make_context(model, (2, 3), x, 6, None)
    for start in ("posterior", "marginal"):
        with torch.no_grad():
            weights, _ = module._batch(model, x, context, Annealing(25, 50, 2, start))
        ratios = (weights - truth[:, None]).exp().flatten()
        error = float(ratios.std()) / math.sqrt(len(ratios))
        assert error < 0.15
        assert abs(float(ratios.mean()) - 1) < 4 * error


def test_the_schedule_runs_from_start_to_target() -> None:
    times = schedule(10)
    assert times[0] == 0
    assert times[-1] == 1
    assert times == sorted(times)
    assert times[1] - times[0] < times[5] - times[4]


def test_a_target_that_explodes_is_refused_and_not_followed(linear_gaussian: Model) -> None:
    """Slopes of 1e8 send moves to infinity; chains stay, and the bound is finite."""
    model = linear_gaussian()
    whole = model.prior

    class Cliff(Normal):
        def log_prob(self, value: Tensor) -> Tensor:
            return super().log_prob(value) - 1e8 * (value - 5).clamp_min(0).pow(4)

    def prior(level: int, above: Sequence[Tensor], context: Any) -> Normal:
        plain = whole(level, above, context)
        return Cliff(plain.loc, plain.scale)

    model.prior = prior
    x = model.draw(10)
    model.shift = 4.0
    assert math.isfinite(annealed(model, x, Annealing(20, 2, 5), MANY).bound.value)


def test_a_flow_that_overflows_is_refused(linear_gaussian: Model, flowed: Model) -> None:
    model = flowed(linear_gaussian(), True)
    x = model.plain.draw(4)
    context = make_context(model, (2, 3), x, 4, None)
    bridge = module._Bridge(model, x, context, "posterior")
    state = torch.zeros(4, 2).double()
    state[1, 0] = 1e5
    point = bridge.at(state)
    assert torch.isneginf(point.target).tolist() == [False, True, False, False]
    assert torch.isfinite(point.target_slope[[0, 2, 3]]).all()


def test_the_same_seed_gives_the_same_bound(linear_gaussian: Model) -> None:
    model = linear_gaussian(spread=0.5)
    x = model.draw(4)
    before = torch.random.get_rng_state()
    first, again, other = (
        annealed(model, x, Annealing(4, 2, 1), Sampling(seed=seed)) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_cannot_be_annealed_says_so(linear_gaussian: Model, choices: Model) -> None:
    model = linear_gaussian()
    model.levels = 2
    with pytest.raises(UnavailableMeasureError, match="2 levels"):
        annealed(model, model.draw(3))
    with pytest.raises(UnavailableMeasureError, match="only latents that are real numbers"):
        annealed(choices(), choices().all_images)


@pytest.mark.parametrize(
    "settings", [{"steps": 0}, {"chains": 0}, {"start": "middle"}, {"accept": 1.0}]
)
def test_impossible_annealing(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="AIS"):
        Annealing(**settings)
