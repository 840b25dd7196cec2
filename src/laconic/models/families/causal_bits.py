"""The likelihood of binary pixels by an autoregressive network: exact, and sampled in order.

Source: Alemi, appendix F.2 (the powerful decoder); van den Oord et al. 2016 (PixelCNN).
"""

from itertools import product

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn import functional
from torch.types import _size as _Size

from laconic.networks.pixel_cnn import PixelCNN
from laconic.networks.pixel_cnn_walk import PixelCNNWalk


def pattern_indices(x: Tensor, patch: int) -> Tensor:
    """Which of its 2^(patch²) patterns every patch shows; its first pixel is the highest bit.

    Args:
        x: `(batch, 1, h, w)`, 0 or 1.
        patch: side of a patch in pixels.

    Returns:
        `(batch, h / patch, w / patch)`, int64.
    """
    bits = functional.pixel_unshuffle(x, patch).long()
    weights = 2 ** torch.arange(bits.shape[1] - 1, -1, -1, device=x.device)
    return (bits * weights[:, None, None]).sum(1)


def pattern_pixels(indices: Tensor, patch: int) -> Tensor:
    """Inverse of `pattern_indices`: `(batch, h, w)` -> `(batch, 1, h patch, w patch)`, float."""
    places = torch.arange(patch**2 - 1, -1, -1, device=indices.device)[:, None, None]
    return functional.pixel_shuffle(((indices[:, None] >> places) & 1).float(), patch)


class CausalBits(Distribution):
    """p(x | z) = Π p(patch | patches before it, z) over binary images.

    Random numbers are torch's own, as in every torch distribution.

    Args:
        network: the causal network.
        z: `(batch, latents)`.
    """

    has_rsample = False
    arg_constraints = {}  # noqa: RUF012

    def __init__(self, network: PixelCNN, z: Tensor) -> None:
        self.network, self.z = network, z
        # Objectives evaluate densities at full precision; the network keeps that of this call.
        self.mixed = torch.is_autocast_enabled(z.device.type)
        side = network.config.side
        super().__init__(z.shape[:1], torch.Size((1, side, side)), validate_args=False)

    def given(self, x: Tensor) -> Tensor:
        """Log-probabilities of every patch's patterns, given the patches of `x` before it.

        Args:
            x: `(batch, 1, side, side)`, 0 or 1.

        Returns:
            `(batch, 2^(patch²), side / patch, side / patch)`, nats.
        """
        return self._given(x, self.z)

    def _given(self, x: Tensor, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, torch.bfloat16, enabled=self.mixed):
            return self._normalised(self.network(x, z))

    def _normalised(self, logits: Tensor) -> Tensor:
        """Logits `(batch, outputs, ...)` -> log-probabilities `(batch, 2^(patch²), ...)`."""
        logits = logits.float()
        if self.network.config.patch == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        return functional.log_softmax(logits, dim=1)

    def _repeated(self, count: _Size) -> Tensor:
        """Latents for draws of shape `(*count, batch)`, flat."""
        return self.z.expand(*count, *self.z.shape).reshape(-1, self.z.shape[-1])

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats of every image: `(..., batch, 1, side, side)` -> `(..., batch)`."""
        shape = value.shape[:-3]
        flat = value.reshape(-1, *value.shape[-3:]).float()
        table = self._given(flat, self._repeated(shape[:-1]))
        chosen = table.gather(1, pattern_indices(flat, self.network.config.patch)[:, None])
        return chosen.sum((1, 2, 3)).reshape(shape)

    @torch.no_grad()
    def sample(self, sample_shape: _Size = torch.Size()) -> Tensor:  # noqa: B008
        """Patch by patch in reading order -> `(*sample_shape, batch, 1, side, side)`, float."""
        z, config = self._repeated(sample_shape), self.network.config
        indices = torch.zeros(len(z), config.grid, config.grid, dtype=torch.long, device=z.device)
        with torch.autocast(z.device.type, torch.bfloat16, enabled=self.mixed):
            walk = PixelCNNWalk(self.network, z)
            for row, column in product(range(config.grid), repeat=2):
                table = self._normalised(walk.logits((row, column)))
                drawn = torch.multinomial(table.exp(), 1)
                indices[:, row, column] = drawn[:, 0]
                walk.put((row, column), pattern_pixels(drawn[:, :, None], config.patch))
        x = pattern_pixels(indices, config.patch)
        return x.reshape(*sample_shape, *self.batch_shape, *self.event_shape)
