"""Means with standard errors, and one latent-variable model walked both ways, as measurements do.

```
 inference   x ─ encode ─ z ~ e(z | x), level by level ─► log m(z), log e(z | x), log d(x | z)
 generation  z ~ m(z), level by level ─ x ~ d(x | z) ───► the same three
```
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, Transform

from laconic.distributions.divergence import density
from laconic.errors import InputError
from laconic.models.base import Condition, Context, LatentVariableModel
from laconic.models.walk import walk
from laconic.progress import Progress, silent
from laconic.training.modes import evaluation


class UnavailableMeasureError(InputError):
    """This model cannot give this measure, whatever the data."""


class BrokenMeasureError(InputError):
    """A measure came out as infinite or not a number."""


@dataclass(frozen=True)
class Estimate:
    """A mean, and how far it may be from the truth.

    Attributes:
        value: the mean.
        error: its standard error: one standard deviation of the mean over fresh images and draws.
    """

    value: float
    error: float

    def plain(self) -> dict[str, float]:
        """As JSON-able data."""
        return {"value": self.value, "error": self.error}


@dataclass(frozen=True)
class Sampling:
    """How a measurement is taken; the same settings give the same numbers.

    Attributes:
        batch: images seen at once.
        seed: of all draws; torch's own generators are left as they were.
        beta: operating point, for models that serve many; None means the smallest.
    """

    batch: int = 100
    seed: int = 0
    beta: float | None = None

    def __post_init__(self) -> None:
        """Raise `InputError` for a batch or a beta that cannot be."""
        if self.batch < 1:
            raise InputError(f"a batch of {self.batch} images: give 1 or more")
        if self.beta is not None and not self.beta > 0:
            raise InputError(f"beta is {self.beta}: it must be above 0")


DEFAULT = Sampling()
"""Batches of 100, seed 0."""


def estimate(values: Tensor, name: str) -> Estimate:
    """Mean of independent values and its standard error.

    Formula: mean of v, sqrt(sum (v - mean)² / (n - 1) / n).

    Args:
        values: `(n,)`, one per image, n at least 2.
        name: of the measure, for the message.

    Raises:
        BrokenMeasureError: a value is not finite.
        InputError: fewer than two values, which do not show the error.
    """
    if len(values) < 2:
        raise InputError(f"{name}: {len(values)} images give no standard error; give 2 or more")
    broken = int((~torch.isfinite(values)).sum())
    if broken:
        raise BrokenMeasureError(
            f"{name}: {broken} of {len(values)} values are infinite or not a number; "
            "the model's weights are broken, or an image is impossible under it"
        )
    exact = values.double()
    return Estimate(float(exact.mean()), float(exact.std()) / math.sqrt(len(exact)))


@contextmanager
def measuring(model: LatentVariableModel, seed: int) -> Iterator[None]:
    """No gradients, evaluation mode, draws of this seed; afterwards all is as it was."""
    used = device(model)
    devices = [used] if used.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad(), evaluation(model):
        torch.manual_seed(seed)
        yield


def device(model: LatentVariableModel) -> torch.device:
    """Where the model's weights are; the CPU for a model without any."""
    for parameter in model.parameters():
        return parameter.device
    return torch.device("cpu")


def check_images(model: LatentVariableModel, images: Tensor) -> None:
    """Raise `InputError` unless these are two or more pictures that the model can take."""
    if images.dim() != 4 or not images.is_floating_point() or len(images) < 2:
        raise InputError(
            f"images of shape {tuple(images.shape)} and type {images.dtype}: measurements take two "
            "or more, (count, channels, height, width), as floats"
        )
    if not torch.isfinite(images).all():
        raise InputError("images: some pixels are infinite or not a number")
    height, width = images.shape[-2:]
    if height % model.stride or width % model.stride:
        raise InputError(
            f"images of {height} x {width} pixels: the model takes multiples of {model.stride}"
        )


def make_context(
    model: LatentVariableModel, size: Sequence[int], like: Tensor, count: int, beta: float | None
) -> Context:
    """What both sides know of `count` images of `size` rows and columns.

    Args:
        model: any.
        size: height and width.
        like: gives type and device.
        count: images.
        beta: operating point; None means the smallest of the model's range.
    """
    log_beta = math.log(model.beta_range[0] if beta is None else beta)
    return Context(tuple(size), Condition(like.new_full((count,), log_beta)))


def batches(
    model: LatentVariableModel,
    images: Tensor,
    sampling: Sampling,
    progress: Progress = silent,
) -> Iterator[tuple[Tensor, Context]]:
    """Images, `batch` at a time on the model's device, with their contexts."""
    check_images(model, images)
    parts = split(images, sampling.batch)
    for done, part in enumerate(parts, 1):
        x = part.to(device(model))
        yield x, make_context(model, x.shape[-2:], x, len(x), sampling.beta)
        progress(done, len(parts))


def split(tensor: Tensor, size: int) -> tuple[Tensor, ...]:
    """Parts of `size` rows; the last may have fewer."""
    parts: tuple[Tensor, ...] = tensor.split(size)  # type: ignore[no-untyped-call]
    return parts


def log_volume(transform: Transform, before: Tensor, after: Tensor) -> Tensor:
    """Log of how much a transform spreads volumes out, `(batch,)`; its axes may be any."""
    log_determinant: Tensor = transform.log_abs_det_jacobian(before, after)  # type: ignore[no-untyped-call]
    return log_determinant.reshape(len(before), -1).sum(1)


def generate(model: LatentVariableModel, context: Context) -> list[Tensor]:
    """Draw every level once, top first: z ~ m(z)."""
    return walk(model.begin(context), lambda level, prior: prior.sample())


def log_ratio(
    model: LatentVariableModel, x: Tensor, latents: Sequence[Tensor], context: Context
) -> Tensor:
    """Return ln e(z | x) - ln m(z) of given latents, `(batch,)` in nats and float64."""
    features, state = model.encode(x, context), model.begin(context)
    ratios: list[Tensor] = []

    def step(level: int, prior: Distribution) -> Tensor:
        posterior = state.posterior(level, features, prior)
        ratios.append(nats(posterior, latents[level]) - nats(prior, latents[level]))
        return latents[level]

    walk(state, step)
    return sum(ratios, torch.zeros(len(x), dtype=torch.float64, device=x.device))


def nats(distribution: Distribution, value: Tensor) -> Tensor:
    """Log density of every example, `(batch,)` in float64."""
    return density(distribution, value).double()


def draw_pictures(likelihood: Distribution) -> Tensor:
    """Pictures from the decoder: x ~ d(x | z).

    Raises:
        UnavailableMeasureError: the likelihood has only probabilities.
    """
    try:
        return likelihood.sample()
    except NotImplementedError as error:
        raise UnavailableMeasureError(
            f"{type(likelihood).__name__}: no pictures can be drawn from this likelihood; "
            "measure a model whose likelihood has `sample`"
        ) from error
