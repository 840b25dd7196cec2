"""The Fréchet distance between two sets of pictures, on features of a classifier of one's own.

It is the distance between normals that have the features' means and covariances. The usual "FID" is
the same on features of one public network for photographs of other sizes; its values cannot be
compared with these.
"""

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from laconic.errors import InputError


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Fréchet distance between two sets of features.

    Formula: ||m_a - m_b||^2 + tr(S_a + S_b - 2 (S_a^(1/2) S_b S_a^(1/2))^(1/2)).
    Source: Heusel et al. 2017; Ullrich 6.6 uses it.

    Args:
        a: `(count, features)`; the more pictures, the less is the distance of equal laws above 0.
        b: the same width.

    Raises:
        InputError: fewer than two pictures, or different widths.

    >>> frechet_distance(torch.tensor([[0.0], [2.0]]), torch.tensor([[3.0], [5.0]]))
    9.0
    """
    if min(len(a), len(b)) < 2 or a.shape[1] != b.shape[1]:
        raise InputError(
            f"features of shapes {tuple(a.shape)} and {tuple(b.shape)} have no distance"
        )
    a, b = a.double(), b.double()
    first, second = (torch.cov(one.T).reshape(one.shape[1], -1) for one in (a, b))
    root = _root(first)
    overlap = _root(root @ second @ root).trace()
    means = (a.mean(0) - b.mean(0)).square().sum()
    distance = means + first.trace() + second.trace() - 2 * overlap
    return max(0.0, float(distance))


@torch.inference_mode()
def last_features(net: nn.Module, x: Tensor, batch: int = 500) -> Tensor:
    """What enters a classifier's last linear layer, `(count, features)`.

    Args:
        net: in evaluation mode.
        x: its inputs.
        batch: inputs at a time.

    Raises:
        InputError: it has no linear layer.
    """
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
    if not layers:
        raise InputError("the classifier has no linear layer whose inputs could be features")
    found: list[Tensor] = []

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append(inputs[0].flatten(1).float())

    handle: RemovableHandle = layers[-1].register_forward_pre_hook(keep)
    try:
        for part in torch.split(x, batch):
            net(part)
    finally:
        handle.remove()
    return torch.cat(found)


def _root(matrix: Tensor) -> Tensor:
    """The symmetric square root of a covariance."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    root: Tensor = vectors * values.clamp_min(0).sqrt() @ vectors.T
    return root
