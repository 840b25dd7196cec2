"""What both priors of Bayesian compression share; faults of published code are named."""

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from laconic.errors import ConfigError
from laconic.training.classification import error_percent
from laconic.weights import convert, make_method, plain
from laconic.weights.base import step_of
from laconic.weights.methods.group_scales import GroupPosterior

both = pytest.mark.parametrize("method", ["bc-gnj", "bc-ghs"])
WIDE = {"log_variance": -3.0, "scale_log_variance": -3.0}


def _posterior(net: nn.Module, method: str, name: str, **settings: float) -> GroupPosterior:
    posterior = convert(net, method, **settings).layers[name].posterior
    assert isinstance(posterior, GroupPosterior)
    return posterior


def _marginal_samples(posterior: GroupPosterior, count: int) -> Tensor:
    """Weights w = z w~ drawn one by one, shape `(count, *weight)`."""
    z = torch.stack([posterior.along(row) for row in posterior.draw((count,))])
    noise = torch.randn(count, *posterior.mean.shape)
    return z * (posterior.mean + torch.exp(0.5 * posterior.log_variance) * noise)


@both
@pytest.mark.parametrize("name", ["0", "4"])
def test_the_marginal_variance_is_that_of_draws(
    small_net: nn.Sequential, method: str, name: str
) -> None:
    """20,000 draws of filters, 5,000 of inputs: the ratio's mean over the layer within 3 %."""
    posterior = _posterior(small_net, method, name, **WIDE)
    torch.manual_seed(0)
    with torch.no_grad():
        draws = _marginal_samples(posterior, 20_000 if name == "0" else 5_000)
        mean = posterior.along(posterior.scale_moments()[0]) * posterior.mean
        variance = posterior.marginal_variance()
    errors = (draws.mean(0) - mean) / (variance / len(draws)).sqrt()
    assert float(errors.abs().max()) < 5
    assert float((draws.var(0) / variance).mean()) == pytest.approx(1, abs=0.03)


@both
def test_outputs_of_linear_layers_have_the_moments_of_drawn_weights(
    small_net: nn.Sequential, method: str
) -> None:
    """10,000 draws: mean within 5 standard errors, variance within 10 % (5 sigma, some kurtosis).

    The gates sit on inputs, so outputs share them: their covariance is checked as well.
    """
    penalty = convert(small_net, method, **WIDE)
    layer, x = penalty.layers["4"].train(), torch.randn(1, 54)
    posterior = layer.posterior
    torch.manual_seed(0)
    with torch.no_grad():
        draws = layer(x.expand(10_000, -1))
        scales = posterior.draw((10_000,))
        weights = scales.mul(x) @ posterior.mean.T
        expected = weights + posterior.bias
        variance = (scales.mul(x) ** 2) @ posterior.log_variance.exp().T
        covariance = torch.cov(expected.T) + torch.diag(variance.mean(0))
    error = (draws.mean(0) - expected.mean(0)) / (2 * covariance.diagonal() / len(draws)).sqrt()
    assert float(error.abs().max()) < 5
    unit = covariance.diagonal().sqrt()
    difference = (torch.cov(draws.T) - covariance) / torch.outer(unit, unit)
    assert float(difference.abs().max()) < 0.1


@both
@pytest.mark.parametrize("name", ["0", "4"])
def test_the_penalty_is_gaussian_kl_plus_that_of_the_scales(
    small_net: nn.Sequential, method: str, name: str
) -> None:
    """Published convolutions took log variances for log deviations and lost the half."""
    posterior = _posterior(small_net, method, name, **WIDE)
    weights = Normal(posterior.mean, torch.exp(posterior.log_variance).sqrt())
    expected = kl_divergence(weights, Normal(0.0, 1.0)).sum() + posterior.scale_penalty()
    torch.testing.assert_close(posterior.penalty(), expected)


@both
def test_groups_are_inputs_of_linear_layers_and_filters_of_convolutions(
    small_net: nn.Sequential, method: str
) -> None:
    layers = convert(small_net, method).layers
    assert [layer.posterior.groups for layer in layers.values()] == [6, 54, 16]


