"""Precisions with a Gamma prior and a Gamma posterior: of a regression's noise, of a prior's scale.

Source: Louizos 3.4.1; the closed KL between two Gammas is torch's.
"""

import math

import torch
from torch import Tensor, nn
from torch.distributions import Gamma, kl_divergence


class GammaPrecision(nn.Module):
    """q(tau) = Gamma(shape, rate) under the prior Gamma(prior_shape, prior_rate).

    Args:
        prior_shape: of the prior; the posterior starts there.
        prior_rate: of the prior.
        like: a tensor whose type and device the parameters get.

    Attributes:
        log_shape: logarithm of the posterior's shape; a scalar.
        log_rate: logarithm of the posterior's rate; a scalar.
    """

    def __init__(self, prior_shape: float, prior_rate: float, like: Tensor | None = None) -> None:
        super().__init__()
        like = torch.zeros(()) if like is None else like
        self.prior_shape, self.prior_rate = prior_shape, prior_rate
        self.log_shape = nn.Parameter(like.new_tensor(math.log(prior_shape)))
        self.log_rate = nn.Parameter(like.new_tensor(math.log(prior_rate)))

    @property
    def posterior(self) -> Gamma:
        """q(tau)."""
        return Gamma(self.log_shape.exp(), self.log_rate.exp(), validate_args=False)

    def mean(self) -> Tensor:
        """E[tau] = shape / rate."""
        return torch.exp(self.log_shape - self.log_rate)

    def mean_log(self) -> Tensor:
        """E[log tau] = digamma(shape) - log rate."""
        return torch.digamma(self.log_shape.exp()) - self.log_rate

    def penalty(self) -> Tensor:
        """KL(q || p), in nats."""
        prior = Gamma(
            torch.full_like(self.log_shape, self.prior_shape),
            torch.full_like(self.log_rate, self.prior_rate),
            validate_args=False,
        )
        result: Tensor = kl_divergence(self.posterior, prior)
        return result

    @torch.no_grad()
    def draw_variances(self, count: int) -> Tensor:
        """Draws of 1 / tau, shape `(count,)`."""
        drawn: Tensor = self.posterior.sample((count,))
        return 1 / drawn


class GammaNoise(GammaPrecision):
    """The noise of a regression: values ~ N(outputs, 1 / tau).

    The prior is in units of the values. With Gamma(6, 6) and N values the precision stays below
    about 1 + N / 12, however small the errors are: a weak prior for values whose noise is near 1
    or above, a strong one for values that are smaller, such as normalised ones.

    Source: Louizos 3.4.1, where the values keep their own units.
    """

    def __init__(self, prior_shape: float = 6.0, prior_rate: float = 6.0) -> None:
        super().__init__(prior_shape, prior_rate)

    def log_likelihood(self, outputs: Tensor, values: Tensor) -> Tensor:
        """E[log p(values | outputs, tau)] over q(tau), in nats, of every number.

        Formula: ½ (E[log tau] - log 2 pi - E[tau] (value - output)²).
        """
        error = (values - outputs).square()
        return 0.5 * (self.mean_log() - math.log(2 * math.pi) - self.mean() * error)
