"""Laplace approximation of the last layer: a Gaussian posterior for a network that is trained.

The extra `laplace` has the package that fits it (laplace-torch). Where torchvision does not fit the
installed torch, install that package and those that it needs with `pip install --no-deps`:
torchvision is not imported.

Source: Daxberger et al. 2021 (laplace-torch); a baseline beside the posteriors of Louizos 3 to 5.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from laconic.distributions.prediction import (
    AnyPrediction,
    Prediction,
    RegressionPrediction,
    check_labels,
)
from laconic.errors import InputError, MissingPackageError

STRUCTURES = ("diag", "kron", "full")
BATCH = 256
TINY = 1e-12
"""Least probability of a class, so that its logarithm is a number."""


class LastLayerLaplace(nn.Module):
    """A trained network whose last linear layer has a Gaussian posterior.

    The covariance is the inverse of the generalised Gauss-Newton matrix at the trained weights; the
    precision of the prior, and the noise of a regression, maximise the marginal likelihood.
    Outputs are linear in the weights of the last layer, so their distribution is Gaussian in
    closed form, and draws are draws of outputs.

    Args:
        net: trained; its last module with weights is a linear layer. It is used, not copied.
        x: training inputs, `(examples, ...)`.
        y: class numbers, int64 `(examples,)`; for a regression values, float `(examples, outputs)`.
        structure: of the covariance: "diag", "kron" or "full".

    Raises:
        InputError: an unknown structure, or labels that do not fit the network's outputs.
        MissingPackageError: laplace-torch is not installed.

    Example:
        `laconic.predict(LastLayerLaplace(net, x, y), new_x, samples=100).entropy`
    """

    def __init__(self, net: nn.Module, x: Tensor, y: Tensor, structure: str = "kron") -> None:
        super().__init__()
        if structure not in STRUCTURES:
            raise InputError(f"structure is '{structure}': give one of {', '.join(STRUCTURES)}")
        self.net = net.eval()
        self.classifies = not y.is_floating_point()
        self._check(x, y)
        self.fitted = _fit(self.net, x, y, self.classifies, structure)

    def _check(self, x: Tensor, y: Tensor) -> None:
        with torch.no_grad():
            outputs = self.net(x[:2])
        if outputs.dim() != 2:
            raise InputError(
                f"the network's outputs have shape {tuple(outputs.shape)}: (examples, outputs) is "
                "needed"
            )
        if self.classifies:
            check_labels(y, len(x), outputs.shape[1])
        elif y.shape != (len(x), outputs.shape[1]):
            raise InputError(
                f"y has shape {tuple(y.shape)}: {(len(x), outputs.shape[1])} is needed, a row for "
                "each input and a column for each output"
            )

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of the network with its trained weights, `(batch, outputs)`."""
        result: Tensor = self.net(x)
        return result

    def predict(self, x: Tensor, samples: int) -> AnyPrediction:
        """Draws from the Gaussian of the outputs; see `laconic.predict`."""
        with torch.enable_grad():  # The package takes Jacobians, under `no_grad`, too.
            drawn = self.fitted.predictive_samples(x, pred_type="glm", n_samples=samples)
        drawn = drawn.detach()
        if self.classifies:
            return Prediction(drawn.clamp_min(TINY).log())
        variance = torch.as_tensor(self.fitted.sigma_noise).detach().square()
        return RegressionPrediction(drawn, variance.to(drawn).view(1, 1, -1))


def _fit(net: nn.Module, x: Tensor, y: Tensor, classifies: bool, structure: str) -> Any:
    """The package's posterior, its prior chosen by marginal likelihood."""
    try:
        from laplace import Laplace
    except ImportError as error:
        raise MissingPackageError(
            "the Laplace approximation needs", "laplace-torch", "laplace"
        ) from error
    fitted = Laplace(
        net,
        "classification" if classifies else "regression",
        subset_of_weights="last_layer",
        hessian_structure=structure,
    )
    with torch.enable_grad():
        fitted.fit(DataLoader(TensorDataset(x, y), BATCH))
        if classifies:
            fitted.optimize_prior_precision(method="marglik")
        else:
            _choose_noise(fitted)
    return fitted


def _choose_noise(fitted: Any, steps: int = 200, rate: float = 0.1) -> None:
    """Maximise the marginal likelihood over the prior's precision and the noise of a regression."""
    log_prior = torch.zeros(1, requires_grad=True)
    log_noise = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([log_prior, log_noise], rate)
    for _ in range(steps):
        optimizer.zero_grad()
        (-fitted.log_marginal_likelihood(log_prior.exp(), log_noise.exp())).backward()
        optimizer.step()
    fitted.prior_precision = log_prior.detach().exp()
    fitted.sigma_noise = log_noise.detach().exp()
