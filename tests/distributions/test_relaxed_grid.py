"""The relaxed quantiser: probabilities against the logistic CDF, draws, gradients, rounding."""

import math

import pytest
import torch
from torch import Tensor

from laconic.distributions.relaxed_grid import (
    FUZZ,
    NOISE_RANGE,
    RelaxedGrid,
    point_logits,
    relaxed_choice,
)


def grid_on(
    x: Tensor, bits: int, signed: bool = True, straight_through: bool = False
) -> RelaxedGrid:
    grid = RelaxedGrid(bits, 1.0, straight_through)
    grid.fit(x, signed, 1.0)
    return grid


def probabilities(x: Tensor, noise: float, low: int, high: int) -> Tensor:
    points = torch.arange(float(low), high + 1)[:, None]
    log_noise = torch.tensor(math.log(noise))
    return torch.softmax(point_logits(x, points, log_noise, float(low), float(high)), 0)


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
    found = probabilities(torch.tensor([x]), 0.3, -2, 1)[:, 0]
    assert float(found[0 if x < 0 else -1]) > 0.95


def test_every_point_keeps_a_finite_logarithm() -> None:
    points = torch.arange(-8.0, 8)[:, None]
    logits = point_logits(torch.tensor([0.0]), points, torch.tensor(math.log(0.02)), -8.0, 7.0)
    assert bool(logits.isfinite().all())
    assert float(logits.min()) == pytest.approx(math.log(FUZZ), rel=1e-3)


def test_points_off_the_grid_are_never_drawn() -> None:
    torch.manual_seed(0)
    points = torch.arange(-3.0, 5)[:, None]
    logits = point_logits(torch.full((10_000,), 1.4), points, torch.zeros(()), -2.0, 1.0)
    drawn = relaxed_choice(logits, points, torch.ones(()), True)
    assert float(drawn.min()) >= -2
    assert float(drawn.max()) <= 1


def test_straight_through_draws_points_with_their_probabilities() -> None:
    """Chi-squared with 3 degrees of freedom beyond 21.1: a false-alarm rate of 1e-4."""
    torch.manual_seed(0)
    x = torch.full((40_000,), 0.3)
    grid = grid_on(torch.tensor([2.0]), 2, straight_through=True)  # A step of 1.
    drawn = grid(x)
    counts = torch.stack([(drawn == point).sum() for point in (-2, -1, 0, 1)]).double()
    assert int(counts.sum()) == len(x)
    wanted = probabilities(x[:1], 1 / 3, -2, 1)[:, 0].double() * len(x)
    assert float(((counts - wanted) ** 2 / wanted).sum()) < 21.1


def test_a_cold_relaxation_draws_like_the_categorical() -> None:
    """Means of 40,000 draws within 4.5 standard errors: a false-alarm rate of 7e-6."""
    torch.manual_seed(0)
    x = torch.full((40_000,), 0.3)
    points = torch.arange(-2.0, 2)[:, None]
    logits = point_logits(x, points, torch.tensor(math.log(0.5)), -2.0, 1.0)
    drawn = relaxed_choice(logits, points, torch.tensor(0.05), False)
    share = torch.softmax(logits[:, 0], 0)
    mean = float((share * points[:, 0]).sum())
    spread = float((share * points[:, 0] ** 2).sum()) - mean**2
    # 0.003: the temperature's own bias at most.
    assert abs(float(drawn.mean()) - mean) < 4.5 * math.sqrt(spread / len(x)) + 0.003


def test_the_local_grid_agrees_with_the_full_one() -> None:
    """Three points around a number that are inside the grid, two at its ends."""
    torch.manual_seed(0)
    x = torch.tensor([-200.0, -8.0, -0.4, 0.0, 3.3, 7.0, 90.0])
    grid = RelaxedGrid(4, 1.0, straight_through=True)
    grid.fit(torch.tensor([8.0]), True, 1.0)
    drawn = torch.stack([grid(x) for _ in range(500)])
    assert bool((drawn == drawn.round()).all())
    assert [sorted(set(column.tolist())) for column in drawn.T] == [
        [-8, -7], [-8, -7], [-1, 0, 1], [-1, 0, 1], [2, 3, 4], [6, 7], [6, 7],
    ]  # fmt: skip


