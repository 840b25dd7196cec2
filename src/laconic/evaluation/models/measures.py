"""All measures of one model on one set of images, in the form of a point of the plane.

A measure that the model does not allow is an absent key: information and AIS of models with several
levels, AIS of latents without a gradient, generative bounds of likelihoods without draws. So is a
measure that was turned off.
"""

import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from laconic.errors import ConfigError
from laconic.evaluation.images.amortisation import amortisation_gap
from laconic.evaluation.models.annealed import Annealing, annealed
from laconic.evaluation.models.estimates import (
    DEFAULT,
    Estimate,
    Sampling,
    UnavailableMeasureError,
    check_images,
    device,
    draw_pictures,
    generate,
    make_context,
    measuring,
    split,
)
from laconic.evaluation.models.generative import generative
from laconic.evaluation.models.information import information, iwae, rate_distortion
from laconic.models.base import LatentVariableModel
from laconic.progress import Progress
from laconic.training.refinement import Refinement

Measures = dict[str, dict[str, Any]]
"""Measures by name; each has `value`, `error` and the settings of its estimator.

`information_nats` has `lower` and `upper` with their own errors. `aggregate_gap_nats` is the upper
bound R - I_lower, and has the lower bound as `lower`.
"""

Watch = Callable[[str, int, int], None]
"""Called with a measure's name, the number of its finished batches and of all its batches."""


def unwatched(name: str, done: int, total: int) -> None:
    """Report no progress."""


