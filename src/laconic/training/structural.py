"""The ELBO with part of its squared error told as structural similarity."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor
from torch.distributions import Distribution

from laconic.errors import ConfigError, MissingPackageError
from laconic.training.objectives import Rung, Terms, elbo

SMALLEST_SIDE = 161
"""Pixels below which five scales of an 11-pixel window do not fit."""


@dataclass(frozen=True)
class Structural:
    """Rate + (1 - share) squared error / (2 beta) + share * exchange (1 - MS-SSIM) / beta.

    Squared error counts an error alike wherever it stands; MS-SSIM counts it against the local
    contrast. `exchange` makes one worth the other: published codecs that were trained for either
    pair their multipliers, at six rates, so that (1 - MS-SSIM) weighs 0.0152 to 0.0158 / beta nats
    per pixel where the squared error weighs 1 / (2 beta) (Balle et al. 2018 as retrained by
    CompressAI: lambda 0.0067, 0.013, 0.0483 for the one, 4.58, 8.73, 31.73 for the other).

    Attributes:
        share: 0 is the ELBO of a Gaussian likelihood of variance beta, 1 has no squared error.
        exchange: see above.
    """

    share: float = 0.3
    exchange: float = 0.0155

    def __call__(
        self,
        x: Tensor,
        rungs: Sequence[Rung],
        likelihood: Distribution,
        log_beta: Tensor,
        warmup: float = 1.0,
    ) -> Terms:
        """Per-example terms in nats per pixel.

        Raises:
            ConfigError: patches too small for MS-SSIM, or pytorch-msssim is not installed.
        """
        if min(x.shape[-2:]) < SMALLEST_SIDE:
            raise ConfigError(
                f"data.patch: the structural objective needs at least {SMALLEST_SIDE} pixels"
            )
        terms = elbo(x, rungs, likelihood, log_beta, warmup)
        similarity = _similarity(likelihood.mean, x)
        squared = terms.squared_error * x.shape[1] / 2
        trade = self.exchange * (1 - similarity) - squared
        return replace(terms, loss=terms.loss + self.share * trade / log_beta.exp())


def _similarity(shown: Tensor, x: Tensor) -> Tensor:
    try:
        from pytorch_msssim import ms_ssim
    except ImportError as error:
        raise MissingPackageError(
            "the structural objective needs", "pytorch-msssim", "eval"
        ) from error
    values: Tensor = ms_ssim(shown.float(), x.float(), data_range=1.0, size_average=False)
    return values
