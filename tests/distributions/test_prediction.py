"""Predictions: their moments and entropies against sums, quadrature and torch's distributions."""

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal

from laconic.distributions.prediction import Prediction, RegressionPrediction, check_labels
from laconic.errors import InputError


@pytest.mark.usefixtures("float64")
def test_entropies_are_those_of_the_draws_and_of_their_mean() -> None:
    torch.manual_seed(0)
    logits = 3 * torch.randn(7, 5, 4)
    found = Prediction.from_logits(logits)
    mean = logits.softmax(-1).mean(0)
    torch.testing.assert_close(found.mean, mean)
    torch.testing.assert_close(found.entropy, Categorical(mean).entropy())
    torch.testing.assert_close(found.aleatoric, Categorical(logits=logits).entropy().mean(0))
    torch.testing.assert_close(found.epistemic, found.entropy - found.aleatoric)
    assert torch.equal(found.labels, mean.argmax(-1))
    labels = torch.tensor([0, 3, 1, 2, 2])
    wanted = torch.log(mean[torch.arange(5), labels])
    torch.testing.assert_close(found.log_likelihood(labels), wanted)


def test_equal_draws_have_no_epistemic_uncertainty() -> None:
    found = Prediction.from_logits(torch.randn(1, 6, 3).expand(5, 6, 3))
    assert float(found.mutual_information.max()) < 1e-6
    values = RegressionPrediction(torch.ones(4, 2, 1), torch.ones(1, 1, 1))
    assert float(values.epistemic.max()) == 0
    assert float(values.mutual_information.max()) == 0


def test_certain_predictions_have_finite_likelihoods() -> None:
    """Probabilities below the smallest number of single precision keep their logarithms."""
    found = Prediction.from_logits(torch.tensor([[[0.0, 500.0]]]))
    assert float(found.entropy) == 0
    assert float(found.log_likelihood(torch.tensor([0]))) == pytest.approx(-500)


@pytest.mark.usefixtures("float64")
def test_a_mixture_of_gaussians_is_torchs() -> None:
    torch.manual_seed(0)
    means, variances = torch.randn(6, 3, 1), torch.rand(6, 1, 1) + 0.1
    found = RegressionPrediction(means, variances)
    parts = Normal(means[..., 0].T, variances[..., 0].sqrt().T.expand(3, 6))
    mixture = MixtureSameFamily(Categorical(torch.ones(3, 6)), parts)
    torch.testing.assert_close(found.mean[:, 0], mixture.mean)
    torch.testing.assert_close(found.variance[:, 0], mixture.variance)
    values = torch.randn(3, 1)
    torch.testing.assert_close(found.log_likelihood(values), mixture.log_prob(values[:, 0]))
    low, high = found.interval(0.9)
    torch.testing.assert_close(mixture.cdf(low[:, 0]), torch.full((3,), 0.05), atol=1e-6, rtol=0)
    torch.testing.assert_close(mixture.cdf(high[:, 0]), torch.full((3,), 0.95), atol=1e-6, rtol=0)


def test_the_entropy_of_one_gaussian_is_exact() -> None:
    found = RegressionPrediction(torch.zeros(1, 2, 1), torch.full((1, 1, 1), 4.0))
    wanted = 0.5 * math.log(2 * math.pi * math.e * 4)
    assert found.entropy.tolist() == pytest.approx([wanted, wanted])


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (torch.tensor([0.5, 1.0]), "regression"),
        (torch.tensor([0, 3]), "3 classes"),
        (torch.tensor([-1, 0]), "from -1"),
        (torch.tensor([0]), "1 labels for 2"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: torch.Tensor, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_labels(labels, 2, 3)


def test_values_that_do_not_fit_are_refused() -> None:
    found = RegressionPrediction(torch.zeros(1, 2, 1), torch.ones(1, 1, 1))
    with pytest.raises(InputError, match="shape"):
        found.log_likelihood(torch.zeros(2, 2))
    with pytest.raises(InputError, match="NaN"):
        found.log_likelihood(torch.tensor([[0.0], [torch.nan]]))
    with pytest.raises(InputError, match="level"):
        found.interval(1.0)
