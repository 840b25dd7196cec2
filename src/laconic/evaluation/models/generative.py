"""Bounds of the information between generated pictures and their latents: E <= I_gen <= G.

```
 z ~ m(z) ─ x ~ d(x | z)      E = E ln e(z | x) / m(z)   <=   I_gen   <=   G = E ln d(x | z) / q(x)
```

The source does not fix q(x). The upper bound holds for every q that sums to 1 or less over
pictures, and for every random q with a mean of at most p_gen(x), by Jensen's inequality. This
module has three:

- "mixture": q(x) = 1/K sum_k d(x | z_k) with K fixed z_k ~ m(z). It sums to 1. Exact if the
  decoder ignores z; otherwise G grows to about the information that K draws of z do not cover.
- "pixels": independent pixels with the frequencies of other generated pictures, for pictures of
  zeros and ones. It sums to 1.
- IWAE-k with the encoder as proposal: random, of mean p_gen(x). It is not a normalised q, so it is
  reported separately; usually it is by far the tightest.

The better of the first two is chosen on other pictures than those of G, so the choice adds no bias:
E[G] >= I_gen always.
Source: Alemi, appendix B.5, B.6 and C.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Independent
from torch.nn import functional

from laconic.errors import InputError
from laconic.evaluation.models.estimates import (
    DEFAULT,
    Estimate,
    Sampling,
    device,
    draw_pictures,
    estimate,
    generate,
    log_ratio,
    make_context,
    measuring,
    nats,
    split,
)
from laconic.evaluation.models.information import importance_bound
from laconic.models.base import Context, LatentVariableModel
from laconic.progress import Progress, silent

_TRIALS = 64
"""Most pictures on which q is chosen."""


@dataclass(frozen=True)
class Generative:
    """Bounds of I_gen(X; Z) under m(z) d(x | z), nats per picture.

    Attributes:
        lower: E; may be below 0, if the encoder does not fit the model's own pictures.
        upper: G with the density named in `density`.
        upper_iwae: G with IWAE-k as q; None if it was not measured.
        density: "mixture" or "pixels".
    """

    lower: Estimate
    upper: Estimate
    upper_iwae: Estimate | None
    density: str


@dataclass(frozen=True)
class _Drawn:
    """A batch of generated pictures: latents, pictures, ln d(x | z) in nats, and the context."""

    latents: Sequence[Tensor]
    x: Tensor
    log_likelihood: Tensor
    likelihood: Distribution
    context: Context


def generative(
    model: LatentVariableModel,
    size: Sequence[int],
    count: int,
    reference: int = 128,
    iwae_draws: int = 0,
    sampling: Sampling = DEFAULT,
    progress: Progress = silent,
) -> Generative:
    """E and G of a model.

    Args:
        model: a model from whose likelihood pictures can be drawn.
        size: height and width of the pictures.
        count: number of pictures in the means E and G.
        reference: K, number of draws of z in q; without independent Bernoulli pixels the cost is
            count x K passes of the decoder.
        iwae_draws: k of the third bound; 0 leaves it out.
        sampling: batch, seed and operating point.
        progress: called after every batch.

    Raises:
        UnavailableMeasureError: no pictures can be drawn.
        InputError: a number is out of range, or the model's results are not finite.
    """
    if min(count, reference) < 2:
        raise InputError(f"{count} pictures and {reference} references: give 2 or more of each")
    with measuring(model, sampling.seed):
        density, name = _choose(model, size, reference, sampling)
        below, above, above_iwae, done = [], [], [], 0
        for drawn in _draw(model, size, count, sampling):
            below.append(log_ratio(model, drawn.x, drawn.latents, drawn.context))
            above.append(drawn.log_likelihood - density(drawn.x))
            if iwae_draws:
                bound = importance_bound(model, drawn.x, drawn.context, iwae_draws)
                above_iwae.append(drawn.log_likelihood - bound)
            done += len(drawn.x)
            progress(done, count)
    return Generative(
        estimate(torch.cat(below), "generative lower bound E"),
        estimate(torch.cat(above), "generative upper bound G"),
        estimate(torch.cat(above_iwae), "generative IWAE bound") if iwae_draws else None,
        name,
    )


def _draw(
    model: LatentVariableModel, size: Sequence[int], count: int, sampling: Sampling
) -> Iterator[_Drawn]:
    """Generated pictures, batch by batch."""
    like = _like(model)
    for first in range(0, count, sampling.batch):
        number = min(sampling.batch, count - first)
        context = make_context(model, size, like, number, sampling.beta)
        latents = generate(model, context)
        likelihood = model.likelihood(latents, context)
        x = draw_pictures(likelihood)
        yield _Drawn(latents, x, nats(likelihood, x), likelihood, context)


def _like(model: LatentVariableModel) -> Tensor:
    """An empty tensor of the weights' type and device."""
    for parameter in model.parameters():
        return parameter.detach().new_empty(0)
    return torch.empty(0, device=device(model))


