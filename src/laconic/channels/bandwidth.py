"""The bandwidth-limited channel: the first B bands pass, draws from a prior replace the others.

```
 codeword   | band 1 | band 2 | ... | band B | band B+1 | ... | band T |
 received   | through the channel            | drawn from the prior, given the received bands |
```

B is random, and its law is part of the channel. A receiver that knows nothing of B sees T bands of
plausible numbers in every case. Codes become sorted by importance, since the first bands pass most
often.
"""

from collections.abc import Sequence
from typing import ClassVar, Protocol, final

import torch
from torch import Tensor

from laconic.channels.base import Channel, Received, Use
from laconic.errors import ConfigError

SLACK = 1e-6
"""How far probabilities may be from a sum of 1."""


class CodePrior(Protocol):
    """P(Z), the prior over received codewords that fills lost bands."""

    def fill(self, received: Tensor, passed: Tensor) -> Tensor:
        """Draw the bands that did not pass, given those that did.

        Args:
            received: `(batch, bands, numbers)`; bands from `passed` on are not looked at.
            passed: int64 `(batch,)`, how many bands of each codeword passed.

        Returns:
            `(batch, bands, numbers)`: the received bands as they are, then draws.
        """
        ...


@final
class BandwidthLimited(Channel):
    """A channel of which a random number of bands passes.

    Formula: C(Z | Y) = sum over B of P(B) prod_{t <= B} C(Z_t | Y_t) prod_{t > B} P(Z_t | Z_<t).
    Source: Ullrich 6.5, ERRATA 9.

    Args:
        inner: the channel that passed bands go through.
        shares: P(B) for B = 0, 1, ..., T; their sum is 1. T is the number of bands.
        prior: of received codewords.

    Raises:
        ConfigError: the shares are no probabilities, or name no band.
    """

    use: ClassVar[Use] = Use.REAL  # That of `inner`, set for each instance.

    def __init__(self, inner: Channel, shares: Sequence[float], prior: CodePrior) -> None:
        super().__init__()
        if len(shares) < 2 or min(shares) < 0 or abs(sum(shares) - 1) > SLACK:
            raise ConfigError(
                f"shares: {list(shares)} are no probabilities of 0, 1, ... bands with a sum of 1"
            )
        self.inner, self.bands, self.prior = inner, len(shares) - 1, prior
        self.use = inner.use  # type: ignore[misc]
        self.shares = tuple(float(share) for share in shares)

    @property
    def mean_bands(self) -> float:
        """E B."""
        return sum(count * share for count, share in enumerate(self.shares))

    @property
    def capacity_bits(self) -> float:
        """Of one use of a codeword's uses, passed or not: E B / T times the inner capacity.

        It is linear in the bandwidth.  Source: Ullrich 6.4, C ~ B.
        """
        return self.inner.capacity_bits * self.mean_bands / self.bands

    def prepare(self, y: Tensor) -> Tensor:
        """Every band obeys the inner channel's law by itself, since it may be the last to pass."""
        bands = self._split(y)
        return self.inner.prepare(bands.flatten(0, 1)).reshape(y.shape)

    def transmit(self, y: Tensor) -> Received:
        """Draw B for every codeword, and send `(batch, numbers)`; the state is B.

        This is the Monte Carlo form of the sum over B.
        """
        shares = torch.tensor(self.shares, device=y.device)
        return self.transmit_bands(y, torch.multinomial(shares, len(y), replacement=True))

    def transmit_bands(self, y: Tensor, passed: Tensor) -> Received:
        """Send codewords of which `passed`, int64 `(batch,)`, bands pass."""
        bands = self._split(self.inner(y))
        return Received(self.prior.fill(bands, passed).reshape(y.shape), passed)

    def transmit_all(self, y: Tensor) -> list[tuple[float, Tensor]]:
        """P(B) and received codewords for every B of positive probability.

        A loss that sums its values over this list with these weights is the full marginal over B;
        it costs as many passes of the receiver as there are bandwidths.
        """
        found = []
        for count, share in enumerate(self.shares):
            if share:
                passed = torch.full((len(y),), count, device=y.device)
                found.append((share, self.transmit_bands(y, passed).signal))
        return found

    def log_density(self, received: Received, y: Tensor) -> Tensor:
        """Log C of the bands that passed, in nats; of the draws nothing is counted."""
        assert received.state is not None
        bands, sent = self._split(received.signal), self._split(y)
        each = self.inner.log_density(Received(bands.flatten(0, 1)), sent.flatten(0, 1))
        there = torch.arange(self.bands, device=y.device) < received.state[:, None]
        return (each.reshape(len(y), self.bands) * there).sum(1)

    def _split(self, y: Tensor) -> Tensor:
        """`(batch, numbers)` -> `(batch, bands, numbers of a band)`."""
        if y.shape[1] % self.bands:
            raise ConfigError(f"{y.shape[1]} numbers cannot be divided into {self.bands} bands")
        return y.reshape(len(y), self.bands, -1)
