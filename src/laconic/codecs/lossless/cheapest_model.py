"""Which of several models suits pictures: the bits of a few patches of them, in floats."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from laconic.codecs.lossless.picture import ExactPicture, Kind
from laconic.models.base import Condition, Context, LatentVariableModel

SIDE: Final = 64
"""Of a patch, in pixels."""
GRID: Final = 3
"""Patches along each side of a picture that is alone; of several pictures each gives one."""
MOST: Final = 16
"""Pictures that are looked at."""


@torch.inference_mode()
def cheapest(models: Sequence[LatentVariableModel], pictures: Sequence[ExactPicture]) -> int:
    """Number of the model under which patches of pictures take the fewest bits.

    Which model is taken may depend on the machine's floats; a file names the model that wrote it.

    Args:
        models: of colour with 8 bits. Where one has latents, which patches say too little about,
            the first is taken.
        pictures: all of one size; where none is in colour, the first model is taken.
    """
    coloured = [picture for picture in pictures if picture.kind is Kind.RGB]
    if not coloured or any(model.levels for model in models):
        return 0
    step = -(-len(coloured) // MOST)
    grid = GRID if len(coloured) == 1 else 1
    patches = torch.cat([_patches(picture, grid) for picture in coloured[::step]])
    context = Context((patches.shape[2], patches.shape[3]), Condition(torch.zeros(len(patches))))
    nats = []
    for model in models:
        _, likelihood = model.pass_through(patches, context)
        nats.append(-float(likelihood.log_prob(patches).sum()))
    return int(np.argmin(nats))


def _patches(picture: ExactPicture, grid: int) -> Tensor:
    """Patches at `grid` x `grid` places, `(count, 3, height, width)` in [0, 1]."""
    sides = [min(SIDE, length) for length in picture.pixels.shape[:2]]
    starts = [
        sorted({round(at) for at in np.linspace(0, length - side, grid + 2)[1:-1]})
        for length, side in zip(picture.pixels.shape[:2], sides, strict=True)
    ]
    found = [
        picture.pixels[top : top + sides[0], left : left + sides[1]]
        for top in starts[0]
        for left in starts[1]
    ]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float() / 255
