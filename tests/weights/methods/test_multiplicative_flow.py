"""MNF: its bound against Monte Carlo, its flow against autograd, one bound on the deviations."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from laconic.errors import ConfigError
from laconic.weights import convert, make_method
from laconic.weights.methods.multiplicative_flow import MultiplicativeFlowPosterior

pytestmark = pytest.mark.usefixtures("float64")


def posterior_of(layer: nn.Module, **settings: object) -> MultiplicativeFlowPosterior:
    torch.manual_seed(0)
    found = convert(nn.Sequential(layer), "mnf", **settings).layers["0"].posterior
    assert isinstance(found, MultiplicativeFlowPosterior)
    with torch.no_grad():
        for parameter in found.flow.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return found


@pytest.mark.parametrize("layer", [nn.Linear(3, 2), nn.Conv2d(2, 3, 2)])
def test_the_bound_equals_monte_carlo(layer: nn.Module) -> None:
    """Against drawn weights, which the penalty integrates or draws by cᵀ W alone.

    Within five standard errors of 600 draws each.
    """
    posterior = posterior_of(layer, log_variance=-2.0, largest_scale=1.0)
    found, wanted = [], []
    scale = (0.5 * posterior.log_variance).exp()
    with torch.no_grad():
        bias = sum(
            torch.distributions.kl_divergence(
                Normal(posterior.bias, (0.5 * posterior.bias_log_variance).exp()), Normal(0.0, 1.0)
            )
        )
        for _ in range(600):
            found.append(posterior.penalty())
            z, log_q = posterior._draw_scales(())
            q = Normal(posterior.scaled(z), scale)
            w = q.sample()
            summary = torch.tanh(
                posterior.auxiliary.contraction @ w.movedim(posterior.axis, 0).flatten(1)
            ).mean()
            ratio = (q.log_prob(w) - Normal(0.0, 1.0).log_prob(w)).sum()
            wanted.append(ratio + log_q - posterior.auxiliary.log_prob(z, summary) + bias)
    one, other = torch.stack(found), torch.stack(wanted)
    error = math.sqrt(float(one.var() + other.var()) / 600)
    assert abs(float(one.mean() - other.mean())) < 5 * error


def test_the_flows_determinant_is_autograds() -> None:
    posterior = posterior_of(nn.Linear(4, 2))
    z = torch.rand(4)

    def run(z: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)  # the same masks
        image: torch.Tensor = posterior.flow(z)[0]
        return image

    jacobian = torch.autograd.functional.jacobian(run, z)
    torch.manual_seed(3)
    log_det = posterior.flow(z)[1]
    torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], log_det)


def test_masks_are_drawn_anew() -> None:
    posterior = posterior_of(nn.Linear(4, 2))
    with torch.no_grad():
        posterior.scale_log_variance.fill_(-60)
        assert float(posterior.draw((50,)).std(0).min()) > 1e-3


def test_likelihood_and_penalty_share_the_bound_on_deviations() -> None:
    """The published code clips the deviations in the likelihood alone, and mixes up variances."""
    posterior = posterior_of(nn.Linear(3, 2), largest_scale=0.4)
    with torch.no_grad():
        posterior.log_variance.fill_(5.0)
        posterior.flow.steps = nn.ModuleList()
        posterior.mean.zero_()
    posterior.constrain()
    with torch.no_grad():
        weights, _ = posterior.draw_weights(20_000)
        assert float(weights.std()) == pytest.approx(0.4, rel=0.02)
        nats = 6 * (0.5 * (0.16 - 1) - math.log(0.4))
        posterior.bias.zero_()
        posterior.bias_log_variance.zero_()
        z, log_q = posterior._draw_scales(())
        torch.manual_seed(1)
        whole = posterior.penalty()
        torch.manual_seed(1)
        z, log_q = posterior._draw_scales(())
        rest = log_q - posterior.auxiliary.log_prob(z, posterior._summary(z))
    assert float(whole - rest) == pytest.approx(nats)


@pytest.mark.parametrize("settings", [{"steps": -1}, {"hidden": 0}, {"largest_scale": 0.0}])
def test_settings_that_cannot_be_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        make_method("mnf", **settings)
