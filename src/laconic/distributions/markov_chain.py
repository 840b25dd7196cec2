"""The joint distribution of vectors each of which depends on the one before it alone."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal
from torch.types import _size as _Size

from laconic.distributions.divergence import density


class NormalChain(Distribution):
    """p(z_1, ..., z_L) = p(z_1) Π p(z_k | z_(k-1)), normals, as one vector per example.

    Args:
        first: p(z_1), `(batch, ...)`.
        steps: z_(k-1) -> p(z_k | z_(k-1)).
        shapes: of z_1, z_2, ... without the batch.
        reverse: whether the vector has z_L first.
    """

    has_rsample = True
    arg_constraints = {}  # noqa: RUF012

    def __init__(
        self,
        first: Normal,
        steps: Sequence[Callable[[Tensor], Normal]],
        shapes: Sequence[torch.Size],
        reverse: bool = False,
    ) -> None:
        self.first, self.steps, self.shapes, self.reverse = first, steps, shapes, reverse
        size = sum(shape.numel() for shape in shapes)
        super().__init__(first.loc.shape[:1], torch.Size([size]), validate_args=False)

    def rsample(self, sample_shape: _Size = torch.Size()) -> Tensor:  # noqa: B008
        """One draw with gradients, `(batch, numbers)`; `sample_shape` must be empty."""
        if len(sample_shape):
            raise NotImplementedError("one draw at a time")
        parts = [self.first.rsample()]
        for step in self.steps:
            parts.append(step(parts[-1]).rsample())
        ordered = parts[::-1] if self.reverse else parts
        return torch.cat([part.flatten(1) for part in ordered], dim=1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats, `(batch,)`."""
        parts = self.split(value)
        total = density(self.first, parts[0])
        for step, before, part in zip(self.steps, parts, parts[1:], strict=False):
            total = total + density(step(before), part)
        return total

    def split(self, value: Tensor) -> list[Tensor]:
        """z_1, z_2, ... of vectors `(batch, numbers)`."""
        shapes = self.shapes[::-1] if self.reverse else self.shapes
        sizes = [shape.numel() for shape in shapes]
        pieces = torch.split(value, sizes, dim=1)
        parts = [piece.reshape(-1, *shape) for piece, shape in zip(pieces, shapes, strict=True)]
        return parts[::-1] if self.reverse else parts
