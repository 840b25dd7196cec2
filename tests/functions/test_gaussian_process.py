"""The exact Gaussian process against densities, joint Gaussians and draws."""

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

import laconic
from laconic.distributions.prediction import RegressionPrediction
from laconic.errors import InputError
from laconic.functions import GaussianProcess


def points(count: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 2, generator=generator)
    return x, torch.randn(count, 1, generator=generator)


def joint(process: GaussianProcess, x: Tensor) -> Tensor:
    """Covariance of values at x, entry by entry."""
    length, signal, noise = (
        float(one.detach().exp())
        for one in (process.log_length, process.log_signal, process.log_noise)
    )
    found = torch.zeros(len(x), len(x), dtype=torch.float64)
    for i in range(len(x)):
        for j in range(len(x)):
            distance = float((x[i].double() - x[j].double()).square().sum())
            entry = signal**2 * torch.exp(torch.tensor(-distance / (2 * length**2)).double())
            found[i, j] = entry + noise**2 * (i == j)
    return found


def test_the_evidence_is_a_gaussian_density() -> None:
    x, y = points()
    process = GaussianProcess(x, y)
    density = MultivariateNormal(torch.zeros(7).double(), joint(process, x))
    torch.testing.assert_close(
        process.negative_log_evidence(), -density.log_prob(y[:, 0].double()), rtol=1e-5, atol=1e-5
    )


def test_predictions_are_the_conditional_of_the_joint() -> None:
    x, y = points()
    process = GaussianProcess(x[:5], y[:5])
    mean, variance = process.moments(x[5:])
    covariance = joint(process, x)
    gain = covariance[5:, :5] @ torch.linalg.inv(covariance[:5, :5])
    torch.testing.assert_close(mean, gain @ y[:5].double(), rtol=1e-5, atol=1e-6)
    expected = covariance[5:, 5:] - gain @ covariance[:5, 5:]
    torch.testing.assert_close(variance[:, 0], expected.diagonal(), rtol=1e-5, atol=1e-6)


def test_draws_have_the_moments() -> None:
    """4.5 standard errors, false alarm 3e-5 for four figures."""
    x, y = points()
    process = GaussianProcess(x[:5], y[:5])
    prediction = laconic.predict(process, x[5:], samples=20_000, seed=0)
    assert isinstance(prediction, RegressionPrediction)
    mean, variance = process.moments(x[5:])
    error = (variance / 20_000).sqrt()
    assert ((prediction.mean - mean).abs() < 4.5 * error).all()
    spread = variance * (2 / 20_000) ** 0.5
    assert ((prediction.variance - variance).abs() < 4.5 * spread).all()


def test_fitting_raises_the_evidence_and_finds_the_noise() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.linspace(0, 6, 60)[:, None]
    y = torch.sin(x) + 0.1 * torch.randn(60, 1, generator=generator)
    process = GaussianProcess(x, y)
    before = float(process.negative_log_evidence().detach())
    process.fit()
    assert float(process.negative_log_evidence().detach()) < before - 5
    assert float(process.log_noise.detach().exp()) == pytest.approx(0.1, rel=0.35)


def test_what_cannot_be_used_is_refused() -> None:
    x, y = points()
    for call, message in (
        (lambda: GaussianProcess(x, y[:, 0]), r"values of shape \(count, 1\)"),
        (lambda: GaussianProcess(x, y * torch.nan), "give finite values"),
        (lambda: GaussianProcess(x.repeat(400, 1), y.repeat(400, 1)), "2800 points: an exact"),
    ):
        with pytest.raises(InputError, match=message):
            call()
