"""A latent-variable model over two small alphabets, summed exactly: no draw, no image.

```
 x, one of K ── e(z | x) ──► z, one of K ── d(x | z) ──► x          m(z)
```

Alemi's toy model (appendix E). The print is garbled; this is how we read it. An encoder of "2K
parameters" has a slope and an offset for each symbol of its *output*; the input enters as its
position, one number (a one-hot input with a weight for each symbol would need K² weights). The
minus sign belongs into the exponent, since probabilities are positive:

    e(z_i | x_j) ∝ exp(-(w_i x_j - b_i)²),   d(x_j | z_i) ∝ exp(-(w_j z_i - b_j)²),   m(z_i) = π_i.

So the decoder can represent any p(x) without z (w = 0: auto-decoding), and both can encode all of
x (w large and equal, b_i = w x_i: auto-encoding), like the source's family. Positions are K even
steps from -1 to 1; another scale would be another w.

All parameters have a leading axis of independent runs, so that many seeds cost little more than
one.
Source: Alemi, section 4 and appendix E.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from laconic.errors import ConfigError
from laconic.training.dual import price, update_multiplier

_SPREAD = 0.1
"""Standard deviation of all w and b at the start; π starts uniform."""


@dataclass(frozen=True)
class Tables:
    """A model's distributions, `(runs, K)` or `(runs, K, K)`; rows add up to 1.

    Attributes:
        encoder: e(z | x), x first.
        decoder: d(x | z), z first.
        marginal: m(z).
    """

    encoder: Tensor
    decoder: Tensor
    marginal: Tensor

    def rate(self, source: Tensor) -> Tensor:
        """R, in nats, `(runs,)`.  Source: Alemi, eq. 2.

        Args:
            source: p*(x), `(K,)`.
        """
        ratio = torch.xlogy(self.encoder, self.encoder) - torch.xlogy(
            self.encoder, self.marginal.unsqueeze(-2)
        )
        return (source.unsqueeze(-1) * ratio).sum((-2, -1))

    def distortion(self, source: Tensor) -> Tensor:
        """D, in nats, `(runs,)`.  Source: Alemi, eq. 3."""
        nats = torch.xlogy(self.encoder, self.decoder.mT)
        return -(source.unsqueeze(-1) * nats).sum((-2, -1))

    def joint(self, source: Tensor) -> Tensor:
        """p_e(x, z) = p*(x) e(z | x), x first."""
        return source.unsqueeze(-1) * self.encoder

    def joint_with(self, hidden: Tensor) -> Tensor:
        """Joint of a hidden cause of x and z, `(runs, causes, K)`.

        Args:
            hidden: joint of the cause and x, `(causes, K)`.
        """
        return hidden @ self.encoder

    def aggregate(self, source: Tensor) -> Tensor:
        """The aggregate posterior e(z) = sum_x p*(x) e(z | x), `(runs, K)`."""
        return self.joint(source).sum(-2)

    def generated(self) -> Tensor:
        """What the model draws by itself, g(x) = sum_z m(z) d(x | z), `(runs, K)`."""
        return (self.marginal.unsqueeze(-2) @ self.decoder).squeeze(-2)

    def transition(self) -> Tensor:
        """p(x' | x) = sum_z e(z | x) d(x' | z), x first."""
        return self.encoder @ self.decoder

    def reconstructed(self, source: Tensor) -> Tensor:
        """What comes back from data, d(x') = sum_x p*(x) p(x' | x), `(runs, K)`."""
        return source @ self.transition()


def tables_of(joint: Tensor) -> Tables:
    """The model that knows the true process: z is its cause, and nothing is approximated.

    Args:
        joint: of the cause and x, `(causes, K)`.
    """
    source, marginal = joint.sum(0), joint.sum(1)
    return Tables((joint / source).mT[None], (joint / marginal[:, None])[None], marginal[None])


def entropy(probabilities: Tensor) -> Tensor:
    """H in nats, over the last axis."""
    return -torch.xlogy(probabilities, probabilities).sum(-1)


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) in nats, over the last axis."""
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum(-1)


def information(joint: Tensor) -> Tensor:
    """I of the last two axes' variables, in nats."""
    flat = joint.flatten(-2)
    return entropy(joint.sum(-1)) + entropy(joint.sum(-2)) - entropy(flat)


@final
class EnumeratedModel(nn.Module):
    """Encoder, decoder and marginal of independent runs.

    Args:
        symbols: K, of x and of z.
        seeds: one for each run.
    """

    positions: Tensor

    def __init__(self, symbols: int, seeds: Sequence[int]) -> None:
        super().__init__()
        draws = torch.stack([_start(symbols, seed) for seed in seeds])
        self.encoder_slopes, self.encoder_offsets, self.decoder_slopes, self.decoder_offsets = (
            nn.Parameter(part.clone()) for part in draws.unbind(1)
        )
        self.log_marginal = nn.Parameter(torch.zeros(len(seeds), symbols, dtype=torch.float64))
        positions = torch.linspace(-1, 1, symbols, dtype=torch.float64)
        self.register_buffer("positions", positions)

    def forward(self) -> Tables:
        """The present distributions."""
        return Tables(
            self._channel(self.encoder_slopes, self.encoder_offsets),
            self._channel(self.decoder_slopes, self.decoder_offsets),
            self.log_marginal.softmax(-1),
        )

    def _channel(self, slopes: Tensor, offsets: Tensor) -> Tensor:
        """`(runs, inputs, outputs)`."""
        reached = slopes.unsqueeze(-2) * self.positions.unsqueeze(-1) - offsets.unsqueeze(-2)
        return (-reached.square()).softmax(-1)


def _start(symbols: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return _SPREAD * torch.randn(4, symbols, generator=generator, dtype=torch.float64)


@dataclass(frozen=True)
class FitConfig:
    """How an enumerated model is trained.

    Attributes:
        target_nats: R*, reached by the dual ascent of `training.dual`; 0: the ELBO, D + R.
        steps: of Adam on the exact sums.
        learning_rate: at first; it falls to 0 along half a cosine.
        dual_rate: by which the multiplier rises in a step at twice the target rate.
        stiffness: by which beta exceeds the multiplier at twice the target rate.

    Raises:
        ConfigError: no step, or a negative target.
    """

    target_nats: float = 0.0
    steps: int = 3000
    learning_rate: float = 0.03
    dual_rate: float = 0.003
    stiffness: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.target_nats < 0:
            raise ConfigError("fit: steps must be at least 1, target_nats not negative")


def fit(model: EnumeratedModel, source: Tensor, config: FitConfig = FitConfig()) -> Tensor:
    """Train every run by itself, in place; Adam works number by number, so runs do not meet.

    Args:
        model: to train.
        source: p*(x), `(K,)`: all of the data there could be.
        config: settings.

    Returns:
        The multiplier of each run's rate at the end, `(runs,)`; 1 without a target.
    """
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.99))
    multiplier = torch.ones(len(model.log_marginal), dtype=source.dtype)
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * _half_cosine(step / config.steps)
        tables = model()
        rate, distortion = tables.rate(source), tables.distortion(source)
        beta = multiplier
        if config.target_nats:
            excess = rate.detach() / config.target_nats - 1
            beta = price(multiplier, excess, config.stiffness)
            update_multiplier(multiplier, excess, config.dual_rate)
        optimizer.zero_grad()
        (distortion + beta * rate).sum().backward()
        optimizer.step()
    return multiplier


def _half_cosine(part: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * part))
