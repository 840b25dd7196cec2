"""One-dimensional regressions with gaps, where a model should be uncertain."""

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor

Points = tuple[Tensor, Tensor]
"""Inputs and values, `(count, 1)` each."""

GAPS_NOISE: Final = 0.03
CUBIC_NOISE: Final = 3.0


def draw_gaps(seed: int = 0, count: int = 20) -> Points:
    """A wave with a gap: three fifths of the inputs in [0, 0.6], the others in [0.8, 1].

    Formula: y = x + e + sin(4 (x + e)) + sin(13 (x + e)), e ~ N(0, 0.03²).
    Source: Louizos 5.4, first task; Osband et al. 2016.

    Args:
        seed: of the draws.
        count: number of points; 20 in the source.
    """
    generator = torch.Generator().manual_seed(seed)
    low = round(0.6 * count)
    uniform = torch.rand(count, 1, generator=generator)
    x = torch.cat([0.6 * uniform[:low], 0.8 + 0.2 * uniform[low:]])
    moved = x + GAPS_NOISE * torch.randn(count, 1, generator=generator)
    return x, moved + torch.sin(4 * moved) + torch.sin(13 * moved)


def draw_cubic(seed: int = 0, count: int = 20) -> Points:
    """A cube, inputs in [-4, 4].

    Formula: y = x³ + e, e ~ N(0, 9).
    Source: Louizos 5.4, second task; Hernández-Lobato & Adams 2015.

    Args:
        seed: of the draws.
        count: number of points; 20 in the source.
    """
    generator = torch.Generator().manual_seed(seed)
    x = 8 * torch.rand(count, 1, generator=generator) - 4
    return x, x**3 + CUBIC_NOISE * torch.randn(count, 1, generator=generator)


TOYS: Final[Mapping[str, Callable[..., Points]]] = {"gaps": draw_gaps, "cubic": draw_cubic}
"""By name; each takes `seed` and `count`."""
