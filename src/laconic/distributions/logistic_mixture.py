"""Pixels under mixtures of discretised logistics: colours one by one, or grey."""

from typing import Final

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn import functional

LEVELS: Final = 256
CENTRE: Final = 128.0
"""The value at which couplings between colours have no effect."""
LEAST_LOG_SCALE: Final = -4.0
"""Least scale in pixel steps: all mass is on one value, and a smaller scale has the same mass."""
LOGIT_LIMIT: Final = 30.0
"""Logits of shared mixtures are clipped to this, in nats."""
RAREST: Final = 2.0**-28
"""Least mass of a value of shared mixtures; entropy coders give every symbol at least this."""


def log_masses(values: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
    """Log masses, in nats, of values of 8 bits under single logistics; shapes broadcast.

    Formula: ln [S((v + ½ - m) / s) - S((v - ½ - m) / s)], S the logistic function; the first and
    the last value take the tails.

    Args:
        values: integers, 0 to 255.
        means: in pixel steps.
        log_scales: natural log of pixel steps.
    """
    distance = values - means
    sharpness = torch.exp(-log_scales)
    above = (distance + 0.5) * sharpness
    below = (distance - 0.5) * sharpness
    # ln(S(a) - S(b)) = ln S(a) + ln S(-b) + ln(1 - e^(b - a)), stable in both tails.
    inside = (
        functional.logsigmoid(above)
        + functional.logsigmoid(-below)
        + torch.log(-torch.expm1(-sharpness))
    )
    last = torch.where(values >= LEVELS - 1, functional.logsigmoid(-below), inside)
    return torch.where(values <= 0, functional.logsigmoid(above), last)


class ColourMixture(Distribution):
    """Three colours of 8 bits, K logistics each; green depends on red, blue on both.

    Formula: p(v) = sum_k w_k [S((v + ½ - m_k) / s_k) - S((v - ½ - m_k) / s_k)], S the logistic
    function; the first and the last value take the tails. With r, g in 0 .. 255 the means are
    m_red, m_green + c_0 (r - 128), m_blue + c_1 (r - 128) + c_2 (g - 128).
    Source: Lecture (learned autoregressive model); Salimans et al. 2017, with weights per colour.

    Args:
        logits: `(batch, 3, K, h, w)`, natural log of the weights but for a constant.
        means: the same shape, in pixel steps, 0 to 255.
        log_scales: the same shape, natural log of the scale in pixel steps.
        couplings: the same shape: c_0, c_1, c_2 along the second axis.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own interface)
    has_rsample = False

    def __init__(
        self, logits: Tensor, means: Tensor, log_scales: Tensor, couplings: Tensor
    ) -> None:
        self.logits, self.means = logits, means
        self.log_scales = log_scales.clamp_min(LEAST_LOG_SCALE)
        self.couplings = couplings
        batch, colours, _, height, width = logits.shape
        super().__init__(
            torch.Size([batch]), torch.Size([colours, height, width]), validate_args=False
        )

    def colour_log_prob(self, x: Tensor) -> Tensor:
        """Log mass, in nats, of every pixel and colour: `(batch, 3, h, w)` in [0, 1]."""
        values = torch.round(x.float() * (LEVELS - 1))
        mass = log_masses(values[:, :, None], self._coupled(values), self.log_scales)
        return torch.logsumexp(mass + torch.log_softmax(self.logits, dim=2), dim=2)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log mass, in nats, of every image: `(batch, 3, h, w)` in [0, 1] -> `(batch,)`.

        In an image whose three colours are equal everywhere, only the first colour counts: the
        codec sends the others as copies.
        """
        nats = self.colour_log_prob(x)
        grey = (x == x[:, :1]).flatten(1).all(1).to(nats.dtype)
        whole = nats.flatten(2).sum(2)
        return whole[:, 0] + (1 - grey) * (whole[:, 1] + whole[:, 2])

    @property
    def mean(self) -> Tensor:
        """Mean picture, `(batch, 3, h, w)` in [0, 1], each colour given the means of the others."""
        weights = torch.softmax(self.logits, dim=2)
        red = (weights[:, 0] * self.means[:, 0]).sum(1)
        green = (
            weights[:, 1] * (self.means[:, 1] + self.couplings[:, 0] * (red - CENTRE)[:, None])
        ).sum(1)
        blue_means = (
            self.means[:, 2]
            + self.couplings[:, 1] * (red - CENTRE)[:, None]
            + self.couplings[:, 2] * (green - CENTRE)[:, None]
        )
        blue = (weights[:, 2] * blue_means).sum(1)
        return torch.stack([red, green, blue], dim=1).clamp(0, LEVELS - 1) / (LEVELS - 1)

    def _coupled(self, values: Tensor) -> Tensor:
        red = values[:, 0, None] - CENTRE
        green = values[:, 1, None] - CENTRE
        shifts = [
            torch.zeros_like(self.means[:, 0]),
            self.couplings[:, 0] * red,
            self.couplings[:, 1] * red + self.couplings[:, 2] * green,
        ]
        return self.means + torch.stack(shifts, dim=1)


class SharedMixture(Distribution):
    """Grey of 8 bits: all pixels mix the same K logistics, each with its own weights.

    For pictures with few kinds of values, such as pen strokes on paper: black, white and some
    greys. The components' masses are one small table, so that a pixel costs K look-ups.
    Formula: p(v) = (1 - 256 r) sum_k w_k p_k(v) + r, r = 2^-28, as coders round.

    Args:
        logits: `(batch, K, h, w)`, natural log of the weights but for a constant, at most +-30.
        means: `(K,)`, in pixel steps.
        log_scales: `(K,)`, natural log of the scale in pixel steps.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own interface)
    has_rsample = False

    def __init__(self, logits: Tensor, means: Tensor, log_scales: Tensor) -> None:
        batch, _, height, width = logits.shape
        # Components last, as a look-up returns them. Below e^30 no maximum need be subtracted; a
        # softmax over so few numbers is slow.
        limited = logits.permute(0, 2, 3, 1).clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
        self.weights = torch.exp(limited)
        values = torch.arange(LEVELS, device=logits.device)[:, None]
        masses = log_masses(values, means, log_scales.clamp_min(LEAST_LOG_SCALE)).exp()
        self.table = masses * (1 - LEVELS * RAREST) + RAREST
        super().__init__(torch.Size([batch]), torch.Size([1, height, width]), validate_args=False)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log mass, in nats, of every image: `(batch, 1, h, w)` in [0, 1] -> `(batch,)`."""
        values = torch.round(x[:, 0].float() * (LEVELS - 1)).long()
        masses = functional.embedding(values, self.table)
        nats = torch.log((self.weights * masses).sum(3)) - torch.log(self.weights.sum(3))
        return nats.flatten(1).sum(1)

    @property
    def mean(self) -> Tensor:
        """Mean picture, `(batch, 1, h, w)` in [0, 1]."""
        steps = torch.arange(LEVELS, device=self.table.device, dtype=self.table.dtype)
        centres = steps @ (self.table / self.table.sum(0)) / (LEVELS - 1)
        return (self.weights @ centres / self.weights.sum(3))[:, None]
