"""The ladder's KL against torch's and against Monte Carlo."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from laconic.distributions.divergence import kl_normal


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
