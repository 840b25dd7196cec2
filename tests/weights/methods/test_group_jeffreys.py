"""BC-GNJ: dropout rates of groups, their penalty and their threshold."""

import pytest
import torch
from torch import nn

from laconic.weights import convert
from laconic.weights.methods.group_jeffreys import GroupJeffreysPosterior


@pytest.fixture
def linear(small_net: nn.Sequential) -> GroupJeffreysPosterior:
    posterior = convert(small_net, "bc-gnj").layers["4"].posterior
    assert isinstance(posterior, GroupJeffreysPosterior)
    return posterior


def _set_log_alpha(posterior: GroupJeffreysPosterior, values: torch.Tensor) -> None:
    with torch.no_grad():
        posterior.scale_log_variance.copy_(values + 2 * posterior.scale_mean.abs().log())


def test_the_scales_penalty_falls_to_zero_with_noise(linear: GroupJeffreysPosterior) -> None:
    """ERRATA 6: as printed it is negative and grows."""
    penalties = []
    for value in (-18.0, -9.0, -3.0, 0.0, 3.0, 12.0):
        _set_log_alpha(linear, torch.full((54,), value))
        penalties.append(float(linear.scale_penalty().detach()))
    assert penalties == sorted(penalties, reverse=True)
    assert 0 <= penalties[-1] < 1e-3
    assert penalties[0] / 54 == pytest.approx(9 + 0.63576, abs=0.05)


def test_the_penalty_depends_on_dropout_rates_alone(linear: GroupJeffreysPosterior) -> None:
    before = float(linear.penalty().detach())
    with torch.no_grad():
        linear.scale_mean.mul_(-3)
        linear.scale_log_variance.add_(2 * torch.tensor(3.0).log())
    assert float(linear.penalty().detach()) == pytest.approx(before, rel=1e-5)


def test_the_gradient_lives_where_scales_start(linear: GroupJeffreysPosterior) -> None:
    """A clamp of log alpha would cut it off: scales of the sources start at -18."""
    _set_log_alpha(linear, torch.full((54,), -18.4))
    linear.scale_penalty().backward()
    assert linear.scale_log_variance.grad is not None
    torch.testing.assert_close(
        linear.scale_log_variance.grad, torch.full((54,), -0.5), rtol=1e-4, atol=0
    )


def test_the_threshold_lies_between_the_clusters(linear: GroupJeffreysPosterior) -> None:
    torch.manual_seed(0)
    values = torch.randn(54) - 5
    values[:9] += 11
    _set_log_alpha(linear, values)
    assert int(linear.kept.sum()) == 45
    assert not bool(linear.kept[:9].any())


@pytest.mark.parametrize(("value", "kept"), [(-9.0, 54), (5.0, 0)])
def test_groups_that_are_all_alike_share_their_fate(
    linear: GroupJeffreysPosterior, value: float, kept: int
) -> None:
    """Dropout rates mean something by themselves: much noise is noise."""
    torch.manual_seed(0)
    _set_log_alpha(linear, value + 0.3 * torch.randn(54))
    assert -2 < linear.threshold < 0
    assert int(linear.kept.sum()) == kept


def test_a_given_threshold_is_obeyed(small_net: nn.Sequential) -> None:
    posterior = convert(small_net, "bc-gnj", threshold=-10.0).layers["4"].posterior
    assert int(posterior.kept.sum()) == 0
    assert float(posterior.point().weight.abs().max()) == 0
    assert posterior.point().weight_step is None
