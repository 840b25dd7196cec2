"""The data of several sections one after the other, read section by section."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Self

from laconic.container.file import Section


class _Sections:
    """Sections that follow each other; the one that was read last is kept."""

    def __init__(self, sections: Sequence[Section]) -> None:
        self.sections = sections
        self.ends = list(accumulate((section.size for section in sections), initial=0))
        self._kept: tuple[int, bytes] = (-1, b"")

    def read(self, first: int, last: int) -> bytes:
        """Bytes `first` to `last` of all."""
        pieces, number = [], bisect_right(self.ends, first) - 1
        while first < last:
            begin, end = self.ends[number], min(last, self.ends[number + 1])
            pieces.append(self._load(number)[first - begin : end - begin])
            first, number = end, number + 1
        return b"".join(pieces)

    def _load(self, number: int) -> bytes:
        if self._kept[0] != number:
            self._kept = number, self.sections[number].data
        return self._kept[1]


class Span:
    """Bytes of sections that follow each other: `span[first:last]` reads some of them.

    Args:
        sections: in order.
    """

    def __init__(self, sections: Sequence[Section]) -> None:
        self._all = _Sections(sections)
        self._start, self._stop = 0, self._all.ends[-1]

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, place: slice) -> bytes:
        first, last, _ = place.indices(len(self))
        return self._all.read(self._start + first, self._start + last)

    def part(self, start: int, stop: int) -> Self:
        """Bytes `start` to `stop` of this one, fewer where it ends."""
        first, last, _ = slice(start, stop).indices(len(self))
        found = type(self)(())
        found._all = self._all
        found._start, found._stop = self._start + first, self._start + max(first, last)
        return found
