"""Draws of a layer's outputs in place of its weights (the local reparametrisation).

Weights that are independent Gaussians make Gaussian outputs. Drawing these directly gives every
example of a batch its own noise, at the cost of a second product with squared inputs.

Source: Kingma, Salimans & Welling 2015.
"""

import torch
from torch import Tensor


def squared(x: Tensor) -> Tensor:
    """The squares of a layer's inputs, to be multiplied with variances of weights.

    An index, as embeddings take it, means a one-hot vector, which is its own square.
    """
    return x.square() if x.is_floating_point() else x


def scale_channels(values: Tensor, z: Tensor, positions: int) -> Tensor:
    """Multiply every channel by a number, the same for all examples or one for each.

    Args:
        values: `(batch, ..., channels, *positions)`, or without a batch.
        z: `(channels,)` or `(batch, channels)`.
        positions: number of axes behind the channels.
    """
    batch, inner = z.shape[:-1], values.dim() - positions - z.dim()
    return values * z.view(*batch, *[1] * inner, z.shape[-1], *[1] * positions)


def draw_outputs(mean: Tensor, variance: Tensor) -> Tensor:
    """Draw a layer's outputs as independent Gaussians; gradients are far less noisy.

    Args:
        mean: of the outputs.
        variance: the same shape; above 0, since the root has no gradient at 0.
    """
    noise = torch.empty_like(mean)
    # In the order of memory: torch takes ten times as long for any other.
    noise.as_strided((noise.numel(),), (1,)).normal_()
    return mean + torch.sqrt(variance) * noise
