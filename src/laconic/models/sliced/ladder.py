"""The sliced ladder: a probabilistic ladder whose image latents are coded in slices, coarse first.

```
 x ─ KLT 16x16 ──────────(+)─ / sigma ─ mean, scale of every coefficient ─┐ (sender only)
   └ residual network ────┘                                               │
 z_0 (1/32 size) ─► prior of slice 1 ─► z_1 ─► prior of slice 2 ─► z_2 ...│
        ▲ the level above                posterior = encoder x prior  ◄───┘
 z_1..z_n ─ * sigma ─ KLT^T ─(+)─ picture
                    └ residual network at 1/16, then 1/8 size ┘
```

With a Gaussian likelihood of variance beta, sigma = sqrt(beta): coefficients have units of the
noise of the operating point. For a Gaussian coefficient of variance S the rate-distortion optimal
test channel is then the ladder's own combination rule with a unit encoder scale and a prior
variance of S/beta - 1 (reverse water-filling). So the untrained network is a linear codec, and
training starts from there.

Source: the ladder is Flamich 3.2.2; slices, linear start and steering are ours.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Normal
from torch.nn import functional

from laconic.models.base import Context, Features, NormalLadder, Prior, combine, standard_normal
from laconic.models.sliced.config import SlicedConfig
from laconic.models.sliced.growth import (
    DecoderBranch,
    EncoderBranch,
    Refiner,
    checkerboard,
    gather,
)
from laconic.models.sliced.prior import LOG_SCALE_LIMIT, IntegerPrior, PriorNetworks
from laconic.networks.linear_transform import BlockTransform, block_covariance
from laconic.networks.residual import Head, OperatingPoint, SteeredStack


class SlicedEncoder(nn.Module):
    """Bottom-up: image -> location and scale of every coefficient in units of sigma."""

    def __init__(self, config: SlicedConfig) -> None:
        super().__init__()
        fine, coarse, embedding = config.fine_width, config.coarse_width, config.embedding
        self.fine_stride = config.block // 2
        self.fine = SteeredStack(3 * self.fine_stride**2, fine, config.fine_blocks[0], embedding)
        self.coarse = SteeredStack(4 * fine, coarse, config.coarse_blocks[0], embedding)
        self.head = Head(coarse, 2 * config.latents)
        self.branch = EncoderBranch(config) if config.encoder_widths else None

    def forward(self, x: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Return corrections to the location (image units) and to the log-scale."""
        fine = self.fine(functional.pixel_unshuffle(x, self.fine_stride), embedding)
        coarse = self.coarse(functional.pixel_unshuffle(fine, 2), embedding)
        loc, log_scale = self.head(functional.leaky_relu(coarse, 0.2)).chunk(2, dim=1)
        if self.branch is not None:
            more_loc, more_scale = self.branch(x, (fine, coarse), embedding)
            loc, log_scale = loc + more_loc, log_scale + more_scale
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
        self.branch = DecoderBranch(config) if config.decoder_widths else None

    def forward(self, latents: Tensor, sigma: Tensor, linear: Tensor, embedding: Tensor) -> Tensor:
        """`latents` in units of sigma, `linear` the linear picture around zero."""
        seen = torch.cat([torch.asinh(latents), torch.asinh(4 * sigma * latents)], dim=1)
        coarse = self.coarse(seen, embedding)
        lifted = self.up(coarse)
        if self.branch is not None:
            lifted = lifted + self.branch.lift(seen, coarse, embedding)
        fine = functional.pixel_shuffle(functional.leaky_relu(lifted, 0.2), 2)
        blocks = functional.pixel_unshuffle(linear, self.fine_stride)
        entered = torch.cat([fine, blocks.to(fine.dtype)], dim=1)
        fine = self.fine(entered, embedding)
        correction = self.out(functional.leaky_relu(fine, 0.2))
        picture = functional.pixel_shuffle(correction, self.fine_stride)
        if self.branch is not None:
            picture = picture + self.branch(entered, fine, embedding)
        return picture.to(linear.dtype)


