"""Closed KLs against torch's and against Monte Carlo."""

import math

import pytest
import torch
from torch.distributions import (
    Distribution,
    Gamma,
    InverseGamma,
    LogNormal,
    Normal,
    kl_divergence,
)

from laconic.distributions.divergence import (
    kl_log_normal_gamma,
    kl_log_normal_inverse_gamma,
    kl_normal,
)


@pytest.mark.usefixtures("float64")
def test_kl_equals_torchs() -> None:
    torch.manual_seed(0)
    posterior = Normal(torch.randn(500), torch.rand(500) * 3 + 0.01)
    prior = Normal(torch.randn(500), torch.rand(500) * 3 + 0.01)
    torch.testing.assert_close(kl_normal(posterior, prior), kl_divergence(posterior, prior))


@pytest.mark.usefixtures("float64")
def test_kl_equals_monte_carlo() -> None:
    """Two-sided at five standard errors: a false-alarm rate of 6e-7."""
    torch.manual_seed(1)
    posterior, prior = (
        Normal(torch.tensor(0.7), torch.tensor(0.3)),
        Normal(torch.zeros(()), torch.ones(())),
    )
    z = posterior.sample((200_000,))
    ratio = posterior.log_prob(z) - prior.log_prob(z)
    error = float(ratio.std() / len(z) ** 0.5)
    assert abs(float(ratio.mean() - kl_normal(posterior, prior))) < 5 * error


def test_kl_of_equals_is_zero() -> None:
    same = Normal(torch.tensor(2.0), torch.tensor(0.5))
    assert float(kl_normal(same, same)) == 0.0


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("mean", "deviation"), [(0.3, 0.5), (-1.5, 0.2), (0.8, 0.9)])
@pytest.mark.parametrize(("shape", "scale"), [(0.5, 1.0), (2.0, 0.3), (0.5, 4.0)])
@pytest.mark.parametrize("inverse", [False, True])
def test_kl_of_log_normals_equals_monte_carlo(
    mean: float, deviation: float, shape: float, scale: float, inverse: bool
) -> None:
    """ERRATA 7. 18 cases at five standard errors: a false-alarm rate of 1e-5.

    torch's Gamma has a rate, 1 / scale; its inverse Gamma's rate is the scale.
    """
    torch.manual_seed(2)
    posterior = LogNormal(torch.tensor(mean), torch.tensor(deviation))
    z = posterior.sample((200_000,))
    if inverse:
        prior: Distribution = InverseGamma(torch.tensor(shape), torch.tensor(scale))
        kl = kl_log_normal_inverse_gamma(posterior, shape, scale)
    else:
        prior = Gamma(torch.tensor(shape), torch.tensor(1 / scale))
        kl = kl_log_normal_gamma(posterior, shape, scale)
    ratio = posterior.log_prob(z) - prior.log_prob(z)
    error = float(ratio.std() / len(z) ** 0.5)
    assert abs(float(ratio.mean() - kl)) < 5 * error


@pytest.mark.usefixtures("float64")
def test_kl_of_log_normals_to_half_cauchys_factors() -> None:
    """ERRATA 7 writes the two cases of the horseshoe out."""
    tau = 1e-5
    mean, variance = torch.tensor(-22.0), torch.tensor(0.3)
    posterior = LogNormal(mean, variance.sqrt())
    top = -math.log(tau) - torch.exp(mean + variance / 2) / tau**2
    top += 0.5 * (mean + variance.log() + 1 + math.log(2))
    torch.testing.assert_close(kl_log_normal_gamma(posterior, 0.5, tau**2), -top)
    low = -torch.exp(variance / 2 - mean) + 0.5 * (-mean + variance.log() + 1 + math.log(2))
    torch.testing.assert_close(kl_log_normal_inverse_gamma(posterior, 0.5, 1.0), -low)
