"""The ELBO with part of its squared error replaced by structural similarity."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.distributions import Distribution

from laconic.errors import ConfigError, MissingPackageError
from laconic.training.objectives.base import Objective, Rung, Terms
from laconic.training.objectives.elbo import elbo
from laconic.training.objectives.pictures import squared_error

SMALLEST_SIDE = 161
"""Pixels below which five scales of an 11-pixel window do not fit."""


@dataclass(frozen=True)
class Structural(Objective):
    """Rate + (1 - share) squared error / (2 beta) + share * exchange (1 - MS-SSIM) / beta.

    Squared error counts an error equally at every place; MS-SSIM counts it against the local
    contrast. `exchange` makes one worth the other: published codecs that were trained for either
    pair their multipliers, at six rates, so that (1 - MS-SSIM) weighs 0.0152 to 0.0158 / beta nats
    per pixel where the squared error weighs 1 / (2 beta) (Balle et al. 2018 as retrained by
    CompressAI: lambda 0.0067, 0.013, 0.0483 for the one, 4.58, 8.73, 31.73 for the other).

    Attributes:
        share: 0 is the ELBO of a Gaussian likelihood of variance beta, 1 has no squared error.
        exchange: see above.
    """

    share: float | Tensor = 0.3
    exchange: float = 0.0155

    def __call__(
        self,
        x: Tensor,
        rungs: Sequence[Rung],
        likelihood: Distribution,
        log_beta: Tensor,
        warmup: float = 1.0,
    ) -> Terms:
        """Per-example terms.

        Raises:
            ConfigError: patches too small for MS-SSIM, or pytorch-msssim is not installed.
        """
        return _shared(x, rungs, likelihood, log_beta, warmup, self.share, self.exchange)


@dataclass(frozen=True)
class Taste(Objective):
    """`Structural` with a share of its own for every example: the operating point's taste.

    The model is given the share, so that one set of weights serves all of them.

    Attributes:
        squared: share of the examples that have squared error alone, taste 0.
        structural: share of those that have no squared error, taste 1. The rest is uniform.
        exchange: as `Structural` has it.

    Raises:
        ConfigError: shares that are no shares.
    """

    has_taste = True
    squared: float = 0.4
    structural: float = 0.3
    exchange: float = 0.0155

    def __post_init__(self) -> None:
        if min(self.squared, self.structural) < 0 or self.squared + self.structural > 1:
            raise ConfigError("objective: squared and structural are shares, at most 1 in all")

    def draw_taste(self, count: int, generator: torch.Generator) -> Tensor:
        """Tastes of `count` examples, `(count,)` in [0, 1]."""
        place = torch.rand(count, generator=generator)
        between = max(1 - self.squared - self.structural, 1e-9)
        return ((place - self.squared) / between).clamp(0, 1)

    def at(self, taste: Tensor) -> Objective:
        """The objective of examples with these tastes, `(batch,)`."""
        return Structural(taste, self.exchange)

    def __call__(
        self,
        x: Tensor,
        rungs: Sequence[Rung],
        likelihood: Distribution,
        log_beta: Tensor,
        warmup: float = 1.0,
    ) -> Terms:
        """Per-example terms halfway, at taste 1/2."""
        return _shared(x, rungs, likelihood, log_beta, warmup, 0.5, self.exchange)


def _shared(
    x: Tensor,
    rungs: Sequence[Rung],
    likelihood: Distribution,
    log_beta: Tensor,
    warmup: float,
    share: float | Tensor,
    exchange: float,
) -> Terms:
    if min(x.shape[-2:]) < SMALLEST_SIDE:
        raise ConfigError(
            f"data.patch: the structural objective needs at least {SMALLEST_SIDE} pixels"
        )
    terms = elbo(x, rungs, likelihood, log_beta, warmup)
    shares = torch.as_tensor(share, dtype=terms.loss.dtype, device=x.device).expand(len(x))
    # MS-SSIM takes a tenth of a step: only examples that it counts for have it computed.
    chosen = shares.nonzero()[:, 0]
    if len(chosen) == 0:
        return terms
    similarity = _similarity(likelihood.mean[chosen], x[chosen])
    squared = squared_error(x, likelihood)[chosen] * x.shape[1] / 2
    trade = x[0, 0].numel() * (exchange * (1 - similarity) - squared)
    change = shares[chosen] * trade / log_beta.exp().expand(len(x))[chosen]
    return replace(terms, loss=terms.loss.index_add(0, chosen, change.to(terms.loss)))


def _similarity(shown: Tensor, x: Tensor) -> Tensor:
    try:
        from pytorch_msssim import ms_ssim
    except ImportError as error:
        raise MissingPackageError(
            "the structural objective needs", "pytorch-msssim", "eval"
        ) from error
    values: Tensor = ms_ssim(shown.float(), x.float(), data_range=1.0, size_average=False)
    return values
