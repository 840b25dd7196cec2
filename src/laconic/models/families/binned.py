"""The toy's true process: a coin, noise, and a ruler of K bins.

Source: Alemi, appendix E: z* ~ Ber(0.7), h | z* ~ N(mu_z, sigma_z²), x the bin of h.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from laconic.errors import ConfigError
from laconic.models.families.enumerated import information

_HALVINGS = 200
"""More than float64 has digits."""


@dataclass(frozen=True)
class BinnedMixture:
    """Two normals of one scale, cut into bins.

    The source fixes the share and that I(x; z*) = 0.5 nats, and leaves mu_z, sigma_z and the ruler
    open. Ours: means at -1 and 1, since only their distance in scales matters; the ruler from -3
    to 3, what lies beyond is in its end bins; one scale for both, which `solve_scale` finds.

    Attributes:
        scale: sigma, of both.
        share: of the cause z0, whose mean is -1.
        bins: K.
        reach: the ruler goes from -reach to reach.
    """

    scale: float
    share: float = 0.7
    bins: int = 30
    reach: float = 3.0

    def joint(self) -> Tensor:
        """P(z*, x), `(2, bins)`, float64."""
        edges = torch.linspace(-self.reach, self.reach, self.bins + 1, dtype=torch.float64)[1:-1]
        means = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
        inner = torch.special.ndtr((edges - means) / self.scale)
        ends = inner.new_zeros(2, 1), inner.new_ones(2, 1)
        shares = torch.tensor([[self.share], [1 - self.share]], dtype=torch.float64)
        return shares * torch.cat([ends[0], inner, ends[1]], 1).diff(dim=1)


def solve_scale(nats: float, share: float = 0.7, bins: int = 30, reach: float = 3.0) -> float:
    """The scale at which x has so much information about its cause, by bisection.

    Args:
        nats: I(x; z*); it falls as the scale grows.
        share: of z0.
        bins: K.
        reach: of the ruler.

    Raises:
        ConfigError: no scale between 0.01 and 100 gives so much information.
    """
    low, high = 0.01, 100.0

    def nats_at(scale: float) -> float:
        return float(information(BinnedMixture(scale, share, bins, reach).joint()))

    least, most = nats_at(high), nats_at(low)
    if not least < nats < most:
        raise ConfigError(
            f"nats: {nats} is not between {least:.3g} and {most:.3g}, which is what "
            f"a coin of {share} in {bins} bins can give"
        )
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if nats_at(middle) > nats else (low, middle)
    return (low + high) / 2
