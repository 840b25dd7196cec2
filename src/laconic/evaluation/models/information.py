"""The information of a model's latents on the data: rate, distortion, evidence, mutual information.

```
 H - D  <=  I(X; Z)  <=  R            leave-in <= I(X; Z) <= leave-one-out
 -ln p(x)  <=  IWAE-k  <=  IWAE-1 = -ELBO = D + R
```

Everything is in nats per image, with a standard error over images.
Source: Alemi, section 2 and appendix B; Burda et al. 2016 (IWAE); Poole et al. 2019, section 2
(the two mixture bounds).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, TransformedDistribution

from laconic.distributions.divergence import rate
from laconic.errors import InputError
from laconic.evaluation.models.estimates import (
    DEFAULT,
    Estimate,
    Sampling,
    UnavailableMeasureError,
    batches,
    check_images,
    estimate,
    log_volume,
    measuring,
    nats,
)
from laconic.models.base import Context, LatentVariableModel
from laconic.progress import Progress, silent


@dataclass(frozen=True)
class RateDistortion:
    """A point of the plane.

    Attributes:
        rate: R, nats per image.
        distortion: D, nats per image.
        negative_elbo: D + R, nats per image, with its own error, because D and R are correlated.
    """

    rate: Estimate
    distortion: Estimate
    negative_elbo: Estimate


def rate_distortion(
    model: LatentVariableModel,
    images: Tensor,
    draws: int = 1,
    sampling: Sampling = DEFAULT,
    progress: Progress = silent,
) -> RateDistortion:
    """R and D of a model on images.

    Formula: R = E ln e(z | x) / m(z), in closed form at levels where both are normal;
    D = -E ln d(x | z).
    Source: Alemi, eq. 2 and 3.

    Args:
        model: any.
        images: `(n, channels, height, width)`.
        draws: of z per image; they are averaged before the error is taken over images.
        sampling: batch, seed and operating point.
        progress: called after every batch.

    Raises:
        InputError: impossible images or draws, or a broken model.
    """
    _check_draws(draws, "draws")
    rates, distortions = [], []
    with measuring(model, sampling.seed):
        for x, context in batches(model, images, sampling, progress):
            features = model.encode(x, context)
            rate_nats = torch.zeros(len(x), dtype=torch.float64, device=x.device)
            distortion_nats = torch.zeros_like(rate_nats)
            for _ in range(draws):
                rungs, state = model.draw_latents(features, context)
                for rung in rungs:
                    rate_nats += rate(rung.posterior, rung.prior, rung.latent).double()
                distortion_nats -= nats(state.likelihood(), x)
            rates.append(rate_nats / draws)
            distortions.append(distortion_nats / draws)
    r, d = torch.cat(rates), torch.cat(distortions)
    return RateDistortion(
        estimate(r, "rate"), estimate(d, "distortion"), estimate(r + d, "negative ELBO")
    )


def iwae(
    model: LatentVariableModel,
    images: Tensor,
    draws: int,
    sampling: Sampling = DEFAULT,
    progress: Progress = silent,
) -> Estimate:
    """Importance-weighted upper bound of -ln p(x).

    Its mean falls with more draws and converges to -ln p(x). Only one draw of a batch is in memory
    at a time.
    Formula: -ln 1/k sum_i m(z_i) d(x | z_i) / e(z_i | x), z_i ~ e(z | x).
    Source: Burda et al. 2016, eq. 8.

    Args:
        model: any.
        images: `(n, channels, height, width)`.
        draws: k.
        sampling: batch, seed and operating point.
        progress: called after every batch.

    Raises:
        InputError: impossible images or draws, or a broken model.
    """
    _check_draws(draws, "IWAE draws")
    bounds = []
    with measuring(model, sampling.seed):
        for x, context in batches(model, images, sampling, progress):
            bounds.append(-importance_bound(model, x, context, draws))
    return estimate(torch.cat(bounds), "IWAE bound")


def importance_bound(model: LatentVariableModel, x: Tensor, context: Context, draws: int) -> Tensor:
    """One stochastic lower bound of ln p(x) per image, `(batch,)` in nats; see `iwae`."""
    features = model.encode(x, context)
    total = torch.full((len(x),), -math.inf, dtype=torch.float64, device=x.device)
    for _ in range(draws):
        rungs, state = model.draw_latents(features, context)
        weight = nats(state.likelihood(), x)
        for rung in rungs:
            weight += nats(rung.prior, rung.latent) - nats(rung.posterior, rung.latent)
        total = torch.logaddexp(total, weight)
    return total - math.log(draws)


@dataclass(frozen=True)
class Information:
    """Bounds of the mutual information I(X; Z) under the encoder, and of the marginal's gap.

    Attributes:
        lower: leave-in bound, nats. At most ln N. It is also, without bias, the information about
            which of these N images was encoded.
        upper: leave-one-out bound, nats; the rate is another upper bound, and it is smaller if
            images share little.
        gap_lower: R minus the upper bound, nats; a negative value is no information.
        gap_upper: R minus the lower bound, nats. It is also, without bias, KL(mixture of these N
            posteriors || m(z)).
        images: N.
    """

    lower: Estimate
    upper: Estimate
    gap_lower: Estimate
    gap_upper: Estimate
    images: int


def information(
    model: LatentVariableModel,
    images: Tensor,
    draws: int = 1,
    sampling: Sampling = DEFAULT,
    progress: Progress = silent,
) -> Information:
    """Bounds of I(X; Z), with the mixture of all images' posteriors as the aggregate posterior.

    For images that are independent draws of the data, the means bound the information of the
    data's source. Errors are those of independent terms: each image is also in the mixtures of the
    others, but this changes the mean only in second order.
    Formula: E ln e(z_i | x_i) - ln 1/N sum_j e(z_i | x_j), below; the sum over the N - 1 others,
    above; KL(e(z) || m(z)) = R - I.
    Source: Poole et al. 2019, eq. 12 and 13; Alemi, section 2 and appendix B.3.

    Args:
        model: of one level.
        images: N of them, `(n, channels, height, width)`; the cost is N² base densities.
        draws: of z per image.
        sampling: batch, seed and operating point.
        progress: called after every batch.

    Raises:
        UnavailableMeasureError: the model has several levels.
        InputError: impossible images or draws, or a broken model.
    """
    _check_draws(draws, "information draws")
    check_images(model, images)
    if model.levels != 1:
        raise UnavailableMeasureError(
            f"mutual information: the model has {model.levels} levels; only one can be measured"
        )
    count = len(images)
    # At least two batches: a transform of one batch must not look like one shared by all.
    halves = Sampling(min(sampling.batch, -(-count // 2)), sampling.seed, sampling.beta)
    with measuring(model, sampling.seed):
        posteriors, priors = [], []
        for x, context in batches(model, images, halves):
            priors.append(model.prior(0, [], context))
            features = model.encode(x, context)
            posteriors.append(model.posterior(0, features, [], priors[-1], context))
        terms = _terms(posteriors, priors, count, draws, progress)
    lower, upper, gap_lower, gap_upper = terms.unbind(1)
    return Information(
        estimate(lower, "information, lower bound"),
        estimate(upper, "information, upper bound"),
        estimate(gap_lower, "aggregate gap, lower bound"),
        estimate(gap_upper, "aggregate gap, upper bound"),
        count,
    )


def _terms(
    posteriors: Sequence[Distribution],
    priors: Sequence[Distribution],
    count: int,
    draws: int,
    progress: Progress,
) -> Tensor:
    """Lower, upper, gap below, gap above for every image, `(n, 4)` in nats."""
    aggregate = Aggregate(posteriors)
    terms, first = [], 0
    for done, (posterior, prior) in enumerate(zip(posteriors, priors, strict=True), 1):
        total: Tensor | None = None
        for _ in range(draws):
            z = posterior.sample()
            table = aggregate(z)
            rows = torch.arange(len(z), device=z.device)
            own = table[rows, first + rows]
            mixture = table.logsumexp(1) - math.log(count)
            table[rows, first + rows] = -math.inf
            others = table.logsumexp(1) - math.log(count - 1)
            marginal = nats(prior, z)
            drawn = torch.stack(
                [own - mixture, own - others, others - marginal, mixture - marginal], dim=1
            )
            total = drawn if total is None else total + drawn
        assert total is not None
        terms.append(total / draws)
        first += len(rows)
        progress(done, len(posteriors))
    return torch.cat(terms)


class Aggregate:
    """Densities of latents under every image's posterior.

    For normals, or normals behind the same transforms, a latent is transformed back once, and two
    matrix products give all densities.

    Args:
        posteriors: one per batch of images, N images in all.
    """

    def __init__(self, posteriors: Sequence[Distribution]) -> None:
        self.posteriors = posteriors
        self.transforms, bases = _shared(posteriors)
        self.normal: tuple[Tensor, Tensor, Tensor] | None = None
        if bases is not None:
            loc = torch.cat([base.loc.flatten(1) for base in bases]).double()
            scale = torch.cat([base.scale.flatten(1) for base in bases]).double()
            precision = scale.pow(-2)
            constant = -0.5 * (loc.square() * precision + math.log(2 * math.pi)) - scale.log()
            self.normal = (constant.sum(1), (loc * precision).T, 0.5 * precision.T)

    def __call__(self, z: Tensor) -> Tensor:
        """`(batch, ...)` -> ln e(z_i | x_j), `(batch, N)` in nats and float64."""
        if self.normal is None:
            return torch.stack([self._one(latent) for latent in z])
        volume, point = torch.zeros(len(z), dtype=torch.float64, device=z.device), z
        for transform in reversed(self.transforms):
            before = transform.inv(point)
            volume += log_volume(transform, before, point).double()
            point = before
        constant, linear, square = self.normal
        flat = point.flatten(1).double()
        return constant + flat @ linear - flat.square() @ square - volume[:, None]

    def _one(self, latent: Tensor) -> Tensor:
        """One latent under all posteriors, `(N,)`, by their own densities."""
        parts = []
        for posterior in self.posteriors:
            count = (posterior.batch_shape + posterior.event_shape)[0]
            parts.append(nats(posterior, latent.expand(count, *latent.shape).contiguous()))
        return torch.cat(parts)


def _shared(
    posteriors: Sequence[Distribution],
) -> tuple[Sequence[torch.distributions.Transform], list[Normal] | None]:
    """The transforms that all posteriors share, and the normals behind them; None otherwise."""
    transforms = [
        one.transforms if isinstance(one, TransformedDistribution) else [] for one in posteriors
    ]
    bases = [
        one.base_dist if isinstance(one, TransformedDistribution) else one for one in posteriors
    ]
    plain = [base.base_dist if isinstance(base, Independent) else base for base in bases]
    normals = [base for base in plain if isinstance(base, Normal)]
    alike = all(one == transforms[0] for one in transforms)
    return transforms[0], normals if alike and len(normals) == len(posteriors) else None


def _check_draws(draws: int, name: str) -> None:
    if draws < 1:
        raise InputError(f"{name}: {draws} are too few; give 1 or more")
