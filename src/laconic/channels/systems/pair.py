"""Separate and joint systems of the same parts; only what is minimised differs.

```
 x ─ source encoder ─► y' ─ channel encoder ─► y ═ channel ═► z ─ channel decoder ─► z'
   ─ source decoder ─► picture

 separate: source: D + beta R with z' = y'; channel: E |y' - z'|^2 of draws y' ~ N(0, 1)
 joint:    D + beta R, with everything above in between
```

The parts of the separate system exchange nothing: the source's is a VAE with the fixed prior
N(0, 1), and the channel's an autoencoder of draws from that prior. So its codewords have power 1 on
average over the prior, not each by itself: a code that is weaker than the prior's draws stays so,
and the channel's decoder gives it back at its size. The joint system, whose decoder can learn the
sizes that occur, has power 1 in every codeword. Both are trained in the same
steps, with disjoint parameters, so that each parameter of either system gets as many updates.
Source: Ullrich 6.4 (6.6, 6.8), figure 6.2.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from laconic.channels.base import Channel
from laconic.channels.systems.base import System, Terms, check_beta, half_squared_error
from laconic.channels.systems.code import Code
from laconic.errors import ConfigError

KINDS = ("joint", "separate")
POWER_DRAWS = 4096
"""Draws of the prior that the mean power of codewords is measured on."""


@dataclass(frozen=True)
class Parts:
    """The networks that a system is given.

    Attributes:
        source_encoder: pictures -> moments of y', `(batch, 2 numbers)`.
        channel_encoder: y' -> y before its power is set.
        channel_decoder: z -> z'.
        source_decoder: z' -> pictures.
    """

    source_encoder: nn.Module
    channel_encoder: nn.Module
    channel_decoder: nn.Module
    source_decoder: nn.Module


class PairSystem(System):
    """What both share.

    Args:
        parts: the networks.
        numbers: of a codeword.
        channel: between them.
        beta: see `System`.
    """

    def __init__(self, parts: Parts, numbers: int, channel: Channel, beta: float) -> None:
        super().__init__()
        self.source_encoder, self.channel_encoder = parts.source_encoder, parts.channel_encoder
        self.channel_decoder, self.source_decoder = parts.channel_decoder, parts.source_decoder
        self.channel, self.beta, self._numbers = channel, check_beta(beta), numbers
        channel.uses(numbers)

    @property
    def numbers(self) -> int:
        """Numbers of a codeword."""
        return self._numbers

    def encode(self, x: Tensor) -> Tensor:
        """The codeword of the code's mean."""
        return self._to_channel(Code.of(self.source_encoder(x)).mean)

    def decode(self, z: Tensor) -> Tensor:
        """Z -> z' -> picture."""
        picture: Tensor = self.source_decoder(self.channel_decoder(z))
        return picture

    def _to_channel(self, code: Tensor) -> Tensor:
        return self.channel.prepare(self.channel_encoder(code))


@final
class JointSystem(PairSystem):
    """Everything is trained through the channel.  Source: Ullrich 6.7 and 6.8.

    The variational posterior of 6.8 is the sender itself, so that its KL is zero; the rate that
    beta weighs is that of the code y', which bounds the information that the receiver can have.
    """

    def terms(self, x: Tensor) -> Terms:
        """Distortion behind the channel; KL(E(Y' | x) || N(0, 1))."""
        code = Code.of(self.source_encoder(x))
        z = self.channel(self._to_channel(code.draw()))
        return Terms(half_squared_error(self.decode(z), x), code.kl_nats())


@final
class SeparateSystem(PairSystem):
    """A source VAE and a channel autoencoder that know nothing of each other.

    The sender sends a draw of the source's code, which is what the channel was made for.
    Source: Ullrich 6.6 (source-VAE with a fixed prior) and 6.4 (channel-AE).
    """

    def encode(self, x: Tensor) -> Tensor:
        """The codeword of a draw of the code."""
        return self._scaled(self.channel_encoder(Code.of(self.source_encoder(x)).draw()))

    def terms(self, x: Tensor) -> Terms:
        """Distortion of the source's code without a channel; the VAE's rate."""
        code = Code.of(self.source_encoder(x))
        picture = self.source_decoder(code.draw())
        return Terms(half_squared_error(picture, x), code.kl_nats())

    def loss(self, x: Tensor) -> tuple[Tensor, Terms]:
        """D + beta R of the source, plus the channel autoencoder's error on draws of the prior."""
        loss, terms = super().loss(x)
        drawn = torch.randn(len(x), self.numbers, device=x.device)
        sent = self.channel_encoder(drawn)
        error = half_squared_error(self.channel_decoder(self.channel(self._scaled(sent))), drawn)
        return loss + error.mean(), terms

    def _scaled(self, code: Tensor) -> Tensor:
        """Power 1 per use on average over the prior; in training over a batch of its draws."""
        drawn = code if self.training else self._draws_of_the_prior(code)
        power = drawn.float().square().mean() * self.channel.use.numbers
        scaled: Tensor = code / power.sqrt()
        return scaled

    @torch.no_grad()
    def _draws_of_the_prior(self, like: Tensor) -> Tensor:
        """What the channel encoder makes of the same draws every time."""
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randn(POWER_DRAWS, self.numbers, generator=generator).to(like.device)
        sent: Tensor = self.channel_encoder(drawn)
        return sent


def make_pair(kind: str, parts: Parts, numbers: int, channel: Channel, beta: float) -> PairSystem:
    """A joint or a separate system.

    Raises:
        ConfigError: an unknown kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"system.kind: '{kind}' is not one of {', '.join(KINDS)}")
    system = JointSystem if kind == "joint" else SeparateSystem
    return system(parts, numbers, channel, beta)
