"""The one loop: a ladder of latents told by relative entropy coding, and heard.

Sender and receiver walk the same ladder; the receiver's walk lacks the posteriors.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Normal

from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy.base import Receipt, RelativeEntropyCoder
from laconic.coding.stream import QueueDecoder, QueueEncoder
from laconic.models.base import Context, LatentVariableModel


def tell(
    model: LatentVariableModel,
    coders: Sequence[RelativeEntropyCoder],
    x: Tensor,
    context: Context,
    stream: QueueEncoder,
    shared: SharedRandomness,
) -> tuple[list[Tensor], list[Receipt]]:
    """Write one draw of every latent of `x`, top first; return the draws and what they cost.

    Level k uses the substream `shared.child(k)`. `x`: `(batch, 3, height, width)` in [0, 1].
    """
    features = model.encode(x, context)
    above: list[Tensor] = []
    receipts: list[Receipt] = []
    for level, coder in enumerate(coders):
        prior = model.prior(level, above, context)
        posterior = model.posterior(level, features, above, prior, context)
        draw, receipt = coder.encode(_plain(posterior), _plain(prior), stream, shared.child(level))
        above.append(draw.to(x))
        receipts.append(receipt)
    return above, receipts


def hear(
    model: LatentVariableModel,
    coders: Sequence[RelativeEntropyCoder],
    context: Context,
    stream: QueueDecoder,
    shared: SharedRandomness,
) -> list[Tensor]:
    """Read what `tell` wrote; floats decide the draws' values, never how many bits are read."""
    above: list[Tensor] = []
    for level, coder in enumerate(coders):
        prior = model.prior(level, above, context)
        draw = coder.decode(_plain(prior), stream, shared.child(level))
        above.append(draw.to(context.log_beta))
    return above


def _plain(distribution: Normal) -> Normal:
    """In float32 on the CPU, where coders work, whatever the network computes in."""
    loc = distribution.loc.to("cpu", torch.float32)
    scale = distribution.scale.to("cpu", torch.float32)
    return Normal(loc, scale, validate_args=False)
