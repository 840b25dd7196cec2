"""Trained quantisation: the weights of a layer share a few values, which k-means finds.

Every weight takes the nearest value, and keeps it. Then the values are trained: the gradient of a
value is the sum of its weights' gradients. Zeros stay zeros: pruned weights stay pruned, and do not
attract a value.

Source: Han, Mao & Dally 2016 (Deep Compression) 3. Louizos 6.5.2 and Ullrich 3.4 use 32 values
without training them ("maximum compression").
"""

from dataclasses import dataclass
from typing import ClassVar, Final, final

import torch
from torch import Tensor, nn

from laconic.errors import ConfigError
from laconic.weights.base import Apply, LayerInfo, Point, StoredPosterior, WeightMethod

ROUNDS: Final = 300
"""Rounds of Lloyd's algorithm at most; layers of 10^5 weights need some hundred for 32 values."""

MOST_VALUES: Final = 255
"""A codebook of a file has 256 values, the exact zero included."""

SAMPLE: Final = 1 << 20
"""The values of a larger tensor are those of about so many of its numbers, evenly spaced."""


@torch.no_grad()
def kmeans(weight: Tensor, count: int, rounds: int = ROUNDS) -> Tensor:
    """Values that are near a tensor's numbers in mean square: a local optimum.

    The initial values are evenly spaced over the range, so that the few large weights, which matter
    most, have values of their own.

    Args:
        weight: finite numbers, any shape; exact zeros are ignored.
        count: number of values.
        rounds: of Lloyd's algorithm, at most; it stops when no value changes.

    Returns:
        The values in rising order, float64, shape `(count,)`; some may be the nearest of no number.

    Source: Lloyd 1982; even initialisation: Han, Mao & Dally 2016, 3.2.
    """
    flat = weight.detach().reshape(-1)
    low, high = float(flat.min()), float(flat.max())
    largest = max(-low, high) or 1.0  # The unit, so that no sum overflows.
    sample = flat[:: max(1, flat.numel() // SAMPLE)].double() / largest
    ordered = sample[sample != 0].sort().values
    values = torch.linspace(low / largest, high / largest, count, dtype=torch.float64)
    values = values.to(flat.device)
    sums = torch.cat([ordered.new_zeros(1), ordered.cumsum(0)])
    counts = torch.zeros_like(values)
    for _ in range(rounds):
        # The numbers of a value are an interval of the sorted ones: its mean needs two sums.
        ends = torch.searchsorted(ordered, _borders(values))
        edges = torch.cat([ends.new_zeros(1), ends, ends.new_full((1,), ordered.numel())])
        counts = edges.diff()
        means = (sums[edges[1:]] - sums[edges[:-1]]) / counts.clamp(min=1)
        moved = torch.where(counts > 0, means, values)
        if torch.equal(moved, values):
            break
        values = moved
    return values * largest


@torch.no_grad()
def assign(weight: Tensor, values: Tensor) -> Tensor:
    """The nearest value of every number.

    Args:
        weight: any shape.
        values: in rising order, shape `(values,)`.

    Returns:
        Indices into the values with a zero before them, int64, shape of `weight`: 0 for exact
        zeros, else 1 + index of the nearest value.
    """
    places = torch.bucketize(weight.detach().to(values.dtype), _borders(values)) + 1
    return torch.where(weight == 0, 0, places)


def _borders(values: Tensor) -> Tensor:
    """The middles between neighbours."""
    return (values[1:] + values[:-1]) / 2


@final
@dataclass(frozen=True)
class KMeans(WeightMethod):
    """Settings of trained quantisation.

    Attributes:
        values: values of each layer beside the exact zero, at most.
    """

    name: ClassVar[str] = "kmeans"
    values: int = 32

    def __post_init__(self) -> None:
        if not 1 <= self.values <= MOST_VALUES:
            raise ConfigError(f"kmeans.values: {self.values} is not in 1 to {MOST_VALUES}")

    def posterior(self, info: LayerInfo) -> "SharedValues":
        """The layer's values."""
        return SharedValues(info.weight, info.bias, self.values)


@final
class SharedValues(StoredPosterior):
    """A point: weights that share a few values. The bias keeps its own numbers.

    Args:
        weight: initial weight.
        bias: shape `(outputs,)`, or None.
        count: number of values beside the exact zero.

    Attributes:
        values: the values that weights may have beside the exact zero; shape `(count,)`.
        indices: of every weight's value: 0 for the exact zero, else 1 + index into `values`.
    """

    indices: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None, count: int) -> None:
        super().__init__()
        values = kmeans(weight, count)
        self.values = nn.Parameter(values.to(weight.dtype))
        self.register_buffer("indices", assign(weight, values))
        self.bias = None if bias is None else nn.Parameter(bias)

    @property
    def weight(self) -> Tensor:
        """The layer's weight, with gradients to the values."""
        table = torch.cat([self.values.new_zeros(1), self.values])
        # In contrast to an index, gather has a deterministic gradient for any number of threads.
        return table.gather(0, self.indices.reshape(-1)).view(self.indices.shape)

    def forward(self, x: Tensor, apply: Apply) -> Tensor:
        """The layer's output; nothing is drawn."""
        return apply(x, self.weight, self.bias)

    def penalty(self) -> Tensor:
        """0."""
        return 0 * self.values.sum()

    @torch.no_grad()
    def point(self) -> Point:
        """The values, of which every bit is kept, as of the bias."""
        return Point(self.weight, self.bias, 0.0, 0.0)
