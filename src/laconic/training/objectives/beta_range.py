"""The loss of a ladder of latents over a range of beta, as the loop asks for it."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution

from laconic.training.loop import LoopConfig
from laconic.training.objectives.choice import draws_of
from laconic.training.objectives.elbo import Objective, Rung, Terms, kl_warmup
from laconic.training.objectives.structural import Taste

Climb = Callable[..., tuple[Sequence[Rung], Distribution]]
"""One pass of a ladder: x, log beta and, where the objective draws it, taste, to the rungs and the
likelihood of the latents drawn."""


class LadderLoss:
    """Every example draws its beta log-uniformly, stratified over the batch, and weighs beta^power.

    Objectives of several draws get every example as often, the copies side by side.

    Args:
        climb: one pass of the model.
        objective: what is minimised for each example.
        beta_range: smallest and largest beta.
        config: of the loop: KL warm-up, power of the weights, seed, whether to compile.
    """

    def __init__(
        self,
        climb: Climb,
        objective: Objective,
        beta_range: tuple[float, float],
        config: LoopConfig,
    ) -> None:
        self.climb: Climb = torch.compile(climb) if config.compile else climb
        self.objective, self.config, self.draws = objective, config, draws_of(objective)
        self.log_range = (math.log(beta_range[0]), math.log(beta_range[1]))

    def __call__(self, batch: Sequence[Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """The batch's loss in nats per pixel; `batch` holds `(batch, 3, height, width)`."""
        x = batch[0].contiguous(memory_format=torch.channels_last)
        log_beta = self._draw_log_beta(len(x), step).to(x.device)
        if self.draws > 1:
            x = x.repeat_interleave(self.draws, 0)
            log_beta = log_beta.repeat_interleave(self.draws)
        objective, given = self.objective, [x, log_beta]
        if isinstance(objective, Taste):
            taste = objective.draw(len(x), self._generator(step, stream=1)).to(x.device)
            objective, given = objective.at(taste), [*given, taste]
        rungs, likelihood = self.climb(*given)
        with torch.autocast(x.device.type, enabled=False):
            warmup = kl_warmup(step, self.config.kl_warmup_steps)
            terms = objective(x, rungs, likelihood, log_beta, warmup)
        weight = torch.exp(self.config.weight_power * (log_beta - self.log_range[1]))
        loss = (weight * terms.loss).sum() / weight.sum()
        return loss, _numbers(terms)

    def _draw_log_beta(self, count: int, step: int) -> Tensor:
        generator = self._generator(step)
        low, high = self.log_range
        strata = (torch.arange(count) + torch.rand(count, generator=generator)) / count
        return low + (high - low) * strata[torch.randperm(count, generator=generator)]

    def _generator(self, step: int, stream: int = 0) -> torch.Generator:
        seed = self.config.seed * 1_000_003 + step + stream * 2**40
        return torch.Generator().manual_seed(seed)


def _numbers(terms: Terms) -> dict[str, float]:
    levels = [float(bits.detach().mean()) for bits in terms.level_bits]
    numbers = {
        "bits_per_pixel": sum(levels),
        "rate_nats": float(terms.rate_nats.mean()),
        "distortion_nats": float(terms.distortion_nats.mean()),
    }
    psnr = -10 * terms.squared_error.detach().clamp_min(1e-10).log10().mean()
    if bool(psnr.isfinite()):
        numbers["psnr_db"] = float(psnr)
    return numbers | {f"bits_level_{k}": bits for k, bits in enumerate(levels)}
