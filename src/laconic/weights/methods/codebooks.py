"""Codebooks: the weights of a layer take a few values, found by k-means in one dimension.

Zeros are kept: what is pruned stays pruned, and does not pull a value towards itself.

Source: Han, Mao & Dally 2016 (Deep Compression) 3; Ullrich 3.4, case (iii): 32 values.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from laconic.errors import ConfigError, InputError
from laconic.weights.base import SUPPORTED

ROUNDS = 300
"""Lloyd's rounds at most; layers of 10^5 weights need some hundred for 32 values."""


@dataclass(frozen=True)
class Codebook:
    """A tensor as values and which of them each entry takes.

    Attributes:
        values: the first is 0, for entries that are exactly 0; the others rise, shape `(values,)`.
        indices: into `values`, int64, shape of the tensor.
    """

    values: Tensor
    indices: Tensor

    @property
    def tensor(self) -> Tensor:
        """The entries themselves."""
        return self.values[self.indices]


def kmeans(weight: Tensor, size: int, rounds: int = ROUNDS) -> Codebook:
    """The values that are near a tensor's entries in mean square, a local optimum.

    They start evenly over the range, which large weights, few but important, gain by.

    Args:
        weight: any shape.
        size: values beside the exact zero, at most; those that no entry takes are left out.
        rounds: of Lloyd's algorithm, at most; it stops where nothing moves.

    Raises:
        ConfigError: no value asked for.
        InputError: NaN or infinite entries.

    Source: Lloyd 1982; linear initialisation: Han, Mao & Dally 2016, 3.2.
    """
    if size < 1:
        raise ConfigError(f"codebook: {size} values; at least one is needed")
    if not bool(weight.isfinite().all()):
        raise InputError("a weight has NaN or infinite values: no codebook fits it")
    flat = weight.detach().reshape(-1)
    kept = flat != 0
    values, chosen = _lloyd(flat[kept].double(), size, rounds)
    indices = torch.zeros_like(flat, dtype=torch.int64)
    indices[kept] = chosen + 1
    book = torch.cat([values.new_zeros(1), values]).to(weight.dtype)
    return Codebook(book, indices.reshape(weight.shape))


@torch.no_grad()
def share_values(net: nn.Module, size: int, skip: tuple[str, ...] = ()) -> dict[str, Codebook]:
    """Put the weight of every linear and convolutional layer on a codebook of its own, in place.

    Biases stay as they are.

    Args:
        net: an ordinary network, such as `plain` gives.
        size: values beside the exact zero in each layer's codebook.
        skip: names of layers to be left alone.

    Returns:
        Codebooks by the layer's name.

    Raises:
        InputError: no such layer, or an unknown name in `skip`.
    """
    layers = {
        name: module.get_parameter("weight")
        for name, module in net.named_modules()
        if isinstance(module, SUPPORTED)
    }
    unknown = [name for name in skip if name not in layers]
    if unknown:
        raise InputError(f"no layer is called {unknown[0]!r}, which is to be left alone")
    books = {name: kmeans(weight, size) for name, weight in layers.items() if name not in skip}
    if not books:
        raise InputError("the network has no ordinary layer whose weights could be shared")
    for name, book in books.items():
        layers[name].copy_(book.tensor)
    return books


def _lloyd(x: Tensor, size: int, rounds: int) -> tuple[Tensor, Tensor]:
    """Rising values, shape `(at most size,)`, and the index of each entry's, shape of `x`.

    Entries are sorted once: a cluster is an interval, its mean a difference of sums.
    """
    if not x.numel():
        return x, torch.zeros_like(x, dtype=torch.int64)
    ordered, _ = x.sort()
    sums = torch.cat([x.new_zeros(1), ordered.cumsum(0)])
    values = torch.linspace(float(ordered[0]), float(ordered[-1]), size, dtype=x.dtype).to(x.device)
    for _ in range(rounds):
        ends = torch.searchsorted(ordered, _borders(values))
        edges = torch.cat([ends.new_zeros(1), ends, ends.new_full((1,), x.numel())])
        counts = edges.diff()
        means = (sums[edges[1:]] - sums[edges[:-1]]) / counts.clamp(min=1)
        moved = torch.where(counts > 0, means, values)
        if torch.equal(moved, values):
            break
        values = moved
    taken, chosen = torch.unique(torch.bucketize(x, _borders(values)), return_inverse=True)
    return values[taken], chosen


def _borders(values: Tensor) -> Tensor:
    """Half way between neighbours."""
    return (values[1:] + values[:-1]) / 2
