"""Soft free bits: the KL counts little as long as it is below an allowance."""

import math

import torch
from torch import Tensor, nn

from laconic.errors import ConfigError
from laconic.training.dual import update_multiplier

LEAST, MOST = 1e-8, 1.0
"""Bounds of the weight."""

STEP = 0.1
"""Change of the weight's logarithm in a step."""

SLACK = 1.05
"""The weight rises from this multiple of the allowance on."""


class FreeNats(nn.Module):
    """The weight of a KL, which rises while the KL exceeds an allowance, up to 1.

    Formula: log weight += 0.1 if the KL is above 1.05 times the allowance, -= 0.1 if it is below
        the allowance.
    Source: Louizos 10.3.1, "soft free bits"; Chen et al. 2017. The text calls the unit bits; the
        published code compares nats.

    Args:
        allowance_nats: per dimension of a latent; 0: the weight is 1 at all times.

    Attributes:
        log_weight: a buffer, which checkpoints hold.
    """

    log_weight: Tensor

    def __init__(self, allowance_nats: float) -> None:
        super().__init__()
        if not allowance_nats >= 0:
            raise ConfigError(f"free_nats: {allowance_nats}; give a number of nats, 0 or more")
        self.allowance_nats = allowance_nats
        start = math.log(LEAST) if allowance_nats else 0.0
        self.register_buffer("log_weight", torch.tensor(start))
        self._mean_nats: Tensor | None = None

    def forward(self, kl_nats: Tensor, numbers: int) -> Tensor:
        """The KL times its weight.

        Args:
            kl_nats: any shape; the KL of some latents.
            numbers: dimensions of all these latents together.
        """
        if self.training:
            self._mean_nats = kl_nats.detach().sum() / numbers
        return self.log_weight.exp() * kl_nats

    @torch.no_grad()
    def constrain(self) -> None:
        """Call this after every step of the optimiser."""
        if self._mean_nats is None or not self.allowance_nats:
            return
        above = self._mean_nats > SLACK * self.allowance_nats
        below = self._mean_nats < self.allowance_nats
        update_multiplier(self.log_weight, above.float() - below.float(), STEP)
        self.log_weight.clamp_(math.log(LEAST), math.log(MOST))
