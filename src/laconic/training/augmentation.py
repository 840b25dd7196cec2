"""Random changes to a batch of pictures that keep their classes."""

import torch
from torch import Tensor
from torch.nn import functional

MARGIN = 4
"""Largest shift of a picture in pixels, as is usual for CIFAR (He et al. 2016, 4.2)."""

DIGIT_MARGIN = 1
"""Largest shift of digits in pixels; they are already centred."""


def shift_and_mirror(images: Tensor, generator: torch.Generator, margin: int = MARGIN) -> Tensor:
    """Shift every picture by up to `margin` pixels either way, and mirror half of them.

    Args:
        images: shape `(batch, channels, height, width)`; zeros fill the edges.
        generator: random generator of the shifts and choices.
        margin: largest shift, in pixels.
    """
    down, right = torch.randint(2 * margin + 1, (2, len(images)), generator=generator)
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return _windows(images, margin, down, right, mirrored)


def shift(images: Tensor, generator: torch.Generator, margin: int = DIGIT_MARGIN) -> Tensor:
    """Shift every picture by up to `margin` pixels either way.

    Args:
        images: shape `(batch, channels, height, width)`; zeros fill the edges.
        generator: random generator of the shifts.
        margin: largest shift, in pixels.
    """
    down, right = torch.randint(2 * margin + 1, (2, len(images)), generator=generator)
    return _windows(images, margin, down, right, torch.zeros(len(images), dtype=torch.bool))


def _windows(images: Tensor, margin: int, down: Tensor, right: Tensor, mirrored: Tensor) -> Tensor:
    """Cut windows of the pictures' size, at the given offsets, from pictures padded with zeros."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (margin,) * 4)
    rows = down[:, None] + torch.arange(height)
    columns = torch.arange(width).expand(count, width)
    columns = right[:, None] + torch.where(mirrored[:, None], width - 1 - columns, columns)
    examples = torch.arange(count)[:, None, None]
    # Tensors as indices move the channels to the end; move them back.
    chosen = padded.permute(0, 2, 3, 1)[examples, rows[:, :, None], columns[:, None, :]]
    return chosen.permute(0, 3, 1, 2)
