"""The latents of a picture as bits, by relative entropy coding.

Sender and receiver walk the same ladder (`models.walk`); the receiver has no posteriors.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import Normal

from laconic.coding.queue.stream import QueueDecoder, QueueEncoder
from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy.base import Receipt, RelativeEntropyCoder
from laconic.distributions.rated import RatedNormal
from laconic.models.base import Context, NormalLadder, Prior, PriorWalk
from laconic.models.walk import walk


def sender_walk(
    model: NormalLadder,
    exact_prior: Prior,
    x: Tensor,
    context: Context,
    step: Callable[[int, Normal, Normal], Tensor],
) -> list[Tensor]:
    """Walk the ladder with exact priors and the posteriors of `x`.

    Args:
        model: the ladder.
        exact_prior: what `model.exact_prior()` returned.
        x: `(batch, channels, *shape)`.
        context: of `x`.
        step: level, exact prior and posterior -> the latent, in the precision of exact priors.

    Returns:
        The latents, top first, in the dtype of `x`.
    """
    features = model.encode(x, context)
    above: list[Tensor] = []

    def with_posterior(level: int, prior: Normal) -> Tensor:
        rounded = Normal(prior.loc.to(x), prior.scale.to(x), validate_args=False)
        latent = step(level, prior, model.posterior(level, features, above, rounded, context))
        above.append(latent.to(x))
        return latent

    walk(PriorWalk(model.levels, exact_prior, context), with_posterior)
    return above


def encode_latents(
    model: NormalLadder,
    exact_prior: Prior,
    coders: Sequence[RelativeEntropyCoder],
    x: Tensor,
    context: Context,
    stream: QueueEncoder,
    shared: SharedRandomness,
) -> tuple[list[Tensor], list[Receipt]]:
    """Write one draw of every latent of `x`, top first.

    Args:
        model: the ladder.
        exact_prior: what `model.exact_prior()` returned.
        coders: one per level; level k uses the substream `shared.child(k)`.
        x: `(batch, 3, height, width)` in [0, 1].
        context: of `x`.
        stream: where the bits go.
        shared: randomness that the receiver has too.

    Returns:
        The draws, in the dtype of `x`, and what each level cost.
    """
    receipts: list[Receipt] = []

    def step(level: int, prior: Normal, posterior: Normal) -> Tensor:
        draw, receipt = coders[level].encode(
            _plain(posterior), _plain(prior), stream, shared.child(level)
        )
        receipts.append(receipt)
        return draw

    return sender_walk(model, exact_prior, x, context, step), receipts


def decode_latents(
    exact_prior: Prior,
    coders: Sequence[RelativeEntropyCoder],
    context: Context,
    stream: QueueDecoder,
    shared: SharedRandomness,
) -> list[Tensor]:
    """Read what `encode_latents` wrote; floats decide values, never how many bits are read."""

    def step(level: int, prior: Normal) -> Tensor:
        return coders[level].decode(_plain(prior), stream, shared.child(level))

    draws = walk(PriorWalk(len(coders), exact_prior, context), step)
    return [draw.to(context.log_beta) for draw in draws]


def _plain(distribution: Normal) -> Normal:
    """On the CPU, where coders work; floats as float32, whatever the network computes in."""
    if isinstance(distribution, RatedNormal):
        exact = (distribution.loc, distribution.scale, distribution.rates)
        return RatedNormal(*(part.cpu() for part in exact))
    loc = distribution.loc.to("cpu", torch.float32)
    scale = distribution.scale.to("cpu", torch.float32)
    return Normal(loc, scale, validate_args=False)
