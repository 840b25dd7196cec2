"""Reach an asked-for file size by trying quality steps."""

import math
from collections.abc import Callable

from laconic.errors import UnreachableTargetError

TOLERANCE = 0.005
"""A file this close below the asked-for size is good enough to stop."""
SLOPE = math.log(20) / 1000
"""Growth of log size per step that is assumed before two sizes are known."""


def largest_below(
    encode: Callable[[int], bytes], target_bits: float, pixels: int, steps: int
) -> bytes:
    """A file of at most `target_bits`, as large as the quality steps 0 to `steps` allow.

    File size grows with the step nearly exponentially: the next step is guessed on the line
    through the logarithms of known sizes, and every third one is the middle of the bracket.

    Raises:
        UnreachableTargetError: even the smallest file is larger, or even the largest is smaller.
    """
    low, high, step, turn = -1, steps + 1, steps // 2, 0
    sizes: dict[int, float] = {}
    best = b""
    aim = math.log(target_bits * (1 - TOLERANCE / 2))
    while high - low > 1 and 8 * len(best) < target_bits * (1 - TOLERANCE):
        data = encode(step)
        sizes[step] = math.log(8 * len(data))
        if 8 * len(data) <= target_bits:
            low, best = step, max(best, data, key=len)
        else:
            high = step
        turn += 1
        if turn % 3 == 0 and low >= 0 and high <= steps:
            step = (low + high) // 2
        else:
            step = _guess(sizes, step, aim)
        step = min(max(step, low + 1), high - 1)
    if best and (low < steps or 8 * len(best) >= target_bits * (1 - TOLERANCE)):
        return best
    low_bpp, high_bpp = (8 * len(encode(end)) / pixels for end in (0, steps))
    raise UnreachableTargetError(
        f"{target_bits / pixels:.3g} bits per pixel cannot be reached for this image: "
        f"this model offers {low_bpp:.3g} to {high_bpp:.3g}"
    )


def _guess(sizes: dict[int, float], step: int, aim: float) -> int:
    """Where the line through the two sizes nearest to the aim meets it."""
    slope = SLOPE
    if len(sizes) > 1:
        first, second = sorted(sizes, key=lambda known: abs(sizes[known] - aim))[:2]
        slope = max((sizes[second] - sizes[first]) / (second - first), SLOPE / 20)
        step = first
    return step + round((aim - sizes[step]) / slope)
