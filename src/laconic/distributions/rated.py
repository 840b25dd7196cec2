"""A prior that sender and receiver know exactly, with the expected rate of each dimension."""

from torch import Tensor
from torch.distributions import Normal


class RatedNormal(Normal):
    """A Gaussian prior from integer arithmetic, with the bits that each dimension should need.

    Coders may use `rates` to decide how many bits they read; they must not use the floats of a
    `Normal` for that.

    Args:
        loc: means, float64, the same on every machine.
        scale: standard deviations, float64 with at most 24 significant bits, so that
            `loc + scale * u` with a float32 u is rounded once, equally on every machine.
        rates: expected KL of a posterior from this prior in 1/256 bit, int64, at least 0.
    """

    def __init__(self, loc: Tensor, scale: Tensor, rates: Tensor) -> None:
        super().__init__(loc, scale, validate_args=False)
        self.rates = rates
