"""The posterior over images' poses: a few modes with weights, each a Gaussian of small angles.

Source: q(p_n) of Ullrich 5.5, equation (5.16), with more than one mode, which 5.6 finds it needs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from laconic.imaging.rotations import distance

TENSORS = ("rotations", "shifts", "weights", "variance", "evidence")
"""What `Poses` holds of each image."""


@dataclass(frozen=True)
class Poses:
    """Modes of images' poses, the best first.

    Attributes:
        rotations: (images, modes, 3, 3), float64.
        shifts: (images, modes, 2): x, y in pixels, float64.
        weights: (images, modes): posterior masses, which add up to 1.
        variance: (images, modes): E |w|^2 of the rotation vector within the mode, in radians^2.
        evidence: (images,): log of the sum of the modes' masses, up to a constant, in nats.
        group: (order, 3, 3): the volume's symmetry.
    """

    rotations: Tensor
    shifts: Tensor
    weights: Tensor
    variance: Tensor
    evidence: Tensor
    group: Tensor

    def __len__(self) -> int:
        return len(self.rotations)

    def entropy(self) -> Tensor:
        """Of the modes' weights, in nats: (images,)."""
        entropy: Tensor = torch.special.entr(self.weights).sum(1)
        return entropy

    def spread(self) -> Tensor:
        """Root mean square angle to the best pose under the posterior, in degrees: (images,)."""
        best = self.rotations[:, :1].expand_as(self.rotations)
        between = distance(self.rotations, best, self.group).square()
        within = torch.rad2deg(self.variance.double().sqrt()).square()
        return (self.weights * (between + within)).sum(1).sqrt()

    def take(self, numbers: Tensor) -> "Poses":
        """Those of some images."""
        tensors = {name: getattr(self, name)[numbers] for name in TENSORS}
        return Poses(**tensors, group=self.group)

    @classmethod
    def joined(cls, parts: "list[Poses]") -> "Poses":
        """Those of several batches of images."""
        tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in TENSORS}
        return cls(**tensors, group=parts[0].group)
