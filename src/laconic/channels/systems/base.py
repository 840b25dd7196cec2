"""The contract of systems: a picture in, a picture out, channel uses counted in between.

```
 x ─ encode ─► codeword y ─ channel ─► z ─ decode ─► picture          Receipt: uses, k C bits
```
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from laconic.channels.base import Channel
from laconic.channels.gate import Budget
from laconic.errors import ConfigError


@dataclass(frozen=True)
class Terms:
    """The parts of an objective, one value for each picture of a batch.

    Attributes:
        distortion: half the squared error, summed over the picture.
        rate_nats: what beta multiplies.
    """

    distortion: Tensor
    rate_nats: Tensor


@dataclass(frozen=True)
class Receipt:
    """What the sending of one picture took; channel uses stand where codecs count bits.

    Attributes:
        budget: uses, and bits of information that they can carry at most.
    """

    budget: Budget


class System(nn.Module, ABC):
    """Encoder, channel and decoder.

    Attributes:
        channel: what lies between sender and receiver.
        beta: nats of distortion at unit likelihood scale that a nat of rate is worth.
    """

    channel: Channel
    beta: float

    @abstractmethod
    def terms(self, x: Tensor) -> Terms:
        """Distortion and rate of pictures `(batch, channels, height, width)` in [0, 1]."""

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Codewords `(batch, numbers)` that obey the channel's input law."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Pictures of received codewords `(batch, numbers)`."""

    @property
    @abstractmethod
    def numbers(self) -> int:
        """Numbers of a codeword."""

    @property
    def receipt(self) -> Receipt:
        """What one picture takes."""
        return Receipt(Budget.of(self.channel, self.channel.uses(self.numbers)))

    @torch.no_grad()
    def transmit(self, x: Tensor) -> Tensor:
        """Send pictures and receive them, in [0, 1]."""
        return self.decode(self.channel(self.encode(x))).clamp(0, 1)

    def loss(self, x: Tensor) -> tuple[Tensor, Terms]:
        """Mean of distortion + beta rate, and its parts.

        Source: Ullrich 6.6 and 6.8.
        """
        terms = self.terms(x)
        return (terms.distortion + self.beta * terms.rate_nats).mean(), terms


class Trained(Protocol):
    """Whatever has an objective of pictures."""

    def loss(self, x: Tensor) -> tuple[Tensor, Terms]:
        """A scalar to minimise for pictures `(batch, channels, height, width)`, and its parts."""
        ...


@dataclass
class SystemLoss:
    """A system's objective for the training loop.

    Attributes:
        system: what is trained.
    """

    system: Trained

    def __call__(self, batch: Sequence[Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss per picture and its parts."""
        x = batch[0]
        loss, terms = self.system.loss(x)
        distortion, rate = (
            float(part.detach().mean()) for part in (terms.distortion, terms.rate_nats)
        )
        mse = 2 * distortion / x[0].numel()
        return loss, {"distortion_nats": distortion, "rate_nats": rate, "mse": mse}


def half_squared_error(picture: Tensor, x: Tensor) -> Tensor:
    """1/2 ||picture - x||^2 for every picture: nats at unit likelihood scale, `(batch,)`."""
    return 0.5 * (picture.float() - x).square().flatten(1).sum(1)


def check_beta(beta: float) -> float:
    """Beta itself; raises `ConfigError` where it is negative or no number."""
    if not 0 <= beta < float("inf"):
        raise ConfigError(f"system.beta: {beta} is not a number of 0 or more")
    return beta
