"""Why a file is lossless although a lossy one was requested."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from laconic.codecs.image.header import QUALITY_STEPS

THOUSANDTHS: Final = 1000


class Reason(IntEnum):
    """The number is written into files."""

    SMALLER = 1
    FAITHFUL = 2
    FITS = 3


@dataclass(frozen=True)
class Note:
    """What was requested, and why the file is lossless.

    Attributes:
        reason: why.
        request: the quality step 0 to 1000; for `Reason.FITS` thousandths of bits per pixel.
    """

    reason: Reason
    request: int

    @property
    def quality(self) -> float | None:
        """1 to 100, or None where a size was requested."""
        if self.reason is Reason.FITS:
            return None
        return round(1 + 99 * self.request / QUALITY_STEPS, 3)

    def __str__(self) -> str:
        """A sentence for people."""
        if self.reason is Reason.FITS:
            size = self.request / THOUSANDTHS
            return f"lossless, since that fits the requested {size:g} bits per pixel"
        why = {
            Reason.SMALLER: "that takes no more bytes than a lossy file",
            Reason.FAITHFUL: "a lossy file is too far from the picture",
        }[self.reason]
        return f"lossless, since {why}; the requested quality was {self.quality:.3g}"
