"""An exact Gaussian process, beside which others are drawn: for small data sets.

Source: Rasmussen & Williams 2006, 2.2 and 5.4.1.
"""

import math
from typing import final

import torch
from torch import Tensor, nn

from laconic.distributions.prediction import RegressionPrediction
from laconic.errors import InputError
from laconic.functions.references import check_pair

MOST_POINTS = 2000
"""The cost grows with the third power of the number of points."""

STARTS = (0.5, 1.0, 0.1)
"""Length, signal and noise before they are fitted, for standardised points."""

JITTER = 1e-8
"""Added to variances of the prior, in float64, so that matrices stay positive definite."""


@final
class GaussianProcess(nn.Module):
    """A Gaussian process with an RBF kernel and Gaussian noise, on values around 0.

    Formula: k(x, x') = s² exp(-|x - x'|² / (2 l²)); y = f(x) + N(0, n²).

    Args:
        x: inputs `(count, dim)`.
        y: values `(count, 1)`; their mean should be about 0.

    Attributes:
        log_length: log l, in units of x.
        log_signal: log s, in units of y.
        log_noise: log n, in units of y.

    Raises:
        InputError: points that cannot be used, or too many.
    """

    x: Tensor
    y: Tensor

    def __init__(self, x: Tensor, y: Tensor) -> None:
        super().__init__()
        check_pair(x, y, "the points")
        if y.dim() != 2 or y.shape[1] != 1 or not bool(y.isfinite().all()):
            raise InputError("the points: give finite values of shape (count, 1)")
        if len(x) > MOST_POINTS:
            raise InputError(f"{len(x)} points: an exact process takes {MOST_POINTS} at most")
        self.register_buffer("x", x.double())
        self.register_buffer("y", y.double())
        self.log_length, self.log_signal, self.log_noise = (
            nn.Parameter(torch.tensor(math.log(start), dtype=torch.float64)) for start in STARTS
        )

    def negative_log_evidence(self) -> Tensor:
        """-log p(y | x) in nats.

        Formula: ½ y' K⁻¹ y + ½ log det K + ½ count log 2 pi, K = k(x, x) + n².
        """
        root, weights = self._factor()
        fit = 0.5 * (self.y * weights).sum()
        return fit + root.diagonal().log().sum() + 0.5 * len(self.y) * math.log(2 * math.pi)

    def fit(self, steps: int = 100) -> "GaussianProcess":
        """Maximise the evidence over length, signal and noise, by L-BFGS.

        Args:
            steps: most iterations.

        Returns:
            The process itself.
        """
        optimizer = torch.optim.LBFGS(
            self.parameters(), max_iter=steps, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = self.negative_log_evidence()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimizer.step(closure)  # type: ignore[no-untyped-call]
        return self

    @torch.no_grad()
    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of y at new inputs, noise included, `(batch, 1)` each.

        Formula: mean k(x*, x) K⁻¹ y; variance s² + n² - k(x*, x) K⁻¹ k(x, x*).
        """
        mean, covariance = self._posterior(x)
        noise = (2 * self.log_noise).exp()
        return mean, covariance.diagonal()[:, None] + noise

    @torch.no_grad()
    def predict(self, x: Tensor, samples: int) -> RegressionPrediction:
        """Functions drawn from the posterior, at new inputs `(batch, dim)`, with their noise."""
        mean, covariance = self._posterior(x)
        values, vectors = torch.linalg.eigh(covariance)
        root = vectors * values.clamp(min=0).sqrt()
        drawn = mean + root @ torch.randn(samples, len(x), 1, dtype=mean.dtype)
        noise = (2 * self.log_noise).exp().view(1, 1, 1)
        return RegressionPrediction(drawn.to(x), noise.to(x))

    def _kernel(self, a: Tensor, b: Tensor) -> Tensor:
        distance = (a[:, None] - b[None]).square().sum(-1)
        return torch.exp(2 * self.log_signal - 0.5 * distance * torch.exp(-2 * self.log_length))

    def _factor(self) -> tuple[Tensor, Tensor]:
        """The Cholesky factor of K, and K⁻¹ y."""
        variance = (2 * self.log_noise).exp() + JITTER * (2 * self.log_signal).exp()
        covariance = self._kernel(self.x, self.x) + variance * torch.eye(len(self.x)).to(self.x)
        root = torch.linalg.cholesky(covariance)
        return root, torch.cholesky_solve(self.y, root)

    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean `(batch, 1)` and covariance `(batch, batch)` of f at new inputs."""
        root, weights = self._factor()
        x = x.double()
        cross = self._kernel(x, self.x)
        half = torch.linalg.solve_triangular(root, cross.T, upper=False)
        return cross @ weights, self._kernel(x, x) - half.T @ half
