"""The structural objective: its ends, its trade, its limits."""

import math

import pytest
import torch
from pytorch_msssim import ms_ssim
from torch.distributions import Normal

from laconic.errors import ConfigError
from laconic.training.objectives import elbo
from laconic.training.structural import Structural


def case(side: int = 176) -> tuple[torch.Tensor, Normal, torch.Tensor]:
    torch.manual_seed(0)
    x = torch.rand(2, 3, side, side)
    log_beta = torch.tensor([math.log(0.01), math.log(0.001)])
    scale = log_beta.mul(0.5).exp().reshape(-1, 1, 1, 1).expand_as(x)
    return x, Normal((x + 0.1 * torch.randn_like(x)).clamp(0, 1), scale), log_beta


def test_no_share_is_the_elbo() -> None:
    x, likelihood, log_beta = case()
    ours = Structural(share=0.0)(x, [], likelihood, log_beta)
    torch.testing.assert_close(ours.loss, elbo(x, [], likelihood, log_beta).loss)


def test_full_share_has_no_squared_error() -> None:
    """What remains is the normaliser of the Gaussian and (1 - MS-SSIM) exchange / beta."""
    x, likelihood, log_beta = case()
    ours = Structural(share=1.0, exchange=0.02)(x, [], likelihood, log_beta)
    similarity = ms_ssim(likelihood.mean, x, data_range=1.0, size_average=False)
    expected = 1.5 * (math.log(2 * math.pi) + log_beta) + 0.02 * (1 - similarity) / log_beta.exp()
    torch.testing.assert_close(ours.loss, expected, rtol=1e-4, atol=1e-4)


def test_small_patches_are_refused() -> None:
    with pytest.raises(ConfigError, match="161 pixels"):
        Structural()(*case(128)[:1], [], *case(128)[1:])
