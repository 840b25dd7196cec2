"""Relative entropy coders: one file each, one table."""

from laconic.coding.relative_entropy.base import Receipt, RelativeEntropyCoder
from laconic.coding.relative_entropy.greedy import GreedyCoder
from laconic.coding.relative_entropy.importance import ImportanceCoder
from laconic.coding.relative_entropy.rejection import RejectionCoder
from laconic.coding.relative_entropy.trellis import TrellisCoder
from laconic.errors import ConfigError

CODERS: dict[str, type[RelativeEntropyCoder]] = {
    coder.id: coder for coder in (RejectionCoder, ImportanceCoder, GreedyCoder, TrellisCoder)
}
"""Every coder by its permanent id."""

DEFAULT_CODER = "trellis"
"""What `ladder_coders` and the codecs use unless told otherwise."""


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
        raise ConfigError(f"no coder is called {name!r}: choose from {sorted([*CODERS, 'is-gs'])}")
    return [CODERS[name]() for _ in range(levels)]


__all__ = ["CODERS", "DEFAULT_CODER", "Receipt", "RelativeEntropyCoder", "ladder_coders"]
