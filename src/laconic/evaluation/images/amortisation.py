"""The amortisation gap: the loss of one encoder for all images against a search per image.

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
    Sampling,
    UnavailableMeasureError,
    batches,
    estimate,
    measuring,
)
from laconic.models.base import Context, LatentVariableModel
from laconic.progress import Progress, silent
from laconic.training.refinement import Refinement, refine


def amortisation_gap(
    model: LatentVariableModel,
    images: Tensor,
    refinement: Refinement,
    sampling: Sampling = DEFAULT,
    progress: Progress = silent,
) -> Estimate:
    """The decrease of the negative ELBO if the mean and scale of every image are optimised.

    It is a lower bound of the gap: a longer search may find a larger one.
    Formula: E [D + beta R under e(z | x)] - E [D + beta R under q_x], q_x the refined normal.

    Args:
        model: a model of one level with a normal posterior.
        images: `(n, channels, height, width)`.
        refinement: settings of the search; the seed of `sampling` replaces its seed.
        sampling: batch, seed and operating point.
        progress: called after every batch.

    Raises:
        UnavailableMeasureError: the model has several levels, or its posterior is not normal.
        InputError: the images do not fit the model, or its results are not finite.
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
