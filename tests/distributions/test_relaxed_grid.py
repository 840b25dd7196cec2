"""The relaxed quantiser: ranges, local grids, gradients, rounding; draws have their own test."""

import math

import pytest
import torch
from torch import Tensor

from laconic.distributions.relaxed_grid import NOISE_RANGE, RelaxedGrid


def grid_on(
    x: Tensor, bits: int, signed: bool = True, straight_through: bool = False
) -> RelaxedGrid:
    grid = RelaxedGrid(bits, 1.0, straight_through)
    grid.fit(x, signed, 1.0)
    return grid


@pytest.mark.slow
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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_draws_have_the_type_of_what_is_drawn(dtype: torch.dtype) -> None:
    """Grids keep float32 parameters, whatever the type of the network that runs through them."""
    grid = grid_on(torch.tensor([100.0]), 8)
    x = torch.tensor([99.6, -3.1], dtype=dtype, requires_grad=True)
    drawn = grid(x)
    assert drawn.dtype == dtype
    drawn.sum().backward()
    for one in (x, grid.log_step, grid.log_noise):
        assert one.grad is not None
        assert one.grad.dtype == one.dtype
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
