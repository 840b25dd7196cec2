"""The sliced ladder: a probabilistic ladder whose image latents are told in slices, coarse first.

```
 x ─ KLT 16x16 ──────────(+)─ / sigma ─ mean, scale of every coefficient ─┐ (sender only)
   └ residual network ────┘                                               │
 z_0 (1/32 size) ─► prior of slice 1 ─► z_1 ─► prior of slice 2 ─► z_2 ...│
        ▲ the level above                posterior = encoder x prior  ◄───┘
 z_1..z_n ─ * sigma ─ KLT^T ─(+)─ picture
                    └ residual network at 1/16, then 1/8 size ┘
```

With a Gaussian likelihood of variance beta, sigma = sqrt(beta): coefficients are measured in units
of the noise that
the operating point tolerates. For a Gaussian coefficient of variance S the rate-distortion optimal
test channel is then
the ladder's own combination rule with a unit encoder scale and a prior variance of S/beta - 1
(reverse water-filling), so that
the untrained network is already a sensible linear codec and training starts from there.

Source: the ladder is Flamich 3.2.2; slices, linear start and steering are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Normal
from torch.nn import functional

from laconic.models.base import Context, Features, NormalLadder, Prior, combine
from laconic.models.sliced_prior import LOG_SCALE_LIMIT, IntegerPrior
from laconic.networks.linear_transform import BlockTransform
from laconic.networks.residual import Head, OperatingPoint, SteeredStack


@dataclass(frozen=True)
class SlicedConfig:
    """Sizes of a sliced ladder.

    Attributes:
        block: side of the linear transform's blocks in pixels.
        slices: coefficients in each slice; their sum is the number of latents per block.
        top: channels of the top latent, one value per 2x2 blocks.
        fine_width: channels at 1/8 of the image's size.
        coarse_width: channels at 1/16 of the image's size.
        prior_width: channels of the networks between the latents.
        fine_blocks: residual blocks at 1/8 size, encoder and decoder.
        coarse_blocks: residual blocks at 1/16 size, encoder and decoder.
        embedding: channels of the embedding of log beta.
        beta_range: smallest and largest beta served.
    """

    block: int = 16
    slices: tuple[int, ...] = (16, 48, 96, 140)
    top: int = 32
    fine_width: int = 128
    coarse_width: int = 128
    prior_width: int = 128
    fine_blocks: tuple[int, int] = (2, 3)
    coarse_blocks: tuple[int, int] = (2, 2)
    embedding: int = 32
    beta_range: tuple[float, float] = (2e-4, 2.56e-2)

    @property
    def latents(self) -> int:
        """Coefficients per block."""
        return sum(self.slices)


class SlicedEncoder(nn.Module):
    """Bottom-up: image -> location and scale of every coefficient in units of sigma."""

    def __init__(self, config: SlicedConfig) -> None:
        super().__init__()
        fine, coarse, embedding = config.fine_width, config.coarse_width, config.embedding
        self.fine_stride = config.block // 2
        self.fine = SteeredStack(3 * self.fine_stride**2, fine, config.fine_blocks[0], embedding)
        self.coarse = SteeredStack(4 * fine, coarse, config.coarse_blocks[0], embedding)
        self.head = Head(coarse, 2 * config.latents)

    def forward(self, x: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Return corrections to the location (image units) and to the log-scale."""
        fine = self.fine(functional.pixel_unshuffle(x, self.fine_stride), embedding)
        coarse = self.coarse(functional.pixel_unshuffle(fine, 2), embedding)
        loc, log_scale = self.head(functional.leaky_relu(coarse, 0.2)).chunk(2, dim=1)
        return loc, log_scale


class SlicedDecoder(nn.Module):
    """Top-down: all coefficients -> correction of the linear picture."""

    def __init__(self, config: SlicedConfig) -> None:
        super().__init__()
        fine, coarse, embedding = config.fine_width, config.coarse_width, config.embedding
        self.fine_stride = config.block // 2
        self.coarse = SteeredStack(2 * config.latents, coarse, config.coarse_blocks[1], embedding)
        self.up = nn.Conv2d(coarse, 4 * fine, 1)
        self.fine = SteeredStack(
            fine + 3 * self.fine_stride**2, fine, config.fine_blocks[1], embedding
        )
        self.out = nn.Conv2d(fine, 3 * self.fine_stride**2, 3, padding=1)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, latents: Tensor, sigma: Tensor, linear: Tensor, embedding: Tensor) -> Tensor:
        """`latents` in units of sigma, `linear` the linear picture around zero."""
        seen = torch.cat([torch.asinh(latents), torch.asinh(4 * sigma * latents)], dim=1)
        coarse = self.coarse(seen, embedding)
        fine = functional.pixel_shuffle(functional.leaky_relu(self.up(coarse), 0.2), 2)
        blocks = functional.pixel_unshuffle(linear, self.fine_stride)
        fine = self.fine(torch.cat([fine, blocks.to(fine.dtype)], dim=1), embedding)
        correction = self.out(functional.leaky_relu(fine, 0.2))
        return functional.pixel_shuffle(correction, self.fine_stride).to(linear.dtype)


