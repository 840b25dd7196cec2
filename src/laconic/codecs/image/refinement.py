"""The posterior of one picture, refined beyond the encoder's output: the effort of lossy files.

The parameters of the posterior of all levels follow the gradient of the picture's own objective,
rate + distortion, while the networks stay as they are. Files become smaller or better, the receiver
does not change. The loop is `training.refinement.descend`.
Source: Campos et al. 2019, "Content adaptive optimization for neural image compression"; Yang,
Bamler, Mandt 2020, "Improving inference for neural image compression".
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from laconic.codecs.image.header import TASTE_STEPS
from laconic.errors import InputError
from laconic.models.base import Condition, Context, Features, NormalLadder
from laconic.progress import Progress
from laconic.training.objectives.base import Objective
from laconic.training.objectives.elbo import Elbo
from laconic.training.objectives.structural import SMALLEST_SIDE, Structural
from laconic.training.refinement import descend

STEPS: Final = (0, 2, 4, 8, 12, 16, 24, 32, 48, 64)
"""Steps of each effort, 0 to 9."""
THOROUGH: Final = 5
"""From this effort on the coders take their time, too."""
LEARNING_RATE: Final = 0.02
"""Of the first step: locations in units of the operating point's noise, logarithms of scales.

With 16 steps 0.02 gained most of 0.005, 0.015, 0.02 and 0.05, on a crop of one validation
photograph.
"""
SEED: Final = 0


def effort_steps(effort: int) -> int:
    """Steps of an effort; raises `InputError` unless it is 0 to 9."""
    if not 0 <= effort < len(STEPS):
        raise InputError(
            f"effort is {effort}, give an integer from 0 (fastest) to {len(STEPS) - 1} (smallest)"
        )
    return STEPS[effort]


def objective_of(taste: int | None, shape: Sequence[int]) -> Objective:
    """What a model was trained for at a taste: squared error, structure, or shares of both.

    Args:
        taste: 0 to `TASTE_STEPS`; None, of a model without taste: halfway.
        shape: rows and columns. MS-SSIM does not exist for small pictures, whose objective is
            squared error.
    """
    share = 0.5 if taste is None else taste / TASTE_STEPS
    return Structural(share) if share and min(shape) >= SMALLEST_SIDE else Elbo()


@torch.inference_mode(False)
def refine(
    model: NormalLadder,
    x: Tensor,
    features: Features,
    context: Context,
    taste: int | None,
    steps: int,
    progress: Progress,
) -> Features:
    """Refine what the encoder returned for one picture.

    The same arguments give the same result: draws have a seed of their own.

    Args:
        model: the ladder; its weights take no gradients.
        x: the picture, `(1, 3, height, width)` in [0, 1].
        features: what `model.encode` returned.
        context: of `x`.
        taste: as `ImageHeader` has it.
        steps: number of steps.
        progress: called with the steps done and the steps in all.

    Returns:
        Features of the same form.

    Raises:
        ConfigError: the model's posterior cannot be refined.
        MissingPackageError: the objective has MS-SSIM, whose package is missing.
    """
    objective, start = objective_of(taste, context.shape), model.free_parameters(features)
    # Tensors that were made in inference mode take no part in gradients; their copies do.
    x, context = x.clone(), _copy(context)

    def cost(parameters: Sequence[Tensor]) -> Tensor:
        rungs, state = model.draw_latents(model.to_features(parameters), context, pathwise=True)
        return (
            objective(x, rungs, state.likelihood(), context.log_beta).loss.sum() / x[0, 0].numel()
        )

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return model.to_features(descend(start, cost, steps, LEARNING_RATE, progress))


def _copy(context: Context) -> Context:
    old = context.condition
    taste = None if old.taste is None else old.taste.clone()
    condition = Condition(old.log_beta.clone(), old.position, taste, old.taste_position)
    return Context(context.shape, condition)
