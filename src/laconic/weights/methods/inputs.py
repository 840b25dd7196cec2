"""The inputs of a layer: where they are in its weight, and how its weight is scaled by them."""

from dataclasses import dataclass
from typing import Self

from torch import Tensor, nn

from laconic.weights.base import TRANSPOSED


@dataclass(frozen=True)
class InputAxis:
    """The axis of a weight along which the layer's inputs are.

    A feature of an embedding counts as an input, since the rows of its weight are words.

    Attributes:
        axis: of the weight.
        groups: of a convolution; each has its own inputs.
        is_embedding: whether the layer is an embedding.
    """

    axis: int
    groups: int = 1
    is_embedding: bool = False

    @classmethod
    def of(cls, layer: nn.Module) -> Self:
        """The axis of a layer."""
        if isinstance(layer, TRANSPOSED):
            return cls(0)
        groups = getattr(layer, "groups", 1)
        assert isinstance(groups, int)
        return cls(1, groups, isinstance(layer, nn.Embedding))

    def size(self, weight: Tensor) -> int:
        """Number of inputs of the layer with this weight."""
        return weight.shape[self.axis] * self.groups

    def scale(self, weight: Tensor, factors: Tensor) -> Tensor:
        """The weight of a layer whose inputs are multiplied by these factors.

        Args:
            weight: the layer's.
            factors: shape `(inputs,)`.
        """
        behind = [1] * (weight.dim() - 1 - self.axis)
        if self.groups == 1:
            return weight * factors.view(-1, *behind)
        split = weight.unflatten(0, (self.groups, -1))  # type: ignore[no-untyped-call]
        scaled: Tensor = split * factors.view(self.groups, 1, -1, *behind)
        return scaled.flatten(0, 1)
