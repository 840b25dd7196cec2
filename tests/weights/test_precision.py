"""Gamma precisions: closed forms against Monte Carlo."""

import pytest
import torch
from torch.distributions import Gamma, Normal

from laconic.weights.precision import GammaNoise

pytestmark = pytest.mark.usefixtures("float64")


def moved() -> GammaNoise:
    torch.manual_seed(0)
    noise = GammaNoise()
    with torch.no_grad():
        noise.log_shape.fill_(3.0)
        noise.log_rate.fill_(1.0)
    return noise


def test_the_expected_log_likelihood_equals_monte_carlo() -> None:
    """Within five standard errors."""
    noise, outputs, values = moved(), torch.tensor([0.3]), torch.tensor([0.9])
    variances = noise.draw_variances(100_000)
    each = Normal(outputs, variances.sqrt()).log_prob(values)
    error = float(each.std()) / len(each) ** 0.5
    found = noise.log_likelihood(outputs, values).detach()
    assert abs(float(each.mean() - found)) < 5 * error


def test_the_kl_equals_monte_carlo() -> None:
    """Within five standard errors; it is 0 where posterior and prior agree."""
    assert float(GammaNoise().penalty().detach()) == pytest.approx(0, abs=1e-12)
    noise = moved()
    tau = noise.posterior.sample((100_000,)).detach()
    ratio = noise.posterior.log_prob(tau) - Gamma(6.0, 6.0).log_prob(tau)
    error = float(ratio.detach().std()) / len(tau) ** 0.5
    assert abs(float((ratio.mean() - noise.penalty()).detach())) < 5 * error
