"""Flows of shifts: exact inverses, kept volumes, and torch's checks left as they were."""

import copy

import pytest
import torch
from torch.distributions import Distribution, Independent, Normal, TransformedDistribution

from laconic.networks.flows import ShiftFlow, ShiftStep


def flow_with_shifts(features: int = 5, steps: int = 3, spread: float = 0.7) -> ShiftFlow:
    torch.manual_seed(1)
    flow = ShiftFlow(features, steps, (16, 16)).double()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=spread)
    return flow


@pytest.mark.parametrize("backwards", [False, True])
def test_a_shift_sees_features_of_a_lower_order_only(backwards: bool) -> None:
    torch.manual_seed(0)
    step = ShiftStep(4, (12, 12), backwards).double()
    for parameter in step.parameters():
        torch.nn.init.normal_(parameter)
    jacobian = torch.autograd.functional.jacobian(step.shift, torch.randn(4).double())
    earlier = step.order[:, None] > step.order
    assert (jacobian[~earlier] == 0).all()
    assert (jacobian[earlier].abs() > 0).float().mean() > 0.5


def test_a_new_flow_is_the_identity() -> None:
    z = torch.randn(3, 6)
    assert torch.equal(ShiftFlow(6, 4, (8, 8)).transform(z), z)


def test_backwards_undoes_forwards() -> None:
    flow = flow_with_shifts()
    z = torch.randn(7, 5).double()
    pushed = flow.transform(z).detach()
    assert not torch.allclose(pushed, z)
    torch.testing.assert_close(flow.transform.inv(pushed.clone()), z)


def test_volumes_are_kept() -> None:
    flow = flow_with_shifts()
    jacobian = torch.autograd.functional.jacobian(flow.transform, torch.randn(5).double())
    assert torch.linalg.det(jacobian) == pytest.approx(1, abs=1e-9)


def test_the_density_of_a_pushed_normal_sums_to_one() -> None:
    """On a grid over two dimensions."""
    flow = flow_with_shifts(features=2, spread=0.4)
    base = Independent(Normal(torch.zeros(2).double(), torch.ones(2).double()), 1)
    pushed = TransformedDistribution(base, [flow.transform], validate_args=False)
    axis = torch.linspace(-15, 15, 301).double()
    points = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        mass = pushed.log_prob(points).exp().sum() * (axis[1] - axis[0]) ** 2
    assert mass == pytest.approx(1, abs=1e-3)


def test_its_own_draw_needs_no_inverse(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = flow_with_shifts()
    base = Independent(Normal(torch.zeros(2, 5).double(), torch.ones(2, 5).double()), 1)
    pushed = TransformedDistribution(base, [flow.transform], validate_args=False)
    expected = pushed.log_prob(pushed.rsample().clone())
    assert (expected < 0).all()
    draw = pushed.rsample()
    monkeypatch.setattr(ShiftStep, "invert", lambda *_: pytest.fail("inverted"))
    started = flow.transform._cached_x_y[0]
    torch.testing.assert_close(pushed.log_prob(draw), base.log_prob(started))


def test_a_copy_has_its_own_steps_and_remembers_nothing() -> None:
    flow = flow_with_shifts()
    flow.transform(torch.randn(2, 5).double())
    other = copy.deepcopy(flow)
    assert other.transform.steps[0] is other.steps[0]
    assert other.transform.steps[0] is not flow.steps[0]
    assert other.transform._cached_x_y == (None, None)


def test_the_checks_of_distributions_stay_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are on at the start: torch's compiler, used by other tests, turns them off."""
    monkeypatch.setattr(Distribution, "_validate_args", True)
    ShiftFlow(3, 1, (4,))
    assert Distribution._validate_args
