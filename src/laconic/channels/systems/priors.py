"""Priors over received codewords, band by band: they fill the bands that do not pass.

A prior is a ladder's: band t is a level, and the bands before it are the latents above it.
"""

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional

from laconic.channels.systems.code import Code

LEAST_SCALE = 0.05
"""Added to the scales of a learned prior, so that no code can cost without bound."""


class BandPrior(nn.Module, ABC):
    """P(Z_t | Z_<t) for every band t.

    Args:
        bands: of a codeword.
        numbers: of a band.
    """

    def __init__(self, bands: int, numbers: int) -> None:
        super().__init__()
        self.bands, self.numbers = bands, numbers

    @abstractmethod
    def begin(self, like: Tensor) -> Tensor:
        """What is known before the first band; `like`: `(batch, ...)`."""

    @abstractmethod
    def band(self, known: Tensor) -> Normal:
        """The law of the next band, `(batch, numbers)`."""

    @abstractmethod
    def take(self, known: Tensor, band: Tensor) -> Tensor:
        """What is known after a band."""

    def fill(self, received: Tensor, passed: Tensor) -> Tensor:
        """Draw the bands that did not pass; see `CodePrior`."""
        known, found = self.begin(received), []
        for index in range(self.bands):
            law = self.band(known)
            draw = law.loc + law.scale * torch.randn_like(law.loc)
            band = torch.where((index < passed)[:, None], received[:, index].float(), draw)
            found.append(band)
            known = self.take(known, band)
        return torch.stack(found, dim=1)

    def kl_nats(self, code: Code, received: Tensor) -> Tensor:
        """Transmission rate in nats, `(batch,)`: KL of received codewords' law to this prior.

        Formula: T = sum_t KL(C(Z_t | Y_t) || P(Z_t | z_<t)), z being the received draw.
        Source: Ullrich 9.27, with N(Z) the prior over codes.

        Args:
            code: law of the received codewords, `(batch, bands * numbers)`.
            received: their draw, `(batch, bands, numbers)`, no band lost.
        """
        known, total = self.begin(received), torch.zeros(len(received), device=received.device)
        shape = (len(received), self.bands, self.numbers)
        means, scales = code.mean.reshape(shape), code.scale.reshape(shape)
        for index in range(self.bands):
            law = self.band(known)
            total = total + Code(means[:, index], scales[:, index]).kl_nats(law)
            known = self.take(known, received[:, index])
        return total


@final
class SphericalPrior(BandPrior):
    """N(0, power) for every number, whatever was received.

    Source: Ullrich 6.4 (a standard Gaussian prior) and 6.6 (the spherical one).

    Args:
        bands: of a codeword.
        numbers: of a band.
        power: of a received number: the signal's and the noise's together.
    """

    def __init__(self, bands: int, numbers: int, power: float) -> None:
        super().__init__(bands, numbers)
        self.scale = power**0.5

    def begin(self, like: Tensor) -> Tensor:
        """Nothing."""
        return torch.zeros(len(like), 0, device=like.device)

    def band(self, known: Tensor) -> Normal:
        """The same law for every band."""
        zeros = torch.zeros(len(known), self.numbers, device=known.device)
        return Normal(zeros, torch.full_like(zeros, self.scale), validate_args=False)

    def take(self, known: Tensor, band: Tensor) -> Tensor:
        """Nothing is learned from a band."""
        return known


@final
class DrawPrior(BandPrior):
    """A recurrent network predicts every band from those before it.

    This is the recurrent prior of ConvDRAW (Gregor et al. 2016) for codes that are vectors, where
    its convolutions are linear layers.  Source: Ullrich 6.6 (the complex prior).

    Args:
        bands: of a codeword.
        numbers: of a band.
        hidden: width of the network's state.
    """

    def __init__(self, bands: int, numbers: int, hidden: int = 128) -> None:
        super().__init__(bands, numbers)
        self.first = nn.Parameter(torch.zeros(hidden))
        self.cell = nn.GRUCell(numbers, hidden)
        self.inner = nn.Linear(hidden, hidden)
        self.outer = nn.Linear(hidden, 2 * numbers)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def begin(self, like: Tensor) -> Tensor:
        """The first state."""
        return self.first.expand(len(like), -1)

    def band(self, known: Tensor) -> Normal:
        """Mean and scale from the state."""
        hidden = functional.silu(self.inner(known)) + known
        mean, raw = self.outer(hidden).float().chunk(2, dim=1)
        return Normal(mean, functional.softplus(raw + 1.0) + LEAST_SCALE, validate_args=False)

    def take(self, known: Tensor, band: Tensor) -> Tensor:
        """The state after a band."""
        state: Tensor = self.cell(band.to(known.dtype), known)
        return state
