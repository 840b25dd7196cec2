"""Independent Gaussians and dropout: penalties, bounds, settings, inputs of grouped layers."""

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from laconic.errors import ConfigError
from laconic.weights import convert, make_method
from laconic.weights.methods.dropout import DropoutPosterior
from laconic.weights.methods.gaussians import MeanFieldPosterior
from laconic.weights.methods.inputs import InputAxis


@pytest.mark.usefixtures("float64")
def test_the_penalty_of_mean_field_is_torchs_kl() -> None:
    net = nn.Sequential(nn.Linear(3, 2))
    penalty = convert(net, "mean-field", prior_scale=0.7)
    posterior = penalty.layers["0"].posterior
    assert isinstance(posterior, MeanFieldPosterior)
    with torch.no_grad():
        posterior.log_variance.normal_()
    wanted = sum(
        kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 0.7)).sum()
        for mean, log_variance in (
            (posterior.mean, posterior.log_variance),
            (posterior.bias, posterior.bias_log_variance),
        )
    )
    torch.testing.assert_close(penalty(), wanted)


def test_deviations_stay_below_their_bound() -> None:
    net = nn.Sequential(nn.Linear(3, 2))
    penalty = convert(net, "mean-field", largest_scale=0.4)
    posterior = penalty.layers["0"].posterior
    with torch.no_grad():
        posterior.log_variance.fill_(3.0)
    penalty.constrain()
    scale = torch.exp(0.5 * posterior.log_variance.detach())
    assert float(scale.max()) == pytest.approx(0.4)


def test_dropout_drops_whole_inputs() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    posterior = convert(net, "dropout", rate=0.5).layers["1"].posterior
    assert isinstance(posterior, DropoutPosterior)
    weights, _ = posterior.draw_weights(400)
    dropped = (weights == 0).all(1)
    assert torch.equal((weights == 0).any(1), dropped)
    assert float(dropped.float().mean()) == pytest.approx(0.5, abs=0.07)
    torch.testing.assert_close(weights[0][:, ~dropped[0]], 2 * posterior.mean[:, ~dropped[0]])
    wanted = 0.5 * posterior.mean.square().sum() / 0.5
    torch.testing.assert_close(posterior.penalty(), wanted)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(4, 6, 3, groups=2, bias=False), (2, 4, 5, 5)),
        (nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False), (2, 4, 5, 5)),
        (nn.Linear(4, 3, bias=False), (2, 4)),
    ],
)
def test_scaling_inputs_is_scaling_weights(layer: nn.Module, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x, factors = torch.randn(shape), torch.randn(4)
    axis = InputAxis.of(layer)
    assert axis.size(layer.weight) == 4
    wanted = layer(x * factors.view(-1, *[1] * (x.dim() - 2)))
    with torch.no_grad():
        layer.weight.copy_(axis.scale(layer.weight, factors))
    torch.testing.assert_close(layer(x), wanted)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("dropout", {"rate": 1.0}),
        ("dropout", {"layer_rates": {"0": -0.1}}),
        ("dropout", {"prior_scale": 0.0}),
        ("mean-field", {"prior_scale": -1.0}),
        ("log-uniform", {"largest_scale": 0.0}),
    ],
)
def test_settings_that_cannot_be_are_refused(name: str, settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        make_method(name, **settings)
