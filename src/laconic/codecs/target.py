"""Reach an asked-for file size by trying quality steps."""

import math
from collections.abc import Callable

from laconic.errors import UnreachableTargetError

TOLERANCE = 0.005
"""A file this close below the asked-for size is good enough to stop."""


def largest_below(
    encode: Callable[[int], bytes], target_bits: float, pixels: int, steps: int
) -> bytes:
    """The largest file of at most `target_bits`, over quality steps 0 to `steps`.

    File size grows with the step nearly exponentially, so the next step is guessed on the line
    through the bracket's logarithms, kept off its ends so that the bracket always shrinks.

    Raises:
        UnreachableTargetError: even the smallest file is larger, or even the largest is smaller.
    """
    low, high = 0, steps
    smallest = encode(low)
    if 8 * len(smallest) > target_bits:
        largest = encode(high)
        raise _unreachable(target_bits, pixels, smallest, largest)
    largest = encode(high)
    if 8 * len(largest) < target_bits * (1 - TOLERANCE):
        raise _unreachable(target_bits, pixels, smallest, largest)
    if 8 * len(largest) <= target_bits:
        return largest
    best, bits_low, bits_high = smallest, 8 * len(smallest), 8 * len(largest)
    turn = 0
    while high - low > 1 and 8 * len(best) < target_bits * (1 - TOLERANCE):
        position = 0.5
        if bits_high > bits_low and turn % 3 < 2:
            position = math.log(target_bits / bits_low) / math.log(bits_high / bits_low)
        margin = max(1, (high - low) // 16)
        step = min(max(low + round(position * (high - low)), low + margin), high - margin)
        step = min(max(step, low + 1), high - 1)
        data = encode(step)
        if 8 * len(data) <= target_bits:
            low, bits_low = step, 8 * len(data)
            best = max(best, data, key=len)
        else:
            high, bits_high = step, 8 * len(data)
        turn += 1
    return best


def _unreachable(
    target_bits: float, pixels: int, smallest: bytes, largest: bytes
) -> UnreachableTargetError:
    low, high = (8 * len(data) / pixels for data in (smallest, largest))
    return UnreachableTargetError(
        f"{target_bits / pixels:.3g} bits per pixel cannot be reached for this image: "
        f"this model offers {low:.3g} to {high:.3g}"
    )
