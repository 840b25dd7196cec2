"""The amortisation gap: what the encoder loses by treating all images alike.

Source: Lecture (amortised and iterative inference); Cremer, Li, Duvenaud 2018.
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.distributions import Normal

from laconic.distributions.divergence import density
from laconic.evaluation.models.estimates import (
    DEFAULT,
    Estimate,
    Progress,
    Sampling,
    UnavailableMeasureError,
    batches,
    estimate,
    measuring,
    silent,
)
from laconic.models.base import Context, LatentVariableModel
from laconic.training.refinement import Refinement, refine


def amortisation_gap(
    model: LatentVariableModel,
    images: Tensor,
    refinement: Refinement,
    sampling: Sampling = DEFAULT,
    progress: Progress = silent,
) -> Estimate:
    """How far the negative ELBO falls where every image's own mean and scale are optimised.

    It is a lower bound of the gap: a longer search may find more.
    Formula: E [D + beta R under e(z | x)] - E [D + beta R under q_x], q_x the refined normal.

    Args:
        model: of one level with a normal posterior.
        images: `(n, channels, height, width)`.
        refinement: how long and how finely; its seed gives way to that of `sampling`.
        sampling: batch, seed and operating point.
        progress: told after every batch.

    Raises:
        UnavailableMeasureError: several levels, or a posterior that is not normal.
        InputError: impossible images, or a broken model.
    """
    if model.levels != 1:
        raise UnavailableMeasureError(
            f"amortisation gap: the model has {model.levels} levels; only one can be refined"
        )
    gaps = []
    with measuring(model, sampling.seed):
        for number, (x, context) in enumerate(batches(model, images, sampling, progress)):
            settings = replace(refinement, seed=sampling.seed + 2 * number)
            gaps.append(_gap(model, x, context, settings))
    return estimate(torch.cat(gaps), "amortisation gap")


def _gap(model: LatentVariableModel, x: Tensor, context: Context, settings: Refinement) -> Tensor:
    features = model.encode(x, context)
    prior = model.prior(0, [], context)
    posterior = model.posterior(0, features, [], prior, context)
    if not isinstance(posterior, Normal):
        raise UnavailableMeasureError(
            "amortisation gap: the posterior is not normal; measure a family with encoder '-'"
        )

    def distortion(z: Tensor) -> Tensor:
        return -density(model.likelihood([z], context), x)

    return refine(posterior, prior, distortion, settings).gap.double()
