"""Joint systems for the bandwidth-limited channel: codes sorted by importance.

The first bands pass most often, so that training puts into them what matters most; any number of
first bands decodes. A decoder with auxiliary latents draws what the code does not say.
Source: Ullrich 6.4, 6.5, 6.6; ERRATA 9.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from laconic.channels.bandwidth import BandwidthLimited
from laconic.channels.gaussian import NoisyChannel
from laconic.channels.systems.auxiliary import Drawn
from laconic.channels.systems.base import System, Terms, check_beta, half_squared_error
from laconic.channels.systems.code import Code
from laconic.channels.systems.priors import BandPrior


@dataclass(frozen=True)
class BandParts:
    """The networks that the system is given.

    Attributes:
        encoder: pictures -> moments of y, `(batch, 2 numbers)`.
        decoder: `(z, x or None)` -> a `Drawn`.
        prior: of received codewords.
    """

    encoder: nn.Module
    decoder: nn.Module
    prior: BandPrior


@final
class BandSystem(System):
    """A joint system whose codeword passes in part.

    Attributes:
        channel: the bandwidth-limited channel; it holds the prior.

    Args:
        parts: the networks.
        inner: the channel that passed bands go through.
        shares: P(B), see `BandwidthLimited`.
        beta: see `System`.
        marginal: whether the loss sums over all B; else it draws one B for each picture.
        auxiliary_weight: nats of the code that a nat of the decoder's own latents is worth.
    """

    channel: BandwidthLimited

    def __init__(
        self,
        parts: BandParts,
        inner: NoisyChannel,
        shares: tuple[float, ...],
        beta: float,
        marginal: bool = False,
        auxiliary_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = parts.encoder, parts.decoder
        self.marginal, self.beta = marginal, check_beta(beta)
        self.auxiliary_weight = auxiliary_weight
        self.channel = BandwidthLimited(inner, shares, parts.prior)

    @property
    def prior(self) -> BandPrior:
        """The prior over received codewords, which the channel fills lost bands with."""
        prior = self.channel.prior
        assert isinstance(prior, BandPrior)
        return prior

    @property
    def inner(self) -> NoisyChannel:
        """The channel that passed bands go through."""
        inner = self.channel.inner
        assert isinstance(inner, NoisyChannel)
        return inner

    @property
    def numbers(self) -> int:
        """Numbers of a codeword, all bands."""
        return self.prior.bands * self.prior.numbers

    def terms(self, x: Tensor) -> Terms:
        """Distortion over the law of B; transmission rate T plus the weighted auxiliary KL.

        With the weight 1 this is equation 6.9. Its bound is tight where the latents' prior can be
        as rich as their posterior; a small network's cannot, and a larger weight makes the two
        more alike, so that pictures drawn without a posterior are better.
        """
        code = self._code(x)
        sent = self.inner(code.draw())
        bands = sent.reshape(len(x), self.prior.bands, -1)
        law = code.received(self.inner.noise_scale_per_number)
        rate = self.prior.kl_nats(law, bands)
        distortion, auxiliary = torch.zeros_like(rate), torch.zeros_like(rate)
        for share, passed in self._bandwidths(len(x), x.device):
            drawn = self.decoder(self.prior.fill(bands, passed).flatten(1), x)
            distortion = distortion + share * half_squared_error(drawn.picture, x)
            auxiliary = auxiliary + share * drawn.kl_nats
        return Terms(distortion, rate + self.auxiliary_weight * auxiliary)

    def encode(self, x: Tensor) -> Tensor:
        """The mean of the code, every band of power 1."""
        return self.channel.prepare(self._code(x).mean)

    def decode(self, z: Tensor) -> Tensor:
        """Pictures; auxiliary latents are drawn from their prior."""
        drawn: Drawn = self.decoder(z, None)
        return drawn.picture

    @torch.no_grad()
    def transmit_bands(self, x: Tensor, passed: int) -> Tensor:
        """Pictures of which the first `passed` bands arrive."""
        counts = torch.full((len(x),), passed, device=x.device)
        received = self.channel.transmit_bands(self.encode(x), counts)
        return self.decode(received.signal).clamp(0, 1)

    def _code(self, x: Tensor) -> Code:
        numbers_per_use = self.inner.use.numbers
        return Code.of(self.encoder(x)).normalised(self.prior.bands, numbers_per_use)

    def _bandwidths(self, count: int, device: torch.device) -> list[tuple[float, Tensor]]:
        """Weights and numbers of bands that the loss sums over."""
        shares = self.channel.shares
        if not self.marginal:
            law = torch.tensor(shares, device=device)
            return [(1.0, torch.multinomial(law, count, replacement=True))]
        return [
            (share, torch.full((count,), bands, device=device))
            for bands, share in enumerate(shares)
            if share
        ]
