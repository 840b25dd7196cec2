"""Pictures of one size and kind, each by the model or by the method that takes the fewest bytes."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final

from laconic.codecs.lossless.bundles import Common, WrittenBundle, join_direct, write_bundle
from laconic.codecs.lossless.core import GroupCoder, Tick
from laconic.codecs.lossless.direct.choice import Direct, choose, complete
from laconic.codecs.lossless.picture import ExactPicture

PROBES: Final = 32
"""Of more than twice as many equal pictures, about so many are tried without the model first."""
MODEL_HEADER_BYTES: Final = 16
"""What a file without a model saves besides: name, fingerprint, record of costs."""
Written = list[tuple[WrittenBundle, Sequence[int]]]
"""Bundles, each with the numbers of its pictures."""


class BundleWriter:
    """Writes pictures that have all in common but their samples.

    Args:
        coder: gives the coder of the file's model; called with pictures where one is needed.
        effort: 0 to 9, see `laconic.codecs.lossless.direct.choice`.
    """

    def __init__(self, coder: Callable[[Sequence[ExactPicture]], GroupCoder], effort: int) -> None:
        self.coder, self.effort = coder, effort

    def write(
        self,
        pictures: Sequence[ExactPicture],
        common: Common,
        profile: int | None,
        tick: Tick,
    ) -> Written:
        """Bundles of pictures; `profile` is the number of their profile.

        The pictures of the model are one bundle; of the others those that follow each other and
        have the same method are one.
        """
        tried = self._try(pictures)
        rest = [k for k in range(len(pictures)) if k not in tried or tried[k].try_model]
        written: Written = []
        if rest:
            chosen = [pictures[k] for k in rest]
            whole = write_bundle(self.coder(chosen), chosen, common, profile, tick)
            better = self._find_better(chosen, [tried.get(k) for k in rest], whole.bundle.size)
            if better is None:
                written.append((whole, rest))
                tried = {k: tried[k] for k in tried if not tried[k].try_model}
            else:
                tried |= dict(zip(rest, better, strict=True))
        for method, run in groupby(sorted(tried), lambda k: tried[k].method):
            numbers = list(run)
            coded = [tried[k].parts for k in numbers]
            some = [pictures[k] for k in numbers]
            written.append((join_direct(some, coded, method, common, profile), numbers))
            tick(common.grid.count * sum(k not in rest for k in numbers))
        return sorted(written, key=lambda one: one[1][0])

    def _try(self, pictures: Sequence[ExactPicture]) -> dict[int, Direct]:
        """Methods without the model for all pictures, or for some where all of those want it."""
        count = len(pictures)
        step = count // PROBES if count > 2 * PROBES else 1
        tried = {k: choose(pictures[k].samples, self.effort) for k in range(0, count, step)}
        if all(direct.try_model for direct in tried.values()):
            return tried
        more = (k for k in range(count) if k not in tried)
        return tried | {k: choose(pictures[k].samples, self.effort) for k in more}

    def _find_better(
        self, pictures: Sequence[ExactPicture], tried: Sequence[Direct | None], size: int
    ) -> list[Direct] | None:
        """Methods without the model that take less than its `size`, or None."""
        known = [direct.least_bytes for direct in tried if direct is not None]
        least = sum(known) * len(tried) / len(known)
        if least >= size + MODEL_HEADER_BYTES:
            return None
        better = [
            direct
            if direct is not None and direct.complete
            else complete(picture.samples, self.effort)
            for picture, direct in zip(pictures, tried, strict=True)
        ]
        total = sum(direct.size for direct in better)
        return better if total < size + MODEL_HEADER_BYTES else None
