"""A prior that sender and receiver know to the last bit, and what they expect each draw to cost."""

from torch import Tensor
from torch.distributions import Normal


class RatedNormal(Normal):
    """A Gaussian prior from integer arithmetic, with the bits that each dimension may need.

    Coders may let `rates` steer how many bits they read; the floats of a `Normal` never may.

    Args:
        loc: means, float64, the same on every machine.
        scale: standard deviations, float64 with at most 24 significant bits, so that
            `loc + scale * u` with a float32 u is rounded once, everywhere alike.
        rates: expected KL of a posterior from this prior in 1/256 bit, int64, at least 0.
    """

    def __init__(self, loc: Tensor, scale: Tensor, rates: Tensor) -> None:
        super().__init__(loc, scale, validate_args=False)
        self.rates = rates
