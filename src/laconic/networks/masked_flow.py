"""Masked RealNVP steps with the updates of inverse autoregressive flows.

Every call draws its masks anew, so that no split of the vector is special.

Source: Louizos 51; Dinh et al. 2016; Kingma et al. 2016.
"""

import math

import torch
from torch import Tensor, nn


class MaskedStep(nn.Module):
    """One step; initially close to the identity around a vector of ones.

    Args:
        features: length of the vectors.
        hidden: width of the hidden layer.
        keep: initial sigmoid's argument: sigma starts at sigmoid(keep).
    """

    def __init__(self, features: int, hidden: int, keep: float = 2.0) -> None:
        super().__init__()
        self.inner = nn.Linear(features, hidden)
        self.shift = nn.Linear(hidden, features)
        self.gate = nn.Linear(hidden, features)
        with torch.no_grad():
            self.inner.weight.normal_(0, 1 / math.sqrt(features))
            self.shift.weight.normal_(0, 1e-4)
            self.gate.weight.normal_(0, 1e-2)
            self.shift.bias.fill_(1.0)
            self.gate.bias.fill_(keep)
            self.inner.bias.zero_()

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The step's image and the logarithm of its Jacobian's determinant.

        Args:
            z: `(..., features)`.

        Returns:
            `(..., features)` and `(...)`.

        Formula: z' = m z + (1 - m) (z s + (1 - s) u) with m ~ Bernoulli(½),
        h = tanh(f(m z)), u = g(h), s = sigmoid(k(h)); log det = sum (1 - m) log s.
        """
        mask = torch.empty_like(z).bernoulli_(0.5)
        hidden = torch.tanh(self.inner(mask * z))
        gate = self.gate(hidden)
        kept = torch.sigmoid(gate)
        moved = z * kept + (1 - kept) * self.shift(hidden)
        log_det = ((1 - mask) * nn.functional.logsigmoid(gate)).sum(-1)
        return mask * z + (1 - mask) * moved, log_det


class MaskedFlow(nn.Module):
    """Some steps, one after the other.

    Args:
        features: length of the vectors.
        hidden: width of the steps' hidden layers.
        steps: how many.
    """

    def __init__(self, features: int, hidden: int, steps: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(MaskedStep(features, hidden) for _ in range(steps))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The image `(..., features)` and the log determinant `(...)`."""
        total = z.new_zeros(z.shape[:-1])
        for step in self.steps:
            z, log_det = step(z)
            total = total + log_det
        return z, total
