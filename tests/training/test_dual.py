"""Multipliers of constraints."""

import torch

from laconic.training.dual import price, update_multiplier


def test_it_rises_with_the_excess_and_falls_without() -> None:
    multiplier = torch.tensor([1.0, 1.0, 0.0])
    update_multiplier(multiplier, torch.tensor([0.5, -0.5, -0.5]), 0.1)
    torch.testing.assert_close(multiplier, torch.tensor([1.05, 0.95, -0.05]))


def test_inequalities_never_pay() -> None:
    multiplier = torch.tensor([0.02, 3.0])
    update_multiplier(multiplier, torch.tensor([-0.5, -0.5]), 0.1, inequality=True)
    torch.testing.assert_close(multiplier, torch.tensor([0.0, 2.95]))


def test_restarts_forget_at_once() -> None:
    multiplier = torch.tensor([3.0, 3.0, 3.0])
    update_multiplier(multiplier, torch.tensor([-0.1, 0.0, 0.1]), 0.1, restarts=True)
    torch.testing.assert_close(multiplier, torch.tensor([0.0, 0.0, 3.01]))


def test_what_is_not_finite_changes_nothing() -> None:
    multiplier = torch.tensor([3.0, 3.0])
    update_multiplier(multiplier, torch.tensor([torch.nan, torch.inf]), 0.1)
    torch.testing.assert_close(multiplier, torch.tensor([3.0, 3.0]))


def test_a_straight_frontier_is_held_at_its_target() -> None:
    """D = -R for R in [0, 2] has one slope; with the multiplier alone R would swing for ever."""
    rate, multiplier = torch.tensor(1.9), torch.tensor(1.0)
    for _ in range(2000):
        excess = rate / 0.5 - 1
        rate = (rate - 0.01 * (price(multiplier, excess, 1.0) - 1)).clamp(0, 2)
        update_multiplier(multiplier, excess, 0.01)
    torch.testing.assert_close(rate, torch.tensor(0.5), atol=1e-3, rtol=0)
    torch.testing.assert_close(multiplier, torch.tensor(1.0), atol=1e-3, rtol=0)
