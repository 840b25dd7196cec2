"""Where signal ends and noise begins in a layer: between the two clusters of its groups.

The sources look at a histogram, see two well separated clusters and put the threshold between
them by hand. Here every prior says where the border must lie, whatever the other groups do, so
that a layer of nothing but signal keeps all its groups; inside this window the widest gap is it.

Source: Louizos 10.4.4, Ullrich 3.4 (what is automated).
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Histogram:
    """What a figure of a layer's groups shows.

    Attributes:
        edges: of the bins, shape `(bins + 1,)`.
        kept: groups in each bin that stay, shape `(bins,)`.
        pruned: groups in each bin that go, shape `(bins,)`.
        threshold: between the two.
    """

    edges: Tensor
    kept: Tensor
    pruned: Tensor
    threshold: float


def histogram(values: Tensor, threshold: float, bins: int = 50) -> Histogram:
    """Count kept and pruned groups.

    Args:
        values: `log_noise` of the groups, shape `(groups,)`, at least one.
        threshold: groups at or above it are pruned.
        bins: how many.
    """
    values = values.detach().double().cpu()
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = torch.linspace(low, high, bins + 1, dtype=torch.float64)
    place = torch.bucketize(values, edges[1:-1], right=True)
    kept = values < threshold
    return Histogram(
        edges,
        torch.bincount(place[kept], minlength=bins),
        torch.bincount(place[~kept], minlength=bins),
        threshold,
    )


def widest_gap(values: Tensor, low: float, high: float) -> float:
    """Where a window meets the widest stretch without values that reaches into it.

    Stretches that go on outside the window count in full: groups at its upper end that lie well
    below the noise are signal, however near the edge they are.

    Args:
        values: any shape, may be empty.
        low: where the window begins; smaller values are signal.
        high: where it ends; larger values are noise.

    Returns:
        The middle of what the stretch and the window share.
    """
    values = values.detach().double().flatten().cpu().sort().values
    below, above = values[values <= low], values[values >= high]
    inside = values[(values > low) & (values < high)]
    first = below[-1:] if len(below) else inside.new_tensor([low])
    last = above[:1] if len(above) else inside.new_tensor([high])
    points = torch.cat([first, inside, last])
    widest = int(points.diff().argmax())
    return (max(low, float(points[widest])) + min(high, float(points[widest + 1]))) / 2