@pytest.mark.parametrize("bits", [2, 3, 8])
@pytest.mark.parametrize("signed", [True, False])
def test_rounding_is_to_the_nearest_point_and_keeps_zero(bits: int, signed: bool) -> None:
    torch.manual_seed(0)
    x = torch.cat([torch.randn(500) if signed else torch.rand(500), torch.zeros(1)])
    grid = grid_on(x, bits, signed)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    points = torch.arange(low, high + 1) * grid.step.detach()
    best = (x[:, None] - points).abs().min(1).values
    torch.testing.assert_close((grid.round(x) - x).abs().detach(), best, atol=1e-6, rtol=0)
    assert float(grid.round(x)[-1].detach()) == 0
    assert torch.equal(grid.plain()(x), grid.round(x))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("bits", [2, 4])
def test_gradients_are_those_of_finite_differences(bits: int) -> None:
    grid = RelaxedGrid(bits, 1.5, False, learn_temperature=True)
    x = torch.tensor([-0.83, -0.31, 0.02, 0.44, 0.71], requires_grad=True)
    grid.fit(x, True, 1.0)

    def draw(*_: Tensor) -> Tensor:
        torch.manual_seed(3)
        drawn: Tensor = grid(x)
        return drawn

    learned = (x, grid.log_step, grid.log_noise, grid.log_temperature)
    assert all(isinstance(one, torch.nn.Parameter) for one in learned[1:])
    assert torch.autograd.gradcheck(draw, learned, eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("straight_through", [False, True])
@pytest.mark.parametrize("noise", NOISE_RANGE)
def test_gradients_stay_finite_anywhere(noise: float, straight_through: bool) -> None:
    torch.manual_seed(0)
    for bits in (2, 8):
        grid = RelaxedGrid(bits, 0.1, straight_through)
        grid.fit(torch.tensor([1.0]), True, 1.0)
        grid.log_noise.data.fill_(math.log(noise))
        x = (torch.randn(2000) * 10 ** torch.linspace(-6, 6, 2000)).requires_grad_()
        grid(x).square().sum().backward()
        for one in (x, grid.log_step, grid.log_noise):
            assert one.grad is not None
            assert bool(one.grad.isfinite().all())


def test_gradients_point_downhill_on_average() -> None:
    """Rounding has no gradient; the mean relaxed draw rises with the number, as it should."""
    torch.manual_seed(0)
    grid = grid_on(torch.tensor([8.0]), 4)
    x = torch.full((4000,), 0.5, requires_grad=True)
    grid(x).sum().backward()
    assert x.grad is not None
    assert float(x.grad.mean()) > 0.1


def test_the_step_is_the_one_that_the_source_starts_from() -> None:
    grid = RelaxedGrid(4, 2.0, False)
    grid.fit(torch.tensor([-0.5, 0.2]), True, 1 + 3 / 16)
    assert float(grid.step.detach()) == pytest.approx((1.0 / 16) * (1 + 3 / 16))
    assert float(grid.log_noise.detach().exp()) == pytest.approx(1 / 3)
    grid.fit(torch.tensor([0.0, 3.2]), False, 1.0)
    assert (float(grid.low), float(grid.high), float(grid.step.detach())) == pytest.approx(
        (0, 15, 0.2)
    )


def test_a_narrowed_grid_errs_less() -> None:
    torch.manual_seed(0)
    x = torch.cat([torch.randn(1000) * 0.05, torch.tensor([0.6, -0.6])])
    grid = grid_on(x, 2)

    def error() -> float:
        return float((grid.round(x).detach() - x).square().sum())

    before = error()
    assert int((grid.integers(x) != 0).sum()) < 20
    grid.narrow(x)
    assert error() < 0.5 * before
    assert int((grid.integers(x) != 0).sum()) > 300


def test_numbers_that_are_all_zero_have_a_grid() -> None:
    grid = grid_on(torch.zeros(5), 4)
    assert float(grid.step.detach()) == 1
    assert bool((grid(torch.zeros(5)).isfinite()).all())


def test_bounds_hold_after_a_wild_step() -> None:
    grid = grid_on(torch.tensor([1.0]), 2)
    start = float(grid.step.detach())
    grid.log_step.data.fill_(50.0)
    grid.log_noise.data.fill_(-50.0)
    grid.constrain()
    assert float(grid.step.detach()) == pytest.approx(64 * start, rel=1e-4)
    assert float(grid.log_noise.detach().exp()) == pytest.approx(NOISE_RANGE[0])
