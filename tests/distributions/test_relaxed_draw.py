"""The relaxed draw against the literal formulas under autograd, which are its slow reference."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from laconic.distributions import relaxed_draw as module
from laconic.distributions.relaxed_draw import FUZZ, Points, relaxed_draw, round_half_up

BARRIER = -1e9


def point_logits(x: Tensor, points: Tensor, log_noise: Tensor, low: float, high: float) -> Tensor:
    """Log probabilities of consecutive points, shape `(count, s)` or ones for `s`."""
    edges = (torch.cat([points - 0.5, points[-1:] + 0.5]) - x) * torch.exp(-log_noise)
    below = functional.logsigmoid(edges)
    masses = below[1:] + below[:-1] - edges[:-1]
    outside = (points < low) | (points > high)
    barrier = torch.zeros_like(points).masked_fill_(outside, BARRIER)
    return torch.log(torch.softmax(masses + barrier, 0) + FUZZ) + barrier


def reference(
    x: Tensor, log_noise: Tensor, temperature: Tensor, points: Points, hard: bool
) -> Tensor:
    """Eq. 114 to 118, and what autograd makes of them."""
    if points.reach is None:
        grid = torch.arange(points.low, points.high + 1)[:, None]
    else:
        offsets = torch.arange(-points.reach, points.reach + 1)[:, None]
        grid = round_half_up(x.detach()).clamp(points.low, points.high) + offsets
    logits = point_logits(x, grid, log_noise, points.low, points.high)
    exponential = torch.rand_like(logits).clamp_min(1e-30).log().neg().clamp_min(1e-30)
    scores = logits - exponential.log()
    soft = (torch.softmax(scores / temperature, 0) * grid).sum(0)
    best = grid.expand_as(scores).gather(0, scores.argmax(0)[None])[0]
    return best + (soft - soft.detach()) if hard else soft


def probabilities(x: Tensor, noise: float, low: int, high: int) -> Tensor:
    """What straight-through draws are drawn with."""
    points = torch.arange(float(low), high + 1)[:, None]
    log_noise = torch.tensor(math.log(noise))
    return torch.softmax(point_logits(x, points, log_noise, float(low), float(high)), 0)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
@pytest.mark.parametrize(
    "points", [Points(-2, 1), Points(0, 3), Points(-8, 7, 1), Points(0, 255, 3)]
)
def test_draws_and_gradients_are_the_references(
    points: Points, temperature: float, hard: bool
) -> None:
    """The same random numbers; the reference multiplies densities where we use shares."""
    torch.manual_seed(0)
    values = torch.cat([torch.rand(60) * (points.high - points.low) + points.low,
                        torch.tensor([points.low - 0.7, points.high + 1.3])])  # fmt: skip
    weights = torch.randn(len(values))
    results = []
    for draw in (reference, relaxed_draw):
        torch.manual_seed(1)
        inputs = [one.clone().requires_grad_() for one in
                  (values, torch.tensor(math.log(0.6)), torch.tensor(temperature))]  # fmt: skip
        drawn = draw(inputs[0], inputs[1], inputs[2], points, hard)
        (drawn * weights).sum().backward()
        results.append([drawn.detach(), *(one.grad for one in inputs)])
    for wanted, found in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-8, rtol=1e-8)


@pytest.mark.usefixtures("float64")
def test_probabilities_are_the_truncated_logistic() -> None:
    """Eq. 114 and 115, literally; the fuzz moves each of four by less than four of it."""
    x, noise, low, high = torch.linspace(-3, 2.5, 50), 0.4, -2, 1
    found = probabilities(x, noise, low, high)
    edges = torch.arange(low, high + 2)[:, None] - 0.5
    cdf = torch.sigmoid((edges - x) / noise)
    wanted = (cdf[1:] - cdf[:-1]) / (cdf[-1] - cdf[0])
    torch.testing.assert_close(found, wanted, atol=4 * FUZZ, rtol=0)


@pytest.mark.parametrize("x", [-1e4, -300.0, 300.0, 1e4])
def test_numbers_far_off_the_grid_go_to_its_end(x: float) -> None:
    """Differences of a CDF are 0 there in float32, and the fuzz alone would make all equal."""
    torch.manual_seed(0)
    inputs = torch.full((1000,), x, requires_grad=True)
    drawn = relaxed_draw(inputs, torch.tensor(math.log(0.3)), torch.ones(()), Points(-2, 1), True)
    assert float((drawn == (-2 if x < 0 else 1)).float().mean()) > 0.95
    drawn.sum().backward()
    assert inputs.grad is not None
    assert float(inputs.grad.abs().max()) < 1e-5


@pytest.mark.parametrize("reach", [None, 3])
def test_points_off_the_grid_are_never_drawn(reach: int | None) -> None:
    torch.manual_seed(0)
    x = torch.full((10_000,), 1.4)
    drawn = relaxed_draw(x, torch.zeros(()), torch.ones(()), Points(-2, 1, reach), True)
    assert sorted(set(drawn.tolist())) == [-2, -1, 0, 1]


def test_straight_through_draws_points_with_their_probabilities() -> None:
    """Chi-squared with 3 degrees of freedom beyond 21.1: a false-alarm rate of 1e-4."""
    torch.manual_seed(0)
    x = torch.full((40_000,), 0.3)
    log_noise = torch.tensor(math.log(1 / 3))
    drawn = relaxed_draw(x, log_noise, torch.ones(()), Points(-2, 1), True)
    counts = torch.stack([(drawn == point).sum() for point in (-2, -1, 0, 1)]).double()
    assert int(counts.sum()) == len(x)
    wanted = probabilities(x[:1], 1 / 3, -2, 1)[:, 0].double() * len(x)
    assert float(((counts - wanted) ** 2 / wanted).sum()) < 21.1


def test_a_cold_relaxation_draws_like_the_categorical() -> None:
    """Means of 40,000 draws within 4.5 standard errors: a false-alarm rate of 7e-6."""
    torch.manual_seed(0)
    x, log_noise = torch.full((40_000,), 0.3), torch.tensor(math.log(0.5))
    drawn = relaxed_draw(x, log_noise, torch.tensor(0.05), Points(-2, 1), False)
    share, points = probabilities(x[:1], 0.5, -2, 1)[:, 0], torch.arange(-2.0, 2)
    mean = float((share * points).sum())
    spread = float((share * points**2).sum()) - mean**2
    # 0.003: the temperature's own bias at most.
    assert abs(float(drawn.mean()) - mean) < 4.5 * math.sqrt(spread / len(x)) + 0.003


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers are drawn as what they are in whatever block; also none at all."""
    monkeypatch.setattr(module, "BLOCK", 7)
    x = torch.linspace(-3, 2, 3 * 5 * 11).view(3, 5, 11).requires_grad_()
    cold, log_noise = torch.tensor(0.1), torch.tensor(math.log(0.02))
    drawn = relaxed_draw(x, log_noise, cold, Points(-2, 1), True)
    assert drawn.shape == x.shape
    clear = (x - x.round()).abs() < 0.3  # Noise of 0.02 does not reach another point.
    rounded = x.round().clamp(-2, 1)
    assert float((drawn == rounded)[clear].float().mean()) > 0.99
    assert relaxed_draw(x[:0], log_noise, cold, Points(-2, 1), True).shape == (0, 5, 11)
