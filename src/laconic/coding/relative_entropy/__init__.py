"""Relative entropy coders: one file each, one table."""

from laconic.coding.relative_entropy.base import Receipt, RelativeEntropyCoder
from laconic.coding.relative_entropy.beam import BeamCoder
from laconic.coding.relative_entropy.bisection.a_star import BisectingAStarCoder
from laconic.coding.relative_entropy.bisection.greedy_poisson import BisectingPoissonCoder
from laconic.coding.relative_entropy.bisection.greedy_rejection import BisectingRejectionCoder
from laconic.coding.relative_entropy.blocks.a_star import AStarCoder
from laconic.coding.relative_entropy.blocks.greedy_poisson import GreedyPoissonCoder
from laconic.coding.relative_entropy.blocks.greedy_rejection import GreedyRejectionCoder
from laconic.coding.relative_entropy.blocks.importance import ImportanceCoder
from laconic.coding.relative_entropy.blocks.ordered import OrderedCoder
from laconic.coding.relative_entropy.blocks.poisson_functional import PoissonFunctionalCoder
from laconic.coding.relative_entropy.blocks.trellis import TrellisCoder
from laconic.coding.relative_entropy.dither.hybrid import HybridCoder
from laconic.coding.relative_entropy.dither.lattice import DitheredLatticeCoder
from laconic.coding.relative_entropy.dither.rotated import RotatedDitherCoder
from laconic.coding.relative_entropy.dither.scalar import DitheredCoder
from laconic.coding.relative_entropy.greedy import GreedyCoder
from laconic.coding.relative_entropy.rejection import RejectionCoder
from laconic.errors import ConfigError

CODERS: dict[str, type[RelativeEntropyCoder]] = {
    coder.id: coder
    for coder in (
        RejectionCoder,
        ImportanceCoder,
        GreedyCoder,
        TrellisCoder,
        OrderedCoder,
        PoissonFunctionalCoder,
        AStarCoder,
        BisectingAStarCoder,
        GreedyRejectionCoder,
        BisectingRejectionCoder,
        GreedyPoissonCoder,
        BisectingPoissonCoder,
        BeamCoder,
        DitheredCoder,
        DitheredLatticeCoder,
        RotatedDitherCoder,
        HybridCoder,
    )
}
"""Every coder by its permanent id."""

DEFAULT_CODER = "trellis"
"""The id that the codecs and the command line use by default."""


def ladder_coders(name: str, levels: int) -> list[RelativeEntropyCoder]:
    """One coder per level of a ladder, top first.

    `name` is an id of `CODERS`, or "is-gs": importance sampling on all levels but the last, the
    greedy sampler on the last (Flamich, 3.4.3).

    Raises:
        ConfigError: no coder has this name.
    """
    if name == "is-gs":
        top, last = CODERS["importance"], CODERS["greedy"]
        return [top() for _ in range(levels - 1)] + [last() for _ in range(min(levels, 1))]
    if name not in CODERS:
        raise ConfigError(f"no coder is named {name!r}: choose from {sorted([*CODERS, 'is-gs'])}")
    return [CODERS[name]() for _ in range(levels)]


__all__ = ["CODERS", "DEFAULT_CODER", "Receipt", "RelativeEntropyCoder", "ladder_coders"]
