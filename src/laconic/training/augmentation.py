"""Changes to a batch of pictures that leave their classes as they are."""

import torch
from torch import Tensor
from torch.nn import functional

MARGIN = 4
"""Pixels that a picture may be shifted by, as is usual on CIFAR (He et al. 2016, 4.2)."""

DIGIT_MARGIN = 1
"""The same of digits, which are centred already."""


def shift_and_mirror(images: Tensor, generator: torch.Generator, margin: int = MARGIN) -> Tensor:
    """Shift every picture by up to `margin` pixels either way, and mirror half of them.

    Args:
        images: shape `(batch, channels, height, width)`; zeros come in at the edges.
        generator: of the shifts and choices.
        margin: in pixels.
    """
    down, right = torch.randint(2 * margin + 1, (2, len(images)), generator=generator)
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return _windows(images, margin, down, right, mirrored)


def shift(images: Tensor, generator: torch.Generator, margin: int = DIGIT_MARGIN) -> Tensor:
    """Shift every picture by up to `margin` pixels either way.

    Args:
        images: shape `(batch, channels, height, width)`; zeros come in at the edges.
        generator: of the shifts.
        margin: in pixels.
    """
    down, right = torch.randint(2 * margin + 1, (2, len(images)), generator=generator)
    return _windows(images, margin, down, right, torch.zeros(len(images), dtype=torch.bool))


def _windows(images: Tensor, margin: int, down: Tensor, right: Tensor, mirrored: Tensor) -> Tensor:
    """Of pictures with a margin of zeros, those of the pictures' own size that begin where told."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (margin,) * 4)
    rows = down[:, None] + torch.arange(height)
    columns = torch.arange(width).expand(count, width)
    columns = right[:, None] + torch.where(mirrored[:, None], width - 1 - columns, columns)
    examples = torch.arange(count)[:, None, None]
    # Channels go last where tensors index, and back.
    chosen = padded.permute(0, 2, 3, 1)[examples, rows[:, :, None], columns[:, None, :]]
    return chosen.permute(0, 3, 1, 2)
