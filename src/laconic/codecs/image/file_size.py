"""Reach a requested file size by trying quality steps from coarse to fine."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

TOLERANCE: Final = 0.005
"""The search ends at a file this close below the requested size."""

FLATTEST: Final = 1 / 20
"""Smallest slope of a line between two sizes, as a share of the expected slope."""


@dataclass(frozen=True)
class SizeCurve:
    """How file sizes grow from step to step.

    Attributes:
        steps: the finest one; the coarsest is 0.
        slope: by how much a file grows with a step, until two sizes are known.
        linearise: maps a file's bits to a number that grows linearly with the steps, e.g. their
            logarithm.
        start: the step that is tried first.
    """

    steps: int
    slope: float
    linearise: Callable[[float], float]
    start: int


@dataclass(frozen=True)
class Found:
    """The file that was found, and its step."""

    data: bytes
    step: int

    def falls_short(self, target_bits: float, curve: SizeCurve) -> bool:
        """Whether the finest file is smaller than the requested size."""
        return self.step == curve.steps and 8 * len(self.data) < target_bits * (1 - TOLERANCE)


def largest_below(
    encode: Callable[[int], bytes], target_bits: float, curve: SizeCurve
) -> Found | None:
    """A file of at most `target_bits`, as large as the steps allow; None if all are larger.

    The next step is guessed on the line through known sizes, and every third one is the middle of
    what is left.
    """
    low, high, step, turn = -1, curve.steps + 1, curve.start, 0
    sizes: dict[int, float] = {}
    best = b""
    aim = curve.linearise(target_bits * (1 - TOLERANCE / 2))
    while high - low > 1 and 8 * len(best) < target_bits * (1 - TOLERANCE):
        data = encode(step)
        sizes[step] = curve.linearise(8 * len(data))
        if 8 * len(data) <= target_bits:
            low, best = step, max(best, data, key=len)
        else:
            high = step
        turn += 1
        middle = (low + high) // 2
        step = _guess(sizes, step, aim, curve.slope)
        # A line that leads out of what is left is followed to an end that has not been tried.
        if step <= low:
            step = 0 if low < 0 else middle
        elif step >= high:
            step = curve.steps if high > curve.steps else middle
        elif turn % 3 == 0:
            step = middle
    return Found(best, low) if best else None


def _guess(sizes: dict[int, float], step: int, aim: float, slope: float) -> int:
    """The step at which the line through the two sizes nearest to the target reaches it."""
    if len(sizes) > 1:
        first, second = sorted(sizes, key=lambda known: abs(sizes[known] - aim))[:2]
        slope = max((sizes[second] - sizes[first]) / (second - first), slope * FLATTEST)
        step = first
    return step + round((aim - sizes[step]) / slope)
