"""Pseudo-data of a layer: inputs and outputs that the layer's weights are conditioned on.

Each number has a posterior N(m, alpha m²) under the log-uniform prior. alpha is at most 1: beyond,
the cubic fit of the source's KL is wrong (at alpha = 4 by 18 nats), and a prior so wide is of no
use. The KL here is a fit that holds for all alpha.

Source: Louizos 3.2.4, 39 to 45; Snelson & Ghahramani 2006.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from laconic.distributions.divergence import kl_log_uniform
from laconic.weights.methods.covariance import RootCovariance

START = 0.01
"""Pseudo-inputs start uniformly within plus and minus this.  Source: Louizos 3.4."""

LEAST_LOG_ALPHA = -10.0


class Condition(NamedTuple):
    """What conditioning on pseudo-data does to a matrix Gaussian with row covariance U.

    Attributes:
        projection: P, `(..., rows, count)`: the row covariance becomes U - P Pᵀ.
        root: L, `(..., count, count)`: Cholesky factor of the pseudo-outputs' covariance.
        inputs: the pseudo-inputs, scaled as the layer's inputs are, `(..., count, rows)`.
    """

    projection: Tensor
    root: Tensor
    inputs: Tensor

    def shift(self, residual: Tensor) -> Tensor:
        """P L⁻¹ residual: what the rows' mean moves by; double precision inside.

        Args:
            residual: pseudo-outputs minus what the weights give, `(..., count, columns)`.
        """
        solved = torch.linalg.solve_triangular(self.root, residual.double(), upper=False)
        result: Tensor = self.projection @ solved
        return result


class PseudoData(nn.Module):
    """Pseudo-inputs and pseudo-outputs with multiplicative noise.

    Args:
        matrix: mean of the weights, `(rows, columns)`; the pseudo-outputs start at what it gives.
        count: pairs; below the number of rows.
        largest_rate: bound on the noise as a rate of dropout p: alpha is at most p / (1 - p).
        damping: variance that is added to the pseudo-outputs.

    Attributes:
        inputs: means, `(count, rows)`.
        outputs: means, `(count, columns)`.
        inputs_log_alpha: log alpha of each.
        outputs_log_alpha: log alpha of each.
    """

    def __init__(self, matrix: Tensor, count: int, largest_rate: float, damping: float) -> None:
        super().__init__()
        rows = len(matrix)
        self.damping, self.largest = damping, math.log(largest_rate / (1 - largest_rate))
        inputs = torch.empty(count, rows).uniform_(-START, START).to(matrix)
        self.inputs = nn.Parameter(inputs)
        self.outputs = nn.Parameter(inputs @ matrix / rows**0.5)
        start = max(LEAST_LOG_ALPHA, self.largest - 1)
        self.inputs_log_alpha = nn.Parameter(torch.full_like(self.inputs, start))
        self.outputs_log_alpha = nn.Parameter(torch.full_like(self.outputs, start))

    def draw(self, count: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
        """Draws of inputs and outputs, `(*count, pairs, ...)` each."""
        return (
            _multiplied(self.inputs, self.inputs_log_alpha, count),
            _multiplied(self.outputs, self.outputs_log_alpha, count),
        )

    def condition(self, inputs: Tensor, rows: RootCovariance) -> Condition:
        """How these pseudo-inputs change a matrix Gaussian with this row covariance.

        Formula: Sigma = A U Aᵀ + damping I = L Lᵀ, P = U Aᵀ L⁻ᵀ, A the inputs over the root of
        their dimension.
        Source: Louizos 39, 40, 43.
        """
        scaled = inputs.double() / inputs.shape[-1] ** 0.5
        half = rows.times(scaled.mT)
        damped = self.damping * torch.eye(half.shape[-1], dtype=half.dtype, device=half.device)
        root = torch.linalg.cholesky(half.mT @ half + damped)
        cross = rows.times(half).mT
        projection = torch.linalg.solve_triangular(root, cross, upper=False).mT
        return Condition(projection, root, scaled)

    def penalty(self) -> Tensor:
        """KL to the log-uniform prior, up to a constant, in nats."""
        inputs, outputs = (
            kl_log_uniform(one).sum() for one in (self.inputs_log_alpha, self.outputs_log_alpha)
        )
        return inputs + outputs

    @torch.no_grad()
    def constrain(self) -> None:
        """Keep alpha within its bounds."""
        for parameter in (self.inputs_log_alpha, self.outputs_log_alpha):
            parameter.clamp_(LEAST_LOG_ALPHA, self.largest)


def _multiplied(mean: Tensor, log_alpha: Tensor, count: tuple[int, ...]) -> Tensor:
    noise = torch.randn(*count, *mean.shape, dtype=mean.dtype, device=mean.device)
    return mean * (1 + torch.exp(0.5 * log_alpha) * noise)
