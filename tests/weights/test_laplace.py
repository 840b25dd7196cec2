"""The Laplace approximation of the last layer against closed forms (extra `laplace`)."""

import sys

import pytest
import torch
from torch import nn

import laconic
from laconic.distributions.prediction import Prediction, RegressionPrediction
from laconic.errors import InputError, MissingPackageError
from laconic.weights.laplace import LastLayerLaplace


def test_an_absent_package_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "laplace", None)
    net = nn.Linear(2, 3)
    with pytest.raises(MissingPackageError, match="laplace-torch"):
        LastLayerLaplace(net, torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64))


@pytest.mark.parametrize(
    ("y", "structure", "match"),
    [
        (torch.zeros(4, dtype=torch.int64), "banded", "structure"),
        (torch.full((4,), 3), "kron", "3"),
        (torch.zeros(4), "kron", "row for each input"),
    ],
)
def test_input_that_does_not_fit_is_refused(y: torch.Tensor, structure: str, match: str) -> None:
    with pytest.raises(InputError, match=match):
        LastLayerLaplace(nn.Linear(2, 3), torch.zeros(4, 2), y, structure)


@pytest.mark.filterwarnings("ignore")
def test_the_variance_of_a_linear_regression_is_the_closed_form() -> None:
    pytest.importorskip("laplace", reason="laplace-torch is not installed: the extra `laplace`")
    torch.manual_seed(0)
    x = torch.randn(200, 3)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.3 * torch.randn(200, 1)
    net = nn.Sequential(nn.Identity(), nn.Linear(3, 1))
    with torch.no_grad():
        whole = torch.cat([x, torch.ones(200, 1)], 1)
        found = torch.linalg.lstsq(whole, y).solution
        net[1].weight.copy_(found[:3].T)
        net[1].bias.copy_(found[3])
    posterior = LastLayerLaplace(net, x, y, "full")
    noise = float(posterior.fitted.sigma_noise)
    assert noise == pytest.approx(0.3, rel=0.2)
    precision = whole.T @ whole / noise**2 + float(posterior.fitted.prior_precision) * torch.eye(4)
    new = torch.randn(20, 3) * 3
    features = torch.cat([new, torch.ones(20, 1)], 1)
    expected = (features @ torch.linalg.inv(precision) * features).sum(1).sqrt()
    # The standard deviation of 4,000 draws is within 5 sigma, 5.6 %, of the true one.
    drawn = laconic.predict(posterior, new, samples=4000, noise=1.0, seed=0)
    assert isinstance(drawn, RegressionPrediction)
    torch.testing.assert_close(drawn.means.std(0)[:, 0], expected, rtol=0.06, atol=0)


@pytest.mark.filterwarnings("ignore")
def test_a_classifier_is_less_certain_far_from_its_data() -> None:
    pytest.importorskip("laplace", reason="laplace-torch is not installed: the extra `laplace`")
    torch.manual_seed(0)
    labels = torch.arange(120) % 2
    x = torch.randn(120, 2) * 0.3 + (2 * labels[:, None] - 1) * torch.tensor([1.0, 0.0])
    net = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), labels).backward()
        optimizer.step()
    posterior = LastLayerLaplace(net, x, labels)
    far = torch.tensor([[30.0, 30.0], [-30.0, 25.0]])
    ordinary = laconic.predict(net, far)
    found = laconic.predict(posterior, far, samples=200, seed=0)
    assert isinstance(found, Prediction)
    assert isinstance(ordinary, Prediction)
    assert float(found.entropy.mean()) > float(ordinary.entropy.mean())
    assert (found.labels == posterior(far).argmax(1)).all()
