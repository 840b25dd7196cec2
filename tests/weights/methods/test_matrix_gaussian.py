"""VMG: its KL against dense Gaussians and Monte Carlo, conditioning, bounds on the noise."""

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Gamma, MultivariateNormal, kl_divergence

from laconic.distributions.divergence import kl_log_uniform
from laconic.errors import ConfigError
from laconic.weights import convert, make_method
from laconic.weights.methods.matrix_gaussian import MatrixGaussianPosterior

pytestmark = pytest.mark.usefixtures("float64")


def layer(**settings: object) -> MatrixGaussianPosterior:
    """Of a linear layer with three inputs and two outputs; parameters moved off their start."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 2))
    posterior = convert(net, "vmg", **settings).layers["0"].posterior
    assert isinstance(posterior, MatrixGaussianPosterior)
    with torch.no_grad():
        for parameter in (*posterior.rows.parameters(), *posterior.columns.parameters()):
            parameter += 0.5 * torch.randn_like(parameter)
        if posterior.pseudo is not None:
            posterior.pseudo.inputs.normal_()
            posterior.pseudo.outputs.normal_()
    return posterior


def squared_root(root: nn.Module, size: int) -> Tensor:
    found: Tensor = root.times(torch.eye(size))
    return found @ found


def dense(posterior: MatrixGaussianPosterior, rows: Tensor, mean: Tensor) -> MultivariateNormal:
    """The matrix Gaussian as a Gaussian over a vector."""
    return MultivariateNormal(mean.flatten(), torch.kron(rows, squared_root(posterior.columns, 2)))


def standard(size: int) -> MultivariateNormal:
    return MultivariateNormal(torch.zeros(size), torch.eye(size))


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_the_kl_is_that_of_dense_gaussians(rank: int) -> None:
    """Diagonal and low-rank covariances; Louizos 35 and 123."""
    posterior = layer(pseudo=0, rank=rank)
    joint = dense(posterior, squared_root(posterior.rows, 4), posterior.mean)
    torch.testing.assert_close(posterior.penalty(), kl_divergence(joint, standard(8)))


@pytest.mark.parametrize("rank", [0, 2])
def test_the_corrected_kl_is_that_of_the_conditioned_gaussian(
    rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ERRATA 14: both objectives, from a dense conditional Gaussian, without the log-uniform KL."""
    posterior = layer(pseudo=2, rank=rank, objective="corrected", damping=0.01)
    pseudo = posterior.pseudo
    assert pseudo is not None
    monkeypatch.setattr(pseudo, "draw", lambda count=(): (pseudo.inputs, pseudo.outputs))
    inputs, rows = pseudo.inputs / 2, squared_root(posterior.rows, 4)
    cross = rows @ inputs.T
    gain = cross @ torch.linalg.inv(inputs @ cross + 0.01 * torch.eye(2))
    mean = posterior.mean + gain @ (pseudo.outputs - inputs @ posterior.mean)
    joint = dense(posterior, rows - gain @ cross.T, mean)
    found = posterior.penalty() - pseudo.penalty()
    torch.testing.assert_close(found, kl_divergence(joint, standard(8)))
    published = layer(pseudo=2, rank=rank)
    before = dense(published, squared_root(published.rows, 4), published.mean)
    assert published.pseudo is not None
    found = published.penalty() - published.pseudo.penalty()
    torch.testing.assert_close(found, kl_divergence(before, standard(8)))


def test_the_kl_with_prior_scales_equals_monte_carlo() -> None:
    """Mean of log q(W, tau) - log p(W, tau) over draws, within five standard errors."""
    posterior = layer(pseudo=0, prior_scales=True)
    joint = dense(posterior, squared_root(posterior.rows, 4), posterior.mean)
    with torch.no_grad():
        posterior.scales[0].log_shape.fill_(1.0)
        w = joint.sample((20_000,))
        ratio, precision = joint.log_prob(w), torch.ones(len(w))
        for scale in posterior.scales:
            tau = scale.posterior.sample((len(w),))
            prior = Gamma(torch.tensor(1.0), torch.tensor(0.5))
            ratio += scale.posterior.log_prob(tau) - prior.log_prob(tau)
            precision *= tau
        ratio -= standard(8).log_prob(w * precision.sqrt()[:, None]) + 4 * precision.log()
        error = ratio.std() / len(w) ** 0.5
        assert abs(float(ratio.mean() - posterior.penalty())) < 5 * float(error)


def test_outputs_near_pseudo_inputs_are_more_certain() -> None:
    """At a pseudo-input the output is the pseudo-output, nearly without noise."""
    posterior = layer(pseudo=2, log_scale=0.0)
    pseudo = posterior.pseudo
    assert pseudo is not None
    with torch.no_grad():
        pseudo.inputs[:, 3] = 1.0
        pseudo.inputs_log_alpha.fill_(-30)
        pseudo.outputs_log_alpha.fill_(-30)
        x = torch.stack([pseudo.inputs[0, :3], -2 * pseudo.inputs[1, :3]])
        y = torch.stack([posterior(x, nn.functional.linear) for _ in range(60)])
    torch.testing.assert_close(y[:, 0].mean(0), pseudo.outputs[0].detach(), atol=1e-3, rtol=0)
    assert float(y[:, 0].std(0).max()) < 1e-3 < 0.1 < float(y[:, 1].std(0).min())


def test_the_noise_of_pseudo_data_stays_where_its_kl_holds() -> None:
    """The published cubic fit gives -22.3 at alpha = 4 where -4.0 is right; alpha is at most 1."""
    with pytest.raises(ConfigError, match=r"at most 0\.5"):
        make_method("vmg", largest_rate=0.6)
    posterior = layer(largest_rate=0.5)
    pseudo = posterior.pseudo
    assert pseudo is not None
    with torch.no_grad():
        pseudo.inputs_log_alpha.fill_(3.0)
    posterior.constrain()
    assert float(pseudo.inputs_log_alpha.detach().exp().max()) <= 1
    one, four = (float(kl_log_uniform(torch.tensor(alpha).log())) for alpha in (1.0, 4.0))
    assert 0 < four < one < 1
    published = 0.5 * torch.tensor(4.0).log() + 1.16145124 * 4 - 1.50204118 * 16 + 0.58629921 * 64
    assert abs(float(published)) > 15


@pytest.mark.parametrize(
    "settings", [{"objective": "biased"}, {"pseudo": -1}, {"rank": -1}, {"damping": 0.0}]
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        make_method("vmg", **settings)
