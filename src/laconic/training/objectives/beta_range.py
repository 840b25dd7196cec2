"""The loss of a ladder of latents over a range of beta, as the training loop takes it."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution

from laconic.training.loop import LoopConfig
from laconic.training.objectives.base import Objective, Rung, Terms, kl_warmup
from laconic.training.objectives.pictures import picture_numbers

Pass = Callable[..., tuple[Sequence[Rung], Distribution]]
"""One pass of a model: x, log beta and, where the objective has it, taste -> the rungs and the
likelihood given the latents that were drawn."""

Numbers = Callable[[Tensor, Distribution, Terms], dict[str, float]]
"""Examples, their likelihood and the terms of a batch -> numbers for the log."""


class LadderLoss:
    """Every example draws its beta log-uniformly, stratified over the batch, weight beta^power.

    Where the objective has several draws, every example is repeated, its copies side by side.

    Args:
        run: one pass of the model.
        objective: what is minimised for each example.
        beta_range: smallest and largest beta.
        config: of the loop: KL warm-up, power of the weights, seed, whether to compile.
        numbers: for the log.
    """

    def __init__(
        self,
        run: Pass,
        objective: Objective,
        beta_range: tuple[float, float],
        config: LoopConfig,
        numbers: Numbers = picture_numbers,
    ) -> None:
        self.run: Pass = torch.compile(run) if config.compile else run
        self.objective, self.config, self.numbers = objective, config, numbers
        self.log_range = (math.log(beta_range[0]), math.log(beta_range[1]))

    def __call__(self, batch: Sequence[Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch, in nats per position, and numbers for the log.

        Args:
            batch: the first holds examples `(batch, channels, ...)`; a position is a pixel.
            step: number of the step.
        """
        x = batch[0].contiguous(memory_format=torch.channels_last)
        log_beta = self._draw_log_beta(len(x), step).to(x.device)
        objective, copies = self.objective, self.objective.draws
        if copies > 1:
            x = x.repeat_interleave(copies, 0)
            log_beta = log_beta.repeat_interleave(copies)
        given = [x, log_beta]
        taste = objective.draw_taste(len(x), self._generator(step, stream=1))
        if taste is not None:
            given.append(taste.to(x.device))
            objective = objective.at(given[-1])
        rungs, likelihood = self.run(*given)
        with torch.autocast(x.device.type, enabled=False):
            warmup = kl_warmup(step, self.config.kl_warmup_steps)
            terms = objective(x, rungs, likelihood, log_beta, warmup)
        weight = torch.exp(self.config.weight_power * (log_beta - self.log_range[1]))
        loss = (weight * (terms.loss / x[0, 0].numel())).sum() / weight.sum()
        return loss, self.numbers(x, likelihood, terms)

    def _draw_log_beta(self, count: int, step: int) -> Tensor:
        generator = self._generator(step)
        low, high = self.log_range
        strata = (torch.arange(count) + torch.rand(count, generator=generator)) / count
        return low + (high - low) * strata[torch.randperm(count, generator=generator)]

    def _generator(self, step: int, stream: int = 0) -> torch.Generator:
        seed = self.config.seed * 1_000_003 + step + stream * 2**40
        return torch.Generator().manual_seed(seed)
