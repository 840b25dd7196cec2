"""The threshold of a layer, between its groups that are signal and its groups that are noise.

The sources look at a histogram, see two well separated clusters and put the threshold between
them by hand. Here every prior gives a window that the threshold must be in, whatever the groups
are, so that a layer of nothing but signal keeps all its groups. Within this window the threshold is
in the widest gap.

Source: Louizos 10.4.4, Ullrich 3.4 (what is automated).
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Histogram:
    """Counts of a layer's groups by noise, for a figure.

    Attributes:
        edges: of the bins, shape `(bins + 1,)`.
        kept: groups in each bin that are kept, shape `(bins,)`.
        pruned: groups in each bin that are pruned, shape `(bins,)`.
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
        bins: number of bins.
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
    """The middle of the widest gap between values, as far as the gap is within a window.

    A gap that continues outside the window counts with its full width: groups at the window's upper
    end that are well below the noise are signal, however near the end they are.

    Args:
        values: any shape, may be empty.
        low: lower end of the window; smaller values are signal.
        high: upper end; larger values are noise.

    Returns:
        The middle of the part of the gap that is within the window.
    """
    values = values.detach().double().flatten().cpu().sort().values
    below, above = values[values <= low], values[values >= high]
    inside = values[(values > low) & (values < high)]
    first = below[-1:] if len(below) else inside.new_tensor([low])
    last = above[:1] if len(above) else inside.new_tensor([high])
    points = torch.cat([first, inside, last])
    widest = int(points.diff().argmax())
    return (max(low, float(points[widest])) + min(high, float(points[widest + 1]))) / 2
