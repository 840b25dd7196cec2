"""Gates in [0, 1] that are exactly 0 or 1 with positive probability, and still have gradients."""

import math
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

LEFT, RIGHT = -0.1, 1.1
"""Louizos' gamma and zeta: the interval that the concrete variable is stretched to."""

TEMPERATURE = 2 / 3
"""Louizos' beta."""

NODES = 32
"""Nodes of the quadrature of moments; exact to float64 if |log alpha| <= log 100."""


@final
class HardConcrete(Distribution):
    """A binary concrete variable, stretched beyond [0, 1] and cut back to it.

    Args:
        log_alpha: location of every gate, any shape; gates open as it grows.
        temperature: beta, above 0; the smaller it is, the rarer are values between 0 and 1.

    Formula: s = sigmoid((logit u + log alpha) / beta), u uniform on (0, 1);
        z = min(1, max(0, s (zeta - gamma) + gamma)).
    Source: Louizos 104, 105 and 10.5.2 (ERRATA 15).
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "log_alpha": constraints.real,
        "temperature": constraints.positive,
    }
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, log_alpha: Tensor, temperature: float = TEMPERATURE) -> None:
        super().__init__(log_alpha.shape, validate_args=False)
        self.log_alpha, self.temperature = log_alpha, temperature

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws with gradients; u stays away from 0 and 1, which would fix every gate."""
        tiny = torch.finfo(self.log_alpha.dtype).eps
        shape = self._extended_shape(torch.Size(sample_shape))
        u = torch.rand(shape, dtype=self.log_alpha.dtype, device=self.log_alpha.device)
        s = torch.sigmoid((u.clamp(tiny, 1 - tiny).logit() + self.log_alpha) / self.temperature)
        return (s * (RIGHT - LEFT) + LEFT).clamp(0, 1)

    @property
    def nonzero(self) -> Tensor:
        """P(z != 0).  Source: Louizos 106."""
        return torch.sigmoid(self.log_alpha - self.temperature * math.log(-LEFT / RIGHT))

    @property
    def one(self) -> Tensor:
        """P(z = 1).  Source: Louizos 163 at the right end."""
        ratio = (1 - LEFT) / (RIGHT - 1)
        return torch.sigmoid(self.log_alpha - self.temperature * math.log(ratio))

    @property
    def test_gate(self) -> Tensor:
        """The gate that is stored: without noise and, other than draws, without the temperature.

        Source: Louizos 107.
        """
        return (torch.sigmoid(self.log_alpha) * (RIGHT - LEFT) + LEFT).clamp(0, 1)

    def above(self, value: Tensor) -> Tensor:
        """P(z > value) for values in [0, 1), broadcast against the gates.  Source: Louizos 164."""
        place = (value - LEFT) / (RIGHT - LEFT)
        return torch.sigmoid(self.log_alpha - self.temperature * place.logit())

    @property
    def mean(self) -> Tensor:
        """E[z], the integral of P(z > v) over [0, 1]."""
        return self._integral(power=1)

    @property
    def variance(self) -> Tensor:
        """E[z²] - E[z]²."""
        return self._integral(power=2) - self.mean.square()

    def _integral(self, power: int) -> Tensor:
        """E[z^n], the integral of n v^(n-1) P(z > v) over [0, 1], by Gauss and Legendre."""
        places, weights = np.polynomial.legendre.leggauss(NODES)
        v, w = (
            torch.as_tensor(part).to(self.log_alpha) for part in ((places + 1) / 2, weights / 2)
        )
        v = v.view(-1, *[1] * self.log_alpha.dim())
        w = w.view_as(v)
        return (w * power * v ** (power - 1) * self.above(v)).sum(0)