@dataclass(frozen=True)
class MeasureConfig:
    """The measures and their accuracy; 0 turns a measure off.

    Attributes:
        draws: draws of z per image for rate and distortion, which are always measured.
        train_images: training images for rate and distortion on them.
        iwae_draws: k of IWAE.
        iwae_images: images for IWAE.
        ais_steps: bridges of annealed importance sampling.
        ais_chains: chains per image.
        ais_leapfrogs: steps of one Hamiltonian move.
        ais_start: "posterior" or "marginal".
        ais_images: images for AIS.
        refine_steps: steps of the search for every image's posterior, for the amortisation gap.
        refine_images: images for the amortisation gap.
        information_images: N of the mixture bounds, which are at most ln N.
        generated: pictures for the generative bounds.
        reference: draws of z in the density of the generative upper bound.
        batch: images at once.
        seed: seed of every draw, and of the selection of images.
        beta: operating point of models that serve many; 0 means the smallest.
    """

    draws: int = 1
    train_images: int = 10_000
    iwae_draws: int = 64
    iwae_images: int = 1_000
    ais_steps: int = 0
    ais_chains: int = 8
    ais_leapfrogs: int = 4
    ais_start: str = "posterior"
    ais_images: int = 64
    refine_steps: int = 0
    refine_images: int = 64
    information_images: int = 1_000
    generated: int = 256
    reference: int = 128
    batch: int = 100
    seed: int = 0
    beta: float = 0.0

    def __post_init__(self) -> None:
        """Raise `ConfigError` for impossible settings."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, str) and value < 0:
                raise ConfigError(f"measure.{field.name}: {value} is below 0")
        if min(self.draws, self.batch) < 1:
            raise ConfigError("measure.draws and measure.batch must be 1 or more")
        counts = (
            "train_images", "iwae_images", "ais_images", "refine_images", "information_images",
            "generated",
        )  # fmt: skip
        for name in counts:
            if getattr(self, name) == 1:
                raise ConfigError(
                    f"measure.{name}: 1 gives no standard error; take 2 or more, or 0"
                )
        if self.generated and self.reference < 2:
            raise ConfigError("measure.reference: give 2 or more")
        if self.ais_steps:
            self.annealing  # noqa: B018 (raises `ConfigError`)

    @property
    def annealing(self) -> Annealing:
        """The settings of the chains."""
        return Annealing(self.ais_steps, self.ais_chains, self.ais_leapfrogs, self.ais_start)

    def sampling(self, name: str) -> Sampling:
        """The sampling of one measure: its draws do not depend on the other measures."""
        seed = zlib.crc32(f"{self.seed} {name}".encode())
        return Sampling(self.batch, seed, self.beta or None)


def measure_model(
    model: LatentVariableModel,
    images: Tensor,
    config: MeasureConfig = MeasureConfig(),
    train: Tensor | None = None,
    watch: Watch = unwatched,
) -> Measures:
    """Every measure in the configuration that the model allows.

    Rate and distortion are measured on all images, the others on the configured number of images,
    selected by the seed.

    Args:
        model: any model; its mode and torch's generators are restored at the end.
        images: images of the test set, `(n, channels, height, width)`.
        config: the measures and their accuracy.
        train: training images, for rate and distortion on them.
        watch: called after every batch.

    Raises:
        InputError: the images do not fit the model, or a measure is infinite or not a number.
    """
    check_images(model, images)
    sampler = _Sampler(model, images, config, watch)
    found = sampler.plane(images, "")
    if train is not None and config.train_images:
        found |= sampler.plane(sampler.some(train, config.train_images), "train_")
    if config.iwae_draws and config.iwae_images:
        found |= sampler.iwae()
    rate = Estimate(**found["rate_nats"])
    rest = (
        sampler.ais,
        sampler.amortisation,
        lambda: sampler.information(rate),
        sampler.generative,
    )
    for taken in rest:
        with suppress(UnavailableMeasureError):
            found |= taken()
    return found


class _Sampler:
    """One model, its images and the settings of all measures.

    Args:
        model: any model.
        images: images of the test set.
        config: the measures and their accuracy.
        watch: called after every batch.
    """

    def __init__(
        self, model: LatentVariableModel, images: Tensor, config: MeasureConfig, watch: Watch
    ) -> None:
        self.model, self.images, self.config, self.watch = model, images, config, watch

    def some(self, images: Tensor, count: int) -> Tensor:
        """A selection of images, the same for every model; smaller selections are nested."""
        generator = torch.Generator().manual_seed(self.config.seed)
        return images[torch.randperm(len(images), generator=generator)[:count]]

    def how(self, name: str) -> tuple[Sampling, Progress]:
        """Sampling and progress of one measure."""
        return self.config.sampling(name), lambda done, total: self.watch(name, done, total)

    def plane(self, images: Tensor, prefix: str) -> Measures:
        """R, D and, on test images, the negative ELBO."""
        how = self.how(f"{prefix}rate_distortion")
        point = rate_distortion(self.model, images, self.config.draws, *how)
        found: Measures = {
            f"{prefix}rate_nats": point.rate.plain(),
            f"{prefix}distortion_nats": point.distortion.plain(),
        }
        return found if prefix else found | {"negative_elbo_nats": point.negative_elbo.plain()}

    def iwae(self) -> Measures:
        """IWAE-k."""
        images, draws = self.some(self.images, self.config.iwae_images), self.config.iwae_draws
        bound = iwae(self.model, images, draws, *self.how("iwae"))
        return {"iwae_nats": bound.plain() | {"draws": draws, "images": len(images)}}

    def ais(self) -> Measures:
        """Annealed importance sampling."""
        if not (self.config.ais_steps and self.config.ais_images):
            return {}
        images = self.some(self.images, self.config.ais_images)
        found = annealed(self.model, images, self.config.annealing, *self.how("ais"))
        facts = {
            "steps": self.config.ais_steps,
            "chains": self.config.ais_chains,
            "images": len(images),
            "accepted": float(np.mean(found.accepted)) if found.accepted else None,
            "effective_chains": found.effective_chains,
        }
        return {"ais_nats": found.bound.plain() | facts}

    def amortisation(self) -> Measures:
        """The amortisation gap."""
        steps = self.config.refine_steps
        if not (steps and self.config.refine_images):
            return {}
        images = self.some(self.images, self.config.refine_images)
        settings = Refinement(steps)
        gap = amortisation_gap(self.model, images, settings, *self.how("amortisation"))
        return {"amortisation_gap_nats": gap.plain() | {"steps": steps, "images": len(images)}}

    def information(self, rate: Estimate) -> Measures:
        """The mixture bounds, and the aggregate posterior's gap.

        Args:
            rate: R, which is the upper bound of the result if it is the smaller one.
        """
        if not self.config.information_images:
            return {}
        images = self.some(self.images, self.config.information_images)
        found = information(self.model, images, self.config.draws, *self.how("information"))
        capped = rate.value < found.upper.value
        upper = rate if capped else found.upper
        bounds = {
            "lower": found.lower.value,
            "lower_error": found.lower.error,
            "upper": upper.value,
            "upper_error": upper.error,
            "upper_by": "rate" if capped else "leave-one-out",
            "images": found.images,
        }
        lower = max(found.gap_lower.value, 0.0)  # A divergence is never below 0.
        gap: dict[str, Any] = found.gap_upper.plain() | {"lower": lower, "images": found.images}
        return {"information_nats": bounds, "aggregate_gap_nats": gap}

    def generative(self) -> Measures:
        """E, G, and G by IWAE."""
        config = self.config
        if not config.generated:
            return {}
        found = generative(
            self.model,
            self.images.shape[-2:],
            config.generated,
            config.reference,
            config.iwae_draws,
            *self.how("generative"),
        )
        bounds: Measures = {
            "generative_lower_nats": found.lower.plain(),
            "generative_upper_nats": found.upper.plain() | {"density": found.density},
        }
        if found.upper_iwae is not None:
            extra = {"draws": config.iwae_draws}
            bounds["generative_upper_iwae_nats"] = found.upper_iwae.plain() | extra
        return bounds


def grids(
    model: LatentVariableModel,
    images: Tensor,
    count: int,
    samples: int = 5,
    sampling: Sampling = DEFAULT,
) -> dict[str, NDArray[np.uint8]]:
    """Pictures for figures: inputs, and several draws of x for one z each.

    Args:
        model: a model from whose likelihood pictures can be drawn.
        images: `(n, channels, height, width)`; the first `count` are used.
        count: rows of a grid.
        samples: draws of x for every z.
        sampling: batch, seed and operating point.

    Returns:
        `inputs` `(count, h, w)`, `reconstructions` `(count, samples, h, w)` with z ~ e(z | x), and
        `generations` of the same shape with z ~ m(z); values 0 to 255. Several channels are one
        more axis, the last.

    Raises:
        UnavailableMeasureError: no pictures can be drawn.
        InputError: impossible images.
    """
    check_images(model, images)
    shown = images[:count]
    reconstructions, generations = [], []
    with measuring(model, sampling.seed):
        for part in split(shown, sampling.batch):
            x = part.to(device(model))
            context = make_context(model, x.shape[-2:], x, len(x), sampling.beta)
            rungs = model.draw_rungs(x, context, pathwise=False)
            latents = [rung.latent for rung in rungs]
            reconstructions.append(_several(model, latents, x, samples, sampling))
            generations.append(_several(model, generate(model, context), x, samples, sampling))
    return {
        "inputs": _bytes(shown),
        "reconstructions": _bytes(torch.cat(reconstructions)),
        "generations": _bytes(torch.cat(generations)),
    }


def _several(
    model: LatentVariableModel, latents: list[Tensor], x: Tensor, samples: int, sampling: Sampling
) -> Tensor:
    """Draws of x for every z, `(batch, samples, channels, height, width)`."""
    repeated = [latent.repeat_interleave(samples, dim=0) for latent in latents]
    context = make_context(model, x.shape[-2:], x, len(x) * samples, sampling.beta)
    drawn = draw_pictures(model.likelihood(repeated, context))
    return drawn.reshape(len(x), samples, *drawn.shape[1:])


def _bytes(pictures: Tensor) -> NDArray[np.uint8]:
    """`(..., channels, h, w)` in [0, 1] -> 0 to 255, `(..., h, w)` or `(..., h, w, channels)`."""
    levels = torch.round(255 * pictures.float().clamp(0, 1)).to(torch.uint8).cpu()
    arranged: NDArray[np.uint8] = levels.movedim(-3, -1).numpy()
    return arranged[..., 0] if arranged.shape[-1] == 1 else arranged