@both
def test_the_bound_on_deviations_holds_after_every_step(
    small_net: nn.Sequential, method: str
) -> None:
    penalty = convert(small_net, method, log_variance=-0.1, scales={"6": 0.3})
    first, free, named = (layer.posterior.log_variance for layer in penalty.layers.values())
    assert float(first.detach().exp().sqrt().max()) <= 0.2 + 1e-6
    with torch.no_grad():
        for one in (first, free, named):
            one.fill_(4.0)
    penalty.constrain()
    assert [float(one.detach().exp().sqrt().max()) for one in (first, free, named)] == (
        pytest.approx([0.2, math.exp(2), 0.3], rel=1e-5)
    )


@both
def test_a_pruned_filter_vanishes_with_its_bias(small_net: nn.Sequential, method: str) -> None:
    penalty = convert(small_net, method, threshold=0.5)
    conv = penalty.layers["0"].posterior
    _noisy(conv, [1, 4])
    point = conv.point()
    assert [int(row.abs().sum() == 0) for row in point.weight] == [0, 1, 0, 0, 1, 0]
    assert point.bias is not None
    assert [int(b == 0) for b in point.bias] == [0, 1, 0, 0, 1, 0]
    small_net.eval()
    x = torch.randn(3, 1, 8, 8)
    y = small_net[0](x)
    assert float(y[:, [1, 4]].detach().abs().max()) == 0
    assert float(y[:, [0, 2, 3, 5]].detach().abs().min()) > 0


@both
def test_pruned_inputs_are_columns_and_leave_the_bias(
    small_net: nn.Sequential, method: str
) -> None:
    linear = _posterior(small_net, method, "4", threshold=0.5)
    _noisy(linear, [0, 7])
    point = linear.point()
    assert (point.weight == 0).all(0).nonzero().flatten().tolist() == [0, 7]
    torch.testing.assert_close(point.bias, linear.bias)


@both
def test_the_step_is_of_the_kept_groups_variance(small_net: nn.Sequential, method: str) -> None:
    linear = _posterior(small_net, method, "4", threshold=0.5, step_scale=0.7)
    _noisy(linear, [0, 7])
    kept = [i for i in range(54) if i not in (0, 7)]
    expected = step_of(linear.marginal_variance()[:, kept], 0.7)
    assert linear.point().weight_step == pytest.approx(expected)
    assert expected != pytest.approx(step_of(linear.marginal_variance(), 0.7), rel=0.01)


@pytest.mark.slow
@both
def test_useless_inputs_are_pruned_and_useful_ones_are_not(
    small_data: tuple[Tensor, Tensor], method: str
) -> None:
    """The threshold is chosen automatically; 24 of 64 pixels say something."""
    x, y = small_data
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))
    penalty = convert(net, method, first_scale=1.0)
    optimizer = torch.optim.Adam(_rates(net, penalty.rate_factors, 0.02))
    for step in range(300):
        loss = functional.cross_entropy(net(x), y) + min(1, step / 150) * penalty() / len(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        penalty.constrain()
    useful = torch.zeros(8, 8, dtype=torch.bool)
    useful[:6, 2:6] = True
    kept = penalty.layers["1"].posterior.kept
    assert int((kept & ~useful.flatten()).sum()) <= 4
    assert int((kept & useful.flatten()).sum()) >= 8
    assert error_percent(plain(net), x, y) < 5


@both
def test_impossible_bounds_are_refused(method: str) -> None:
    with pytest.raises(ConfigError, match="positive"):
        make_method(method, first_scale=0.0)
    with pytest.raises(ConfigError, match="fc1"):
        make_method(method, scales={"fc1": -1.0})


def _rates(
    net: nn.Module, factors: Mapping[str, float], rate: float
) -> list[dict[str, float | list[nn.Parameter]]]:
    """Parameters with the rates that the method requires."""
    found = []
    for name, parameter in net.named_parameters():
        fitting = [factor for prefix, factor in factors.items() if name.startswith(prefix)]
        found.append({"params": [parameter], "lr": rate * (fitting[-1] if fitting else 1.0)})
    return found


def _noisy(posterior: GroupPosterior, groups: list[int]) -> None:
    """Drown some groups' scales in noise."""
    with torch.no_grad():
        if hasattr(posterior, "scale_log_variance"):
            posterior.scale_log_variance[groups] = 6.0
        else:
            posterior.local_mean[:, groups] = -5.0
            posterior.local_log_variance[:, groups] = 0.0