def _choose(
    model: LatentVariableModel, size: Sequence[int], reference: int, sampling: Sampling
) -> tuple["_Mixture | _Pixels", str]:
    """The normalised density that is best on pictures other than those of G, and its name."""
    drawn = list(_draw(model, size, reference, sampling))
    mixture = _Mixture(model, drawn, sampling)
    x = torch.cat([one.x for one in drawn])
    if not ((x == 0) | (x == 1)).all():
        return mixture, "mixture"
    pixels = _Pixels(x)
    trial = x[:_TRIALS]
    if mixture.without_own(trial).mean() >= pixels.without_own(trial).mean():
        return mixture, "mixture"
    return pixels, "pixels"


class _Mixture:
    """q(x) = 1/K sum_k d(x | z_k).

    Args:
        model: the model with the decoder d.
        drawn: batches of K pictures and their latents, which are those of the mixture.
        sampling: batch and operating point.
    """

    def __init__(
        self, model: LatentVariableModel, drawn: Sequence[_Drawn], sampling: Sampling
    ) -> None:
        self.model, self.sampling = model, sampling
        self.latents = [
            torch.cat(level) for level in zip(*(one.latents for one in drawn), strict=True)
        ]
        logits = [_logits(one.likelihood) for one in drawn]
        known = [one for one in logits if one is not None]
        self.logits = torch.cat(known) if len(known) == len(logits) else None

    def __call__(self, x: Tensor) -> Tensor:
        """Return ln q(x), `(batch,)`."""
        table = self._table(x)
        return table.logsumexp(1) - math.log(table.shape[1])

    def without_own(self, x: Tensor) -> Tensor:
        """For the first pictures of these latents: ln q(x) without the picture's own latent."""
        table = self._table(x)
        table.fill_diagonal_(-math.inf)
        return table.logsumexp(1) - math.log(table.shape[1] - 1)

    def _table(self, x: Tensor) -> Tensor:
        """Return ln d(x | z_k), `(batch, K)` in nats and float64."""
        if self.logits is not None:
            inked = x.flatten(1).double() @ self.logits.T
            return inked - functional.softplus(self.logits).sum(1)
        count = len(self.latents[0])
        pairs = torch.arange(len(x) * count, device=x.device)
        parts = [self._pairs(x, part) for part in split(pairs, self.sampling.batch)]
        return torch.cat(parts).reshape(len(x), count)

    def _pairs(self, x: Tensor, pairs: Tensor) -> Tensor:
        count = len(self.latents[0])
        like = _like(self.model)
        context = make_context(self.model, x.shape[-2:], like, len(pairs), self.sampling.beta)
        latents = [level[pairs % count] for level in self.latents]
        return nats(self.model.likelihood(latents, context), x[pairs // count])


def _logits(likelihood: Distribution) -> Tensor | None:
    """Logits of independent Bernoulli pixels, `(batch, pixels)` in float64; None for others."""
    inner = likelihood.base_dist if isinstance(likelihood, Independent) else likelihood
    if not isinstance(inner, Bernoulli):
        return None
    logits: Tensor = inner.logits.flatten(1).double()
    return logits


class _Pixels:
    """Independent pixels; half a picture of each value is added, so no frequency is 0 or 1.

    Args:
        x: generated pictures of zeros and ones, `(count, channels, height, width)`.
    """

    def __init__(self, x: Tensor) -> None:
        self.ink, self.count = x.double().sum(0) + 0.5, len(x) + 1

    def __call__(self, x: Tensor) -> Tensor:
        """Return ln q(x), `(batch,)`."""
        return _bernoulli(x, self.ink / self.count)

    def without_own(self, x: Tensor) -> Tensor:
        """For counted pictures: ln q(x), each as if it had not been counted."""
        return _bernoulli(x, (self.ink - x) / (self.count - 1))


def _bernoulli(x: Tensor, share: Tensor) -> Tensor:
    return (torch.xlogy(x, share) + torch.xlogy(1 - x, 1 - share)).flatten(1).sum(1)
