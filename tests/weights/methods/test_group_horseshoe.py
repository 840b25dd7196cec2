"""BC-GHS: log-normal factors of half-Cauchy scales, their KL and their threshold."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Gamma, InverseGamma, LogNormal

from laconic.errors import ConfigError
from laconic.weights import convert, make_method
from laconic.weights.methods.group_horseshoe import GroupHorseshoePosterior


@pytest.fixture
def linear(small_net: nn.Sequential) -> GroupHorseshoePosterior:
    posterior = convert(small_net, "bc-ghs").layers["4"].posterior
    assert isinstance(posterior, GroupHorseshoePosterior)
    return posterior


def _factor(mean: Tensor, log_variance: Tensor) -> LogNormal:
    return LogNormal(mean.detach(), torch.exp(0.5 * log_variance.detach()))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("tau", [1e-5, 1.0])
def test_the_scales_penalty_equals_monte_carlo(tau: float) -> None:
    """Within five standard errors: a false-alarm rate of 6e-7 each.

    A public port divides by the Gamma's rate instead of its scale.
    """
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 2))
    posterior = convert(net, "bc-ghs", global_scale=tau).layers["0"].posterior
    with torch.no_grad():
        posterior.local_mean.copy_(torch.randn(2, 5))
        posterior.local_log_variance.copy_(torch.randn(2, 5) - 1)
        posterior.global_log_variance.fill_(-1.0)
    count, total = 100_000, torch.zeros(100_000)
    pairs = (
        (posterior.global_mean[:, None], posterior.global_log_variance[:, None], tau),
        (posterior.local_mean, posterior.local_log_variance, 1.0),
    )
    for means, log_variances, scale in pairs:
        priors = (Gamma(0.5, 1 / torch.tensor(scale) ** 2), InverseGamma(0.5, torch.tensor(1.0)))
        for mean, log_variance, prior in zip(means, log_variances, priors, strict=True):
            q = _factor(mean, log_variance)
            z = q.sample((count,))
            total += (q.log_prob(z) - prior.log_prob(z)).sum(1)
    error = float(total.std()) / count**0.5
    assert abs(float(total.mean() - posterior.scale_penalty().detach())) < 5 * error


def test_the_products_are_half_cauchy() -> None:
    """sqrt(Gamma(½, k²) x InverseGamma(½, 1)): quartiles of 100,000 draws within 5 sigma."""
    torch.manual_seed(0)
    k, count = 0.3, 100_000
    draws = Gamma(0.5, 1 / k**2).sample((count,)) * InverseGamma(0.5, 1.0).sample((count,))
    for probability in (0.25, 0.5, 0.75):
        inside = float((draws.sqrt() < k * math.tan(math.pi * probability / 2)).float().mean())
        sigma = math.sqrt(probability * (1 - probability) / count)
        assert abs(inside - probability) < 5 * sigma


def test_moments_of_the_log_scale_are_those_of_draws(linear: GroupHorseshoePosterior) -> None:
    """20,000 draws: mean within 5 standard errors, variance within 6 % (6 sigma)."""
    torch.manual_seed(0)
    with torch.no_grad():
        linear.local_log_variance.copy_(torch.randn(2, 54))
        linear.global_log_variance.fill_(-1.0)
        mean, variance = linear.log_moments()
        draws = linear.draw((20_000,)).log()
    errors = (draws.mean(0) - mean) / (variance / len(draws)).sqrt()
    assert float(errors.abs().max()) < 5
    assert float((draws.var(0) / variance - 1).abs().max()) < 0.06


def test_one_global_scale_moves_all_groups(linear: GroupHorseshoePosterior) -> None:
    with torch.no_grad():
        linear.global_log_variance.fill_(2.0)
        linear.local_log_variance.fill_(-20.0)
        draws = linear.draw((100,)).log() - linear.log_moments()[0]
    assert float(draws.std(0).min()) > 1
    assert float(draws.std(1).max()) < 1e-3


def test_the_noise_is_the_negative_log_mode(linear: GroupHorseshoePosterior) -> None:
    """The mode is where the density's derivative vanishes."""
    with torch.no_grad():
        linear.local_log_variance.copy_(torch.randn(2, 54))
    mean, variance = (one.detach().double() for one in linear.log_moments())
    mode = torch.exp(-linear.log_noise.detach().double()).requires_grad_()
    LogNormal(mean, variance.sqrt()).log_prob(mode).sum().backward()
    assert mode.grad is not None
    assert float((mode.grad * mode.detach()).abs().max()) < 1e-3


@pytest.mark.slow
def test_a_group_without_data_goes_back_to_where_it_counts_as_noise(
    linear: GroupHorseshoePosterior,
) -> None:
    """Gradient descent on the penalty alone finds the minimum that the window stands on."""
    optimizer = torch.optim.Adam([linear.local_mean, linear.local_log_variance], 0.05)
    for _ in range(600):
        optimizer.zero_grad()
        linear.scale_penalty().backward()
        optimizer.step()
    wanted = torch.tensor([[-1 - math.log(2)], [1 + math.log(2)]]).expand(2, 54)
    torch.testing.assert_close(linear.local_mean.detach(), wanted, rtol=0, atol=0.01)
    assert float((linear.local_log_variance.detach().exp() - 2).abs().max()) < 0.02
    assert int(linear.kept.sum()) == 0


def test_the_threshold_lies_between_the_clusters(linear: GroupHorseshoePosterior) -> None:
    with torch.no_grad():
        linear.local_mean.copy_(torch.randn(2, 54).abs())
        linear.local_mean[:, :9] = 0.0
        linear.local_log_variance[:, :9] = math.log(2)
    assert int(linear.kept.sum()) == 45
    assert not bool(linear.kept[:9].any())


@pytest.mark.parametrize("shift", [-8.0, 0.0, 8.0])
def test_the_threshold_follows_the_global_scale(
    linear: GroupHorseshoePosterior, shift: float
) -> None:
    """Sizes of scales mean nothing by themselves: groups that are alike and certain are kept."""
    with torch.no_grad():
        linear.global_mean.add_(shift)
        linear.local_mean.copy_(torch.randn(2, 54) / 10)
    assert int(linear.kept.sum()) == 54


def test_a_given_threshold_is_obeyed(small_net: nn.Sequential) -> None:
    posterior = convert(small_net, "bc-ghs", threshold=-1.0).layers["4"].posterior
    assert int(posterior.kept.sum()) == 0


def test_an_impossible_global_scale_is_refused() -> None:
    with pytest.raises(ConfigError, match="global_scale"):
        make_method("bc-ghs", global_scale=0.0)