class SlicedLadder(NormalLadder):
    """A ladder over KLT slices with one set of weights for every quality."""

    def __init__(self, config: SlicedConfig = SlicedConfig()) -> None:
        super().__init__()
        self.config = config
        self.levels = 1 + len(config.slices)
        self.stride = 2 * config.block
        self.beta_range = config.beta_range
        width, embedding = config.prior_width, config.embedding
        self.operating_point = OperatingPoint(config.beta_range, embedding)
        self.transform = BlockTransform(config.block, config.latents)
        self.encoder = SlicedEncoder(config)
        self.top_encoder = SteeredStack(4 * config.latents, width, 1, embedding)
        self.top_head = Head(width, 2 * config.top)
        self.top_decoder = SteeredStack(config.top, width, 1, embedding)
        self.top_up = nn.Conv2d(width, 4 * width, 1)
        seen = [width + sum(config.slices[:k]) for k in range(len(config.slices))]
        self.prior_stacks = nn.ModuleList(
            SteeredStack(channels, width, 1, embedding) for channels in seen
        )
        self.prior_heads = nn.ModuleList(Head(width, 2 * size) for size in config.slices)
        self.decoder = SlicedDecoder(config)

    def encode(self, x: Tensor, context: Context) -> Features:
        """Location and scale of every coefficient in units of sigma; the top's statistics."""
        embedding = self.operating_point(context.log_beta)
        sigma = context.expand(torch.exp(0.5 * context.log_beta))
        centred = x - 0.5
        correction, log_scale = self.encoder(centred, embedding)
        loc = (self.transform(centred) + correction) / sigma
        scale = torch.exp(log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT))
        hidden = self.top_encoder(functional.pixel_unshuffle(torch.asinh(loc), 2), embedding)
        top = self.top_head(functional.leaky_relu(hidden, 0.2))
        return [loc, scale, top]

    def prior(self, level: int, above: Sequence[Tensor], context: Context) -> Normal:
        """Standard normal at the top; each slice's prior sees everything told before it."""
        if level == 0:
            rows, columns = context.height // self.stride, context.width // self.stride
            zero = context.log_beta.new_zeros(context.batch, self.config.top, rows, columns)
            return Normal(zero, torch.ones_like(zero), validate_args=False)
        embedding = self.operating_point(context.log_beta)
        hidden = torch.cat([self._unfold_top(above[0], embedding), *map(torch.asinh, above[1:])], 1)
        hidden = self.prior_stacks[level - 1](hidden, embedding)
        hidden = functional.leaky_relu(hidden, 0.2)
        loc, log_scale = self.prior_heads[level - 1](hidden).chunk(2, dim=1)
        variance = self._slice(self.transform.variance[None, :, None, None], level)
        start = 0.5 * (variance / context.expand(context.log_beta.exp())).clamp_min(1e-4).log()
        log_scale = start + log_scale
        scale = torch.exp(log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT))
        return Normal(loc, scale, validate_args=False)

    def exact_prior(self) -> Prior:
        """The same networks in integers."""
        return IntegerPrior(self)

    def posterior(
        self,
        level: int,
        features: Features,
        above: Sequence[Tensor],
        prior: Normal,
        context: Context,
    ) -> Normal:
        """The encoder's belief; below the top, weighted by precision with the prior."""
        loc, scale, top = features
        if level == 0:
            top_loc, top_scale = top.chunk(2, dim=1)
            return Normal(top_loc, torch.sigmoid(top_scale + 2), validate_args=False)
        encoder = Normal(self._slice(loc, level), self._slice(scale, level), validate_args=False)
        return combine(encoder, prior)

    def likelihood(self, latents: Sequence[Tensor], context: Context) -> Distribution:
        """Gaussian of variance beta: the ELBO is rate + squared error / (2 beta)."""
        embedding = self.operating_point(context.log_beta)
        sigma = context.expand(torch.exp(0.5 * context.log_beta))
        coefficients = torch.cat(list(latents[1:]), dim=1)
        linear = self.transform.inverse(sigma * coefficients)
        picture = linear + self.decoder(coefficients, sigma, linear, embedding) + 0.5
        return Normal(picture, sigma.expand_as(picture), validate_args=False)

    def _unfold_top(self, top: Tensor, embedding: Tensor) -> Tensor:
        hidden = functional.leaky_relu(self.top_decoder(top, embedding), 0.2)
        return functional.pixel_shuffle(self.top_up(hidden), 2)

    def _slice(self, tensor: Tensor, level: int) -> Tensor:
        start = sum(self.config.slices[: level - 1])
        return tensor[:, start : start + self.config.slices[level - 1]]
