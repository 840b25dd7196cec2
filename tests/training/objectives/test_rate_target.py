"""The constrained objective: it reaches its rate at the least distortion, and resumes exactly."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from laconic.distributions.divergence import kl_normal
from laconic.errors import ConfigError
from laconic.models.base import Rung
from laconic.training.loop import LoopConfig, Trainer
from laconic.training.objectives.base import Objective
from laconic.training.objectives.beta_range import LadderLoss
from laconic.training.objectives.elbo import elbo
from laconic.training.objectives.rate_target import TargetRate, TargetRateConfig
from laconic.training.schedules import LearningRate


def test_the_rate_is_reached_where_distortion_is_least(gaussian: Any, x: Tensor) -> None:
    """The multiplier ends at the beta whose closed-form optimum has the target's rate."""
    rate_at = {
        beta: float(kl_normal(gaussian.best(x, beta), gaussian.prior(6)).sum(1).mean())
        for beta in (0.3, 1.0)
    }
    for beta, target in rate_at.items():
        fresh = type(gaussian)()
        objective = TargetRate(TargetRateConfig(rate_nats=target, dual_rate=0.05, smoothing=0.0))
        optimizer = torch.optim.Adam([fresh.encoder, fresh.log_scale], lr=0.03)
        for _ in range(700):
            q = fresh.posterior(x)
            likelihood = fresh.likelihood(q.loc)
            terms = objective(x, [Rung(q, fresh.prior(6), q.loc)], likelihood, torch.zeros(6))
            loss = terms.loss + fresh.distortion(x, q) + likelihood.log_prob(x)
            optimizer.zero_grad()
            loss.mean().backward()
            optimizer.step()
            objective.after_step()
        assert float(objective.average) == pytest.approx(target, rel=1e-3)
        assert float(objective.multiplier) == pytest.approx(beta, rel=0.01)
        assert float(objective.beta) == pytest.approx(beta, rel=0.01)


class Scalars(nn.Module):
    """A Gaussian encoder of pictures of 2 x 2 pixels, and its decoder."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(4, 4), nn.Linear(2, 4)

    def draw_rungs(self, x: Tensor, log_beta: Tensor) -> Any:
        loc, log_scale = self.encoder(x.flatten(1)).chunk(2, 1)
        q = torch.distributions.Normal(loc, log_scale.exp())
        z = q.rsample()
        mean = self.decoder(z).reshape(-1, 1, 2, 2)
        prior = torch.distributions.Normal(torch.zeros_like(loc), torch.ones_like(loc))
        return [Rung(q, prior, z)], torch.distributions.Normal(mean, 0.3)


class Drawn:
    def batch(self, index: int) -> Tensor:
        generator = torch.Generator().manual_seed(index)
        return torch.randn(8, 1, 2, 2, generator=generator)


def trainer(folder: Path, steps: int, objective: Objective | None = None) -> Trainer:
    net = Scalars()
    chosen = TargetRate(TargetRateConfig(2.0, dual_rate=0.05)) if objective is None else objective
    config = LoopConfig(steps=steps, precision="32-true", log_steps=5)
    loss = LadderLoss(net.draw_rungs, chosen, (1.0, 1.0), config)
    rate = LearningRate(peak=1e-2, warmup_steps=1)
    return Trainer(net, loss, Drawn(), rate, config, folder, {}, state=chosen.state)


def test_resuming_is_exact(tmp_path: Path) -> None:
    """Stopped after 10 of 25 steps: weights and multiplier of the unbroken run, bit for bit."""
    whole = trainer(tmp_path / "whole", 25)
    whole.run()
    trainer(tmp_path / "parts", 10).run()
    parts = trainer(tmp_path / "parts", 25)
    parts.resume()
    assert float(parts.state.multiplier) != 1.0
    parts.run()
    for part in ("model", "average", "state"):
        expected = getattr(whole, part).state_dict()
        assert expected
        for name, value in getattr(parts, part).state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=0, atol=0)


def test_another_objectives_checkpoint_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, 5, elbo).run()
    with pytest.raises(ConfigError, match="another objective"):
        trainer(tmp_path, 10).resume()


def test_looking_does_not_change_the_state(gaussian: Any, x: Tensor) -> None:
    objective = TargetRate()
    rungs, likelihood = gaussian.draw_rungs(x)
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    objective(x, rungs, likelihood, torch.zeros(6))
    for name, value in objective.state_dict().items():
        torch.testing.assert_close(value, before[name], equal_nan=True)
    objective.after_step()
    assert float(objective.multiplier) < 1


def test_a_step_that_is_not_finite_is_passed_over(gaussian: Any, x: Tensor) -> None:
    objective = TargetRate()
    rungs, likelihood = gaussian.draw_rungs(x)
    broken = Rung(
        torch.distributions.Normal(x.flatten(1)[:, :2] * torch.nan, 1.0, validate_args=False),
        gaussian.prior(6),
        rungs[0].latent,
    )
    objective(x, [broken], likelihood, torch.zeros(6))
    objective.after_step()
    assert float(objective.multiplier) == 1.0
    rungs, likelihood = gaussian.draw_rungs(x)
    assert bool(objective(x, rungs, likelihood, torch.zeros(6)).loss.isfinite().all())


def test_a_warm_up_is_refused(gaussian: Any, x: Tensor) -> None:
    rungs, likelihood = gaussian.draw_rungs(x)
    with pytest.raises(ConfigError, match="kl_warmup_steps"):
        TargetRate()(x, rungs, likelihood, torch.zeros(6), warmup=0.5)


@pytest.mark.parametrize(
    "wrong", [{"rate_nats": 0.0}, {"dual_rate": -1.0}, {"stiffness": -1.0}, {"smoothing": 1.0}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="objective"):
        TargetRateConfig(**wrong)