class SlicedLadder(NormalLadder):
    """A ladder over KLT slices with one set of weights for every quality."""

    def __init__(self, config: SlicedConfig = SlicedConfig()) -> None:
        super().__init__()
        self.config = config
        self.levels = 1 + len(config.parts)
        self.stride = 2 * config.block
        self.beta_range = config.beta_range
        width, embedding = config.prior_width, config.embedding
        self.operating_point = OperatingPoint(config.beta_range, embedding, config.taste)
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
        refined = config.parts if config.refiner_width else []
        self.refiners = nn.ModuleList(Refiner(config, config.slices[k], p > 0) for k, p in refined)

    @property
    def has_taste(self) -> bool:
        """Whether `Condition.taste` steers the model."""
        return self.config.taste

    def prepare(self, batches: Iterable[Tensor]) -> None:
        """Fit the linear transform to the covariance of blocks of the pictures."""
        self.transform.fit(block_covariance(batches, self.config.block))

    def encode(self, x: Tensor, context: Context) -> Features:
        """Location and scale of every coefficient in units of sigma; the top's statistics."""
        embedding = self.operating_point(context.log_beta, context.condition.taste)
        sigma = context.expand(torch.exp(0.5 * context.log_beta))
        centred = x - 0.5
        correction, log_scale = self.encoder(centred, embedding)
        loc = (self.transform(centred) + correction) / sigma
        scale = torch.exp(log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT))
        hidden = self.top_encoder(functional.pixel_unshuffle(torch.asinh(loc), 2), embedding)
        top = self.top_head(functional.leaky_relu(hidden, 0.2))
        return [loc, scale, top]

    def prior(self, level: int, above: Sequence[Tensor], context: Context) -> Normal:
        """Standard normal at the top; each slice's prior depends on everything coded before it."""
        if level == 0:
            return standard_normal(context, self.config.top, self.stride)
        embedding = self.operating_point(context.log_beta, context.condition.taste)
        index, _ = self.config.parts[level - 1]
        loc, log_scale = self._prior_networks.correct(level, above, embedding).chunk(2, dim=1)
        variance = self._slice(self.transform.variance[None, :, None, None], index)
        start = 0.5 * (variance / context.expand(context.log_beta.exp())).clamp_min(1e-4).log()
        log_scale = start + log_scale
        scale = torch.exp(log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT))
        return Normal(self._part(loc, level), self._part(scale, level), validate_args=False)

    def free_parameters(self, features: Features) -> list[Tensor]:
        """The coefficients' location and log-scale, and the top's statistics."""
        loc, scale, top = features
        return [loc, scale.log(), top]

    def to_features(self, parameters: Sequence[Tensor]) -> Features:
        """Undo `free_parameters`; scales stay within the encoder's own bounds."""
        loc, log_scale, top = parameters
        return [loc, log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT).exp(), top]

    def preview_levels(self, reduction: float) -> int:
        """The levels of as many slices as have the coefficients of a picture of that size.

        A block of side b has 3 (b / reduction)² samples there; the coefficients are in the order
        of their variance.
        """
        samples = 3 * (self.config.block / reduction) ** 2
        complete = (self.config.slices[: k + 1] for k in range(len(self.config.slices)))
        slices = sum(sum(sizes) < samples for sizes in complete) + 1
        return 1 + sum(self.config.slice_passes[:slices])

    def exact_prior(self) -> Prior:
        """The same networks in integers."""
        return IntegerPrior(
            self.config, self.operating_point, self._prior_networks, self.transform.variance
        )

    @property
    def _prior_networks(self) -> PriorNetworks:
        stacks, heads = list(self.prior_stacks), list(self.prior_heads)
        return PriorNetworks(
            self.config, self.top_decoder, self.top_up, stacks, heads, list(self.refiners)
        )

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
        index, _ = self.config.parts[level - 1]
        loc, scale = (self._part(self._slice(map_, index), level) for map_ in (loc, scale))
        return combine(Normal(loc, scale, validate_args=False), prior)

    def likelihood(self, latents: Sequence[Tensor], context: Context) -> Distribution:
        """Gaussian of variance beta: the ELBO is rate + squared error / (2 beta)."""
        embedding = self.operating_point(context.log_beta, context.condition.taste)
        sigma = context.expand(torch.exp(0.5 * context.log_beta))
        coefficients = torch.cat(gather(latents[1:], self.config.slice_passes)[0], dim=1)
        linear = self.transform.inverse(sigma * coefficients)
        picture = linear + self.decoder(coefficients, sigma, linear, embedding) + 0.5
        return Normal(picture, sigma.expand_as(picture), validate_args=False)

    def _slice(self, tensor: Tensor, index: int) -> Tensor:
        """The channels of a slice, counted from 0."""
        start = sum(self.config.slices[:index])
        return tensor[:, start : start + self.config.slices[index]]

    def _part(self, tensor: Tensor, level: int) -> Tensor:
        """The places of a slice that a level codes."""
        index, turn = self.config.parts[level - 1]
        return checkerboard(tensor)[turn] if self.config.slice_passes[index] > 1 else tensor
