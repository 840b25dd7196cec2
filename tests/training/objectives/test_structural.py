"""The structural objective: its ends, its trade, its limits."""

import math

import pytest
import torch
from pytorch_msssim import ms_ssim
from torch.distributions import Normal

from laconic.errors import ConfigError
from laconic.training.loop import LoopConfig
from laconic.training.objectives.beta_range import LadderLoss
from laconic.training.objectives.elbo import elbo
from laconic.training.objectives.structural import Structural, Taste


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
    torch.testing.assert_close(ours.loss / x[0, 0].numel(), expected, rtol=1e-4, atol=1e-4)


def test_every_example_has_its_own_taste() -> None:
    x, likelihood, log_beta = case()
    ours = Taste().at(torch.tensor([0.0, 1.0]))(x, [], likelihood, log_beta, 1.0)
    ends = [Structural(share=share)(x, [], likelihood, log_beta) for share in (0.0, 1.0)]
    expected = torch.stack([ends[0].loss[0], ends[1].loss[1]])
    torch.testing.assert_close(ours.loss, expected)
    half = Structural(share=0.5)(x, [], likelihood, log_beta).loss
    torch.testing.assert_close(Taste()(x, [], likelihood, log_beta).loss, half)


def test_tastes_are_drawn_by_their_shares() -> None:
    tastes = Taste(0.5, 0.2).draw_taste(20_000, torch.Generator().manual_seed(0))
    for value, share in ((0.0, 0.5), (1.0, 0.2)):
        assert float((tastes == value).double().mean()) == pytest.approx(share, abs=0.015)
    between = tastes[(tastes > 0) & (tastes < 1)]
    assert float(between.mean()) == pytest.approx(0.5, abs=0.015)
    with pytest.raises(ConfigError, match="shares"):
        Taste(0.7, 0.5)


def test_the_model_is_given_the_taste() -> None:
    """The same that the objective weighs by, and the same for the same step."""
    x, likelihood, _ = case()
    seen = []

    def draw_rungs(
        x: torch.Tensor, log_beta: torch.Tensor, taste: torch.Tensor
    ) -> tuple[list[object], Normal]:
        seen.append(taste)
        return [], likelihood

    loss = LadderLoss(draw_rungs, Taste(0.0, 0.0), (1e-3, 1e-2), LoopConfig())  # type: ignore[arg-type]
    for step in (7, 7, 8):
        loss([x], step)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    assert seen[0].shape == (2,)


def test_small_patches_are_refused() -> None:
    with pytest.raises(ConfigError, match="161 pixels"):
        Structural()(*case(128)[:1], [], *case(128)[1:])
