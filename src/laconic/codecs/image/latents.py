"""The one loop: a ladder of latents told by relative entropy coding, and heard.

Sender and receiver walk the same ladder; the receiver's walk lacks the posteriors.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Normal

from laconic.coding.queue.stream import QueueDecoder, QueueEncoder
from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy.base import Receipt, RelativeEntropyCoder
from laconic.distributions.rated import RatedNormal
from laconic.models.base import Context, NormalLadder, Prior


def tell(
    model: NormalLadder,
    exact_prior: Prior,
    coders: Sequence[RelativeEntropyCoder],
    x: Tensor,
    context: Context,
    stream: QueueEncoder,
    shared: SharedRandomness,
) -> tuple[list[Tensor], list[Receipt]]:
    """Write one draw of every latent of `x`, top first; return the draws and what they cost.

    Level k uses the substream `shared.child(k)`. `x`: `(batch, 3, height, width)` in [0, 1];
    `exact_prior` is what `model.exact_prior()` gave. Draws come in the model's own dtype.
    """
    features = model.encode(x, context)
    exact: list[Tensor] = []
    above: list[Tensor] = []
    receipts: list[Receipt] = []
    for level, coder in enumerate(coders):
        prior = exact_prior(level, exact, context)
        seen = Normal(prior.loc.to(x), prior.scale.to(x), validate_args=False)
        posterior = model.posterior(level, features, above, seen, context)
        draw, receipt = coder.encode(_plain(posterior), _plain(prior), stream, shared.child(level))
        exact.append(draw)
        above.append(draw.to(x))
        receipts.append(receipt)
    return above, receipts


def hear(
    exact_prior: Prior,
    coders: Sequence[RelativeEntropyCoder],
    context: Context,
    stream: QueueDecoder,
    shared: SharedRandomness,
) -> list[Tensor]:
    """Read what `tell` wrote; floats decide the draws' values, never how many bits are read."""
    exact: list[Tensor] = []
    for level, coder in enumerate(coders):
        prior = exact_prior(level, exact, context)
        exact.append(coder.decode(_plain(prior), stream, shared.child(level)))
    return [draw.to(context.log_beta) for draw in exact]


def _plain(distribution: Normal) -> Normal:
    """On the CPU, where coders work; floats as float32, whatever the network computes in."""
    if isinstance(distribution, RatedNormal):
        exact = (distribution.loc, distribution.scale, distribution.rates)
        return RatedNormal(*(part.cpu() for part in exact))
    loc = distribution.loc.to("cpu", torch.float32)
    scale = distribution.scale.to("cpu", torch.float32)
    return Normal(loc, scale, validate_args=False)
