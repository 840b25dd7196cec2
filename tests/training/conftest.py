"""A model whose bound has a closed form: z ~ N(0, I), x | z ~ N(W z, noise² I)."""

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from laconic.models.base import Rung

NOISE = 0.7


def _weight() -> Tensor:
    return torch.tensor([[1.0, 0.4], [-0.3, 0.8], [0.5, 0.5], [0.2, -0.6]], dtype=torch.float64)


@dataclass
class LinearGaussian:
    """Pictures of 2 x 2 pixels; the encoder is amortised badly on purpose."""

    weight: Tensor = field(default_factory=_weight)
    encoder: Tensor = field(
        default_factory=lambda: torch.full((2, 4), 0.2, dtype=torch.float64).requires_grad_()
    )
    log_scale: Tensor = field(
        default_factory=lambda: torch.full((2,), -0.5, dtype=torch.float64).requires_grad_()
    )

    def posterior(self, x: Tensor) -> Normal:
        loc = x.flatten(1) @ self.encoder.T
        return Normal(loc, self.log_scale.exp().expand_as(loc))

    def prior(self, batch: int) -> Normal:
        zeros = torch.zeros(batch, 2, dtype=torch.float64)
        return Normal(zeros, torch.ones_like(zeros))

    def likelihood(self, z: Tensor) -> Distribution:
        mean = (z @ self.weight.T).reshape(-1, 1, 2, 2)
        return Independent(Normal(mean, NOISE), 3)

    def draw_rungs(self, x: Tensor, pathwise: bool = True) -> tuple[list[Rung], Distribution]:
        q = self.posterior(x)
        z = q.rsample() if pathwise else q.sample()
        return [Rung(q, self.prior(len(x)), z)], self.likelihood(z)

    def distortion(self, x: Tensor, q: Normal) -> Tensor:
        """E_q[-log p(x | z)] exactly, `(batch,)`."""
        residual = x.flatten(1) - q.loc @ self.weight.T
        spread = (q.scale.square() @ self.weight.T.square()).sum(1)
        log_normaliser = 0.5 * 4 * torch.tensor(2 * torch.pi * NOISE**2).log()
        return log_normaliser + (residual.square().sum(1) + spread) / (2 * NOISE**2)

    def precision(self, beta: float = 1.0) -> Tensor:
        """Of the exact posterior p(z) p(x | z)^(1 / beta)."""
        gram = self.weight.T @ self.weight / (beta * NOISE**2)
        return gram + torch.eye(2, dtype=torch.float64)

    def best(self, x: Tensor, beta: float = 1.0) -> Normal:
        """The independent normal of least D + beta R: exact mean, 1 / precision's diagonal."""
        precision = self.precision(beta)
        loc = torch.linalg.solve(precision, self.weight.T @ x.flatten(1).T / (beta * NOISE**2)).T
        return Normal(loc, precision.diagonal().rsqrt().expand_as(loc))

    def evidence(self, x: Tensor) -> Tensor:
        """log p(x), `(batch,)`."""
        cover = self.weight @ self.weight.T + NOISE**2 * torch.eye(4, dtype=torch.float64)
        zeros = torch.zeros(4, dtype=torch.float64)
        return torch.distributions.MultivariateNormal(zeros, cover).log_prob(x.flatten(1))


@pytest.fixture
def gaussian() -> LinearGaussian:
    return LinearGaussian()


@pytest.fixture
def x() -> Tensor:
    """`(6, 1, 2, 2)`, float64."""
    generator = torch.Generator().manual_seed(5)
    return torch.randn(6, 1, 2, 2, generator=generator, dtype=torch.float64)
