"""Digital systems: a source codec within the bits that a link, or the capacity, allows.

```
 picture ─ source codec, at most so many bits ─► file ─ link ─► file, or an outage ─► picture
```

The source codec is used as its user would: of the picture at full, half, a quarter and an eighth
of its size the best that fits is sent. Where nothing fits or the file is lost, the receiver shows
mid-grey.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

import numpy as np
from PIL import Image

from laconic.channels.base import Channel
from laconic.channels.gate import Budget
from laconic.channels.gaussian import NoisyChannel
from laconic.codecs.image.file_size import SizeCurve, largest_below
from laconic.errors import UnreachableTargetError
from laconic.evaluation.anchors.classical import Anchor, Codec
from laconic.evaluation.channels.link import MODULATIONS, Arrived, Link, Modulation
from laconic.metrics.images import Image8, psnr

THRESHOLDS: Final = "thresholds.json"
"""Beside this module; written by `experiments/channels/ldpc/run.py`."""
MARGIN_DB: Final = 0.5
"""Above a measured threshold, for the codes of other sizes."""
REDUCTIONS: Final = (1, 2, 4, 8)
"""Of the picture's sides that are tried."""
GREY: Final = 128
"""What a receiver shows that has nothing."""
QUALITIES: Final = 99
"""Steps of a quality from 1 to 100."""
BITS_PER_PIXEL: Final = (0.01, 8.0)
"""Range of codecs whose setting is a size."""


@dataclass(frozen=True)
class Sent:
    """A picture as a file that fits.

    Attributes:
        data: the file; empty where none fits.
        picture: what a receiver shows that has the whole file.
        reduction: of the sides that were sent.
        counted_bits: of the file, that count against the budget.
    """

    data: bytes
    picture: Image8
    reduction: int
    counted_bits: int


@dataclass(frozen=True)
class Outcome:
    """What a digital system delivered.

    Attributes:
        picture: as shown.
        is_outage: whether the receiver had nothing to show.
        file_bits: of the file that was sent.
        budget: of the channel that was really there.
        label: how it was sent, e.g. "WebP, 16-QAM 1/2".
        psnr_db: of the picture shown.
    """

    picture: Image8
    is_outage: bool
    file_bits: int
    budget: Budget
    label: str
    psnr_db: float


