"""Learning rates as functions of the step."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LearningRate:
    """Linear warm-up, then exponential decay, then (optionally) a linear cool-down to zero.

    Attributes:
        peak: learning rate after the warm-up.
        warmup_steps: steps of the warm-up.
        decay_rate: r in alpha(t) = alpha_0 r^(t / D).
        decay_steps: D.
        cooldown_start: step at which the cool-down begins; negative for none.
        cooldown_steps: its length.
    """

    peak: float = 5e-4
    warmup_steps: int = 200
    decay_rate: float = 0.96
    decay_steps: int = 5000
    cooldown_start: int = -1
    cooldown_steps: int = 1

    def at(self, step: int, sitting_start: int = 0) -> float:
        """The rate at `step` of a sitting that began, with a fresh optimiser, at `sitting_start`.

        Source: Flamich 4.1 (the exponential part).
        """
        rate = self.peak * min(1.0, (step - sitting_start + 1) / max(1, self.warmup_steps))
        rate *= float(self.decay_rate ** (step / self.decay_steps))
        if 0 <= self.cooldown_start <= step:
            rate *= max(0.0, 1 - (step - self.cooldown_start) / self.cooldown_steps)
        return rate
