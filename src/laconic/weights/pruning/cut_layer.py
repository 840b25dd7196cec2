"""A layer that may lose rows and columns: which of its inputs are needed, and the smaller layer.

Weights are viewed in groups, `(groups, outputs of a group, inputs of a group, ...)`; ordinary
layers have one group. All groups of a convolution have equally many inputs and equally many
outputs, so the smaller layer keeps equally many in each group that it keeps.
"""

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from laconic.weights.pruning.spaces import Value

Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


def weight_of(module: nn.Module) -> Tensor:
    """A layer's weight, without gradients."""
    assert isinstance(module.weight, Tensor)
    return module.weight.detach()


def groups_of(module: nn.Module) -> int:
    """Number of a layer's groups; 1 for a linear layer."""
    groups = getattr(module, "groups", 1)
    assert isinstance(groups, int)
    return groups


def in_groups(module: nn.Module, weight: Tensor) -> Tensor:
    """A weight viewed as `(groups, outputs of a group, inputs of a group, ...)`."""
    grouped = weight.reshape(groups_of(module), -1, *weight.shape[1:])
    return grouped.transpose(1, 2) if isinstance(module, Transposed) else grouped


def pads_with_zeros(module: nn.Module) -> bool:
    """Whether a constant input gives no constant output, since border sums have fewer terms."""
    if isinstance(module, nn.Linear):
        return False
    if isinstance(module, Transposed):
        return True
    if getattr(module, "padding_mode", "zeros") != "zeros":
        return False
    padding = module.padding
    if isinstance(padding, str):
        return padding == "same"
    assert isinstance(padding, tuple)
    return any(width > 0 for width in padding)


@dataclass(eq=False)
class Layer:
    """A linear or convolutional layer that may lose rows and columns.

    Attributes:
        module: the layer.
        source: its input.
        result: its output.
        dim: the axis of `source` with its input channels.
        fold: values of the constant inputs that its bias can replace exactly, NaN for the others.
        touches: whether an output has a nonzero weight for an input; bool, shape as `in_groups`
            without the kernel's axes.
    """

    module: nn.Module
    source: Value
    result: Value
    dim: int
    fold: Tensor
    touches: Tensor

    @property
    def groups(self) -> int:
        """Number of groups of its channels."""
        return groups_of(self.module)

    @property
    def present(self) -> Tensor:
        """Which of its inputs the smaller network has."""
        if self.source.axis == self.dim:
            return self.source.space.present
        return torch.ones_like(self.fold, dtype=torch.bool)

    @property
    def varies(self) -> Tensor:
        """Which inputs the bias cannot replace; bool `(groups, 1, inputs of a group)`."""
        return self.fold.isnan().view(self.groups, 1, -1)

    def reads(self) -> Tensor:
        """Which inputs the needed outputs need; bool `(inputs,)`."""
        need = self.result.space.need.view(self.groups, -1, 1)
        return (self.touches & need & self.varies).any(1).flatten()

    def constants(self) -> Tensor:
        """Values of the constant outputs; NaN for the others."""
        value = self.shift()
        if isinstance(self.module.bias, Tensor):
            value = value + self.module.bias.detach()
        value[(self.touches & self.varies).any(2).flatten()] = torch.nan
        return value

    def shift(self) -> Tensor:
        """Sum that constant inputs add to each output, shape `(outputs,)`, in double precision."""
        gain = in_groups(self.module, weight_of(self.module)).double()
        folded = self.fold.nan_to_num().double().view(self.groups, -1)
        if gain.ndim > 3:
            gain = gain.flatten(3).sum(3)
        return torch.einsum("goi,gi->go", gain, folded).flatten()

    def balance(self) -> None:
        """Need equally many outputs in each group of which any is needed."""
        if self.groups > 1:
            need = self.result.space.need
            mask = need.view(self.groups, -1)
            need |= _levelled(mask, mask).flatten()

    def columns(self) -> Tensor:
        """Indices of the inputs that are kept, equally many in each group and at least one.

        Some only fill a group up: their weights are zero, and they need not be present.
        """
        live = self.result.space.present.view(self.groups, -1).any(1)
        present = self.present.view(self.groups, -1)
        reads = self.reads().view(self.groups, -1) & live[:, None]
        empty = live & ~reads.any(1)
        reads[empty, present.long().argmax(1)[empty]] = True
        return _levelled(reads, present).flatten().nonzero()[:, 0]

    def smaller(self) -> nn.Module:
        """The layer without the inputs and outputs that are removed."""
        small = deepcopy(self.module)
        weight, bias = small.weight, small.bias
        assert isinstance(weight, Tensor)
        rows, needed = self.result.space.present, self.result.space.need
        # The row of a layer that would be empty, and inputs that the bias replaces, are 0.
        used = needed.view(self.groups, -1, 1) & self.varies
        grouped = in_groups(self.module, weight)
        grouped = torch.where(used.view(*used.shape, *[1] * (weight.ndim - 2)), grouped, 0)
        kept = self._cut(grouped, rows)
        shift = self.shift()[rows]
        if isinstance(bias, Tensor):
            shift = shift + bias[rows]
        shift = torch.where(needed[rows], shift, 0).to(weight.dtype)
        small.weight = nn.Parameter(kept, requires_grad=weight.requires_grad)
        if isinstance(bias, Tensor) or bool((shift != 0).any()):
            small.bias = nn.Parameter(shift, requires_grad=weight.requires_grad)
        inputs, outputs = len(self.columns()), int(rows.sum())
        if isinstance(small, nn.Linear):
            small.in_features, small.out_features = inputs, outputs
        else:
            live = rows.view(self.groups, -1).any(1)
            small.in_channels, small.out_channels = inputs, outputs  # type: ignore[assignment]
            small.groups = int(live.sum())  # type: ignore[assignment]
        return small

    def _cut(self, grouped: Tensor, rows: Tensor) -> Tensor:
        """The weight of the rows and columns that are kept, in the layer's order of axes."""
        columns = torch.zeros_like(self.fold, dtype=torch.bool)
        columns[self.columns()] = True
        pairs = zip(rows.view(self.groups, -1), columns.view(self.groups, -1), strict=True)
        parts = [part[row][:, column] for part, (row, column) in zip(grouped, pairs, strict=True)]
        kept = [part for part in parts if len(part)]
        if isinstance(self.module, Transposed):
            kept = [part.transpose(0, 1) for part in kept]
        return torch.cat(kept).contiguous()


def _levelled(mask: Tensor, preferred: Tensor) -> Tensor:
    """A mask with equally many entries in every row that has any: more entries are added.

    Args:
        mask: bool, `(rows, entries)`.
        preferred: entries that are added first, in order; then all others in order.
    """
    counts = mask.sum(1)
    missing = torch.where(counts > 0, counts.max() - counts, 0)[:, None]
    first, rest = ~mask & preferred, ~mask & ~preferred
    place = torch.where(first, first.cumsum(1), first.sum(1)[:, None] + rest.cumsum(1))
    return mask | (~mask & (place <= missing))
