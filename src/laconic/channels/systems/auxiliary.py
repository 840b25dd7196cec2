"""Decoders that draw what the code does not say: auxiliary latents V.

```
 z ─► state ─┬─► P(V_1 | state) ─ v_1 ─► state ─┬─► P(V_2 | state) ─ v_2 ─► ... ─► picture
             └ with the picture: Q(V_1 | ...)   └ ...
```

Source: Ullrich 6.9 and 6.6 (a conditional ConvDRAW decoder; without latents, the same layers).
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from laconic.channels.systems.code import LOG_SCALES
from laconic.channels.systems.networks import MapsToPicture, PictureSizes, residual_blocks
from laconic.distributions.divergence import kl_normal
from laconic.networks.arithmetic import LEAK


@dataclass(frozen=True)
class Drawn:
    """What a decoder gives.

    Attributes:
        picture: `(batch, channels, height, width)`, not limited to [0, 1].
        kl_nats: of its own latents, `(batch,)`; 0 where they came from their prior.
    """

    picture: Tensor
    kl_nats: Tensor


@final
class DrawDecoder(nn.Module):
    """A recurrent decoder of maps, with or without auxiliary latents.

    Formula: -D >= E_Q[log D(x | z, v)] - sum_t KL(Q(V_t | x, z, v_<t) || P(V_t | z, v_<t)).
    Source: Ullrich 6.9.

    Args:
        sizes: of code and picture.
        steps: of the recurrence.
        latents: maps of auxiliary latents in each step; 0 for none.
    """

    def __init__(self, sizes: PictureSizes, steps: int, latents: int) -> None:
        super().__init__()
        self.sizes, self.latents = sizes, latents
        rows, columns = sizes.grid
        depth, half = sizes.depth, sizes.depth // 2
        self.first = nn.Linear(sizes.numbers, depth * rows * columns)
        self.steps = nn.ModuleList(nn.Sequential(*residual_blocks(sizes)) for _ in range(steps))
        self.last = MapsToPicture(sizes)
        if latents:
            self.eyes = nn.Sequential(
                nn.Conv2d(sizes.channels, half, 4, stride=2, padding=1),
                nn.LeakyReLU(LEAK),
                nn.Conv2d(half, depth, 4, stride=2, padding=1),
            )
            self.priors = _heads(steps, depth, 2 * latents)
            self.posteriors = _heads(steps, 2 * depth, 2 * latents)
            self.entries = _heads(steps, latents, depth)

    def forward(self, z: Tensor, x: Tensor | None) -> Drawn:
        """Decode; with the picture, latents come from their posterior, else from their prior.

        Args:
            z: `(batch, numbers)`.
            x: `(batch, channels, height, width)` in [0, 1], in training; None for a receiver.
        """
        state = self.first(z).reshape(-1, self.sizes.depth, *self.sizes.grid)
        total = torch.zeros(len(z), device=z.device)
        seen = self.eyes(x - 0.5) if self.latents and x is not None else None
        for index, step in enumerate(self.steps):
            state = step(state)
            if self.latents:
                latent, nats = self._latent(index, state, seen)
                state, total = state + self.entries[index](latent), total + nats
        return Drawn(self.last(state), total)

    def _latent(self, index: int, state: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor]:
        """A draw of one step's latents, and its KL in nats."""
        prior = _normal(self.priors[index](state))
        if seen is None:
            law, nats = prior, torch.zeros(len(state), device=state.device)
        else:
            law = _normal(self.posteriors[index](torch.cat([state, seen], dim=1)))
            nats = kl_normal(law, prior).flatten(1).sum(1)
        return law.loc + law.scale * torch.randn_like(law.loc), nats


def _heads(steps: int, inputs: int, outputs: int) -> nn.ModuleList:
    """One 3x3 convolution for each step, small at first."""
    heads = [nn.Conv2d(inputs, outputs, 3, padding=1) for _ in range(steps)]
    for head in heads:
        with torch.no_grad():
            head.weight *= 0.3
    return nn.ModuleList(heads)


def _normal(moments: Tensor) -> Normal:
    mean, log_scale = moments.float().chunk(2, dim=1)
    return Normal(mean, log_scale.clamp(*LOG_SCALES).exp(), validate_args=False)