class SourceCodec:
    """A codec in a digital system: the best file within so many bits.

    Args:
        codec: from an evaluation, such as one of `ANCHORS`.
        counts_headers: whether the bits of a grey picture's file, which are nearly all header,
            count. Without them a codec is judged as if the receiver knew its header.
    """

    def __init__(self, codec: Codec, counts_headers: bool = True) -> None:
        self.codec, self.counts_headers = codec, counts_headers

    @property
    def label(self) -> str:
        """The codec's name for tables."""
        return self.codec.label + " without headers" * (not self.counts_headers)

    def fit(self, pixels: Image8, bits: float) -> Sent:
        """The best picture that a file of at most `bits` gives; empty where none fits."""
        best = Sent(b"", np.full_like(pixels, GREY), 1, 0)
        best_db = -math.inf
        for reduction in REDUCTIONS:
            if min(pixels.shape[:2]) < 2 * reduction:
                break
            small = _reduced(pixels, reduction)
            free = 0 if self.counts_headers else self.header_bits(small)
            data = self._largest(small, bits + free)
            if data is None:
                continue
            shown = _enlarged(self.codec.decode(data), pixels)
            quality = psnr(pixels, shown)
            if quality <= best_db:
                break  # Smaller ones are worse still.
            best_db = quality
            best = Sent(data, shown, reduction, max(0, 8 * len(data) - free))
        return best

    def header_bits(self, pixels: Image8) -> int:
        """Bits of the file of a grey picture of this size, at the coarsest setting."""
        grey = np.full_like(pixels, GREY)
        return 8 * len(self.codec.encode(grey, self._setting(0)))

    def _largest(self, pixels: Image8, bits: float) -> bytes | None:
        def encode(step: int) -> bytes:
            return self.codec.encode(pixels, self._setting(step))

        if bits < 1:
            return None
        curve = SizeCurve(QUALITIES, 0.03, lambda size: math.log(max(size, 1.0)), QUALITIES // 3)
        found = largest_below(encode, bits, curve)
        return None if found is None else found.data

    def _setting(self, step: int) -> float:
        """Steps 0 to `QUALITIES` as the codec's setting."""
        if isinstance(self.codec, Anchor) and self.codec.setting_is_bpp:
            low, high = (math.log(bpp) for bpp in BITS_PER_PIXEL)
            return math.exp(low + (high - low) * step / QUALITIES)
        return 1.0 + step


class CapacitySystem:
    """A source codec, and a code without errors at exactly the channel's capacity: a bound.

    No code reaches it at finite length; it is what the literature draws as "codec + capacity".

    Args:
        source: the codec.
        budget: uses and capacity.
    """

    def __init__(self, source: SourceCodec, budget: Budget) -> None:
        self.source, self.budget = source, budget

    def transmit(self, pixels: Image8) -> Outcome:
        """What arrives of a picture."""
        sent = self.source.fit(pixels, math.floor(self.budget.bits))
        self.budget.check(sent.counted_bits, self.source.label)
        return _outcome(
            pixels, sent, bool(sent.data), self.budget, f"{self.source.label} + capacity"
        )


class DigitalSystem:
    """A source codec behind a link that is made for one channel.

    Args:
        source: the codec.
        link: code and constellation, within the design channel's capacity.
    """

    def __init__(self, source: SourceCodec, link: Link) -> None:
        self.source, self.link = source, link

    def prepare(self, pixels: Image8) -> Sent:
        """The file that is sent, whatever the channel will be."""
        sent = self.source.fit(pixels, 8 * self.link.payload_bytes)
        if sent.counted_bits > 8 * self.link.payload_bytes:
            raise UnreachableTargetError(f"{self.source.label}: the file exceeds its link")
        return sent

    def transmit(self, pixels: Image8, channel: NoisyChannel, sent: Sent | None = None) -> Outcome:
        """What arrives of a picture over the channel that is really there.

        Args:
            pixels: uint8 `(height, width, 3)`.
            channel: of complex uses; draws come from torch.
            sent: what `prepare` gave for this picture, if it was called.
        """
        sent = self.prepare(pixels) if sent is None else sent
        body = sent.data[: self.link.payload_bytes]  # Headers that do not count are not sent.
        arrived: Arrived = self.link.send(body, channel)
        budget = Budget.of(channel, self.link.uses)
        label = f"{self.source.label}, {self.link.modulation.name}"
        return _outcome(pixels, sent, bool(sent.data) and arrived.is_whole, budget, label)


@cache
def thresholds() -> dict[str, float]:
    """Measured signal-to-noise ratios in dB from which each modulation's blocks arrive, by name."""
    text = resources.files("laconic.evaluation.channels").joinpath(THRESHOLDS).read_text("utf-8")
    found: dict[str, float] = json.loads(text)["snr_db"]
    return found


def best_modulation(snr_db: float, margin_db: float = MARGIN_DB) -> Modulation:
    """The modulation of most bits per use whose threshold, with a margin, is below this ratio.

    Raises:
        UnreachableTargetError: no modulation works on so bad a channel.
    """
    known = thresholds()
    usable = [one for one in MODULATIONS if known.get(one.name, math.inf) + margin_db <= snr_db]
    if not usable:
        least = min(known.values()) + margin_db
        raise UnreachableTargetError(
            f"no code of the digital baseline works at {snr_db:g} dB; {least:g} dB are needed"
        )
    return max(usable, key=lambda one: one.bits_per_use)


def best_link(snr_db: float, uses: int, design: Channel) -> Link:
    """The link of most bits that works at a signal-to-noise ratio."""
    return Link(best_modulation(snr_db), uses, design)


def transmit_best(
    pixels: Image8, sources: Sequence[SourceCodec], link: Link, channel: NoisyChannel
) -> Outcome:
    """The best of several codecs over the same link; the sender knows what each file will give."""
    prepared = [(source, source.fit(pixels, 8 * link.payload_bytes)) for source in sources]
    source, sent = max(prepared, key=lambda pair: psnr(pixels, pair[1].picture))
    return DigitalSystem(source, link).transmit(pixels, channel, sent)


def _outcome(pixels: Image8, sent: Sent, is_there: bool, budget: Budget, label: str) -> Outcome:
    picture = sent.picture if is_there else np.full_like(pixels, GREY)
    reduced = f", 1/{sent.reduction} size" if sent.reduction > 1 else ""
    quality = psnr(pixels, picture)
    return Outcome(picture, not is_there, sent.counted_bits, budget, label + reduced, quality)


def _reduced(pixels: Image8, factor: int) -> Image8:
    if factor == 1:
        return pixels
    height, width = (max(1, side // factor) for side in pixels.shape[:2])
    small = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(small)


def _enlarged(small: Image8, like: Image8) -> Image8:
    if small.shape == like.shape:
        return small
    height, width = like.shape[:2]
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
