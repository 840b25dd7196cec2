"""The page of `laconic transmit`: pictures as received, side by side, with their numbers."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from laconic.evaluation.report.page import Version
from laconic.evaluation.report.templates import render_template
from laconic.metrics.images import Image8


@dataclass(frozen=True)
class Shown:
    """A picture of the page.

    Attributes:
        title: the system.
        picture: as received.
        facts: its numbers, in words.
    """

    title: str
    picture: Image8
    facts: Sequence[str]

    @property
    def version(self) -> Version:
        """The picture as a file for browsers."""
        buffer = io.BytesIO()
        Image.fromarray(self.picture).save(buffer, "WEBP", quality=95, method=4)
        return Version(self.title, "image/webp", buffer.getvalue())


def render(title: str, subtitle: str, pictures: Sequence[Shown]) -> str:
    """The whole page, which needs no network.

    Args:
        title: heading.
        subtitle: channel, bandwidth, uses, capacity.
        pictures: the original first.
    """
    shown = [(one.title, one.version.uri, list(one.facts)) for one in pictures]
    return render_template("transmit.html", title=title, subtitle=subtitle, pictures=shown)


def decibels(value: float) -> str:
    """A number of dB for people.

    >>> decibels(31.04), decibels(math.inf)
    ('31.0 dB', 'equal')
    """
    return "equal" if math.isinf(value) else f"{value:.1f} dB"
