"""Pictures to latents to bits: the sender of lossy files.

Sender and receiver (`codecs.image.decoder`) walk the same ladder (`models.walk`); the receiver has
no posteriors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from torch import Tensor
from torch.distributions import Normal

from laconic.codecs.image.decoder import to_coder
from laconic.codecs.image.refinement import refine
from laconic.coding.queue.stream import QueueEncoder
from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy.base import Receipt, RelativeEntropyCoder
from laconic.models.base import Context, Features, NormalLadder, Prior, PriorWalk
from laconic.models.walk import walk
from laconic.progress import Progress

LAYER_BYTES: Final = 4096
"""A layer ends with the first level that brings it to this size: its own section takes some ten
bytes."""


@dataclass(frozen=True)
class Sender:
    """What the sender knows of a tile.

    Attributes:
        x: the padded pixels, `(1, 3, height, width)` in [0, 1].
        context: of `x`.
        features: what the model's encoder returned.
    """

    x: Tensor
    context: Context
    features: Features

    def refine(
        self, model: NormalLadder, taste: int | None, steps: int, progress: Progress
    ) -> Self:
        """The same with refined features; see `codecs.image.refinement`."""
        found = refine(model, self.x, self.features, self.context, taste, steps, progress)
        return replace(self, features=found)


class LayerWriter:
    """The streams of one tile, one for each layer of levels.

    Args:
        sizes: levels of each layer; empty: a layer ends once it has `least_bytes`.
        least_bytes: see above; 0: each level is a layer.
    """

    def __init__(self, sizes: Sequence[int] = (), least_bytes: int = LAYER_BYTES) -> None:
        self._given, self._least_bytes = sizes, least_bytes
        self._streams: list[QueueEncoder] = []
        self._sizes: list[int] = []

    def stream(self, level: int) -> QueueEncoder:
        """Where `level` is written; called once per level, top first."""
        if level == 0 or self._is_full():
            self._streams.append(QueueEncoder())
            self._sizes.append(0)
        self._sizes[-1] += 1
        return self._streams[-1]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Levels of each layer so far."""
        return tuple(self._sizes)

    def finish(self) -> list[bytes]:
        """The bytes of each layer."""
        return [stream.finish() for stream in self._streams]

    def _is_full(self) -> bool:
        if self._given:
            return self._sizes[-1] == self._given[len(self._sizes) - 1]
        return self._streams[-1].bits >= 8 * self._least_bytes


def sender_walk(
    model: NormalLadder,
    exact_prior: Prior,
    features: Features,
    context: Context,
    step: Callable[[int, Normal, Normal], Tensor],
) -> list[Tensor]:
    """Walk the ladder with exact priors and the posteriors of a picture.

    Args:
        model: the ladder.
        exact_prior: what `model.exact_prior()` returned.
        features: what `model.encode` returned of the picture.
        context: of the picture.
        step: level, exact prior and posterior -> the latent, in the precision of exact priors.

    Returns:
        The latents, top first, in the dtype of the context.
    """
    above: list[Tensor] = []
    like = context.log_beta

    def with_posterior(level: int, prior: Normal) -> Tensor:
        rounded = Normal(prior.loc.to(like), prior.scale.to(like), validate_args=False)
        latent = step(level, prior, model.posterior(level, features, above, rounded, context))
        above.append(latent.to(like))
        return latent

    walk(PriorWalk(model.levels, exact_prior, context), with_posterior)
    return above


def encode_latents(
    model: NormalLadder,
    exact_prior: Prior,
    coders: Sequence[RelativeEntropyCoder],
    features: Features,
    context: Context,
    stream: Callable[[int], QueueEncoder],
    shared: SharedRandomness,
) -> tuple[list[Tensor], list[Receipt]]:
    """Write one draw of every latent of a picture, top first.

    Args:
        model: the ladder.
        exact_prior: what `model.exact_prior()` returned.
        coders: one per level; level k uses the substream `shared.child(k)`.
        features: what `model.encode` returned of the picture.
        context: of the picture.
        stream: level -> where its bits go.
        shared: randomness that the receiver has too.

    Returns:
        The draws, in the dtype of the context, and what each level cost.
    """
    receipts: list[Receipt] = []

    def step(level: int, prior: Normal, posterior: Normal) -> Tensor:
        draw, receipt = coders[level].encode(
            to_coder(posterior), to_coder(prior), stream(level), shared.child(level)
        )
        receipts.append(receipt)
        return draw

    return sender_walk(model, exact_prior, features, context, step), receipts
