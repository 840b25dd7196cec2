"""Relative entropy coding over a noisy channel: the levels of a .lac file, unequally protected.

```
 .lac file | header, top levels | other levels |      equal:   one code for the whole file
           |  code for s - x dB |  code for s  |      unequal: as drawn, in the same channel uses
```

A .lac file shows a picture from its first bytes, the better the more there are. So the first bytes
get a code that works on channels that are worse by `protection_db` than the design's. On such a
channel the picture is coarse and not lost.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from laconic.channels.gate import Budget
from laconic.channels.gaussian import ComplexAwgn, NoiseConfig, NoisyChannel
from laconic.codecs.base import Decoding
from laconic.codecs.image.codec import ImageCodec
from laconic.codecs.image.file import ImageFile
from laconic.errors import FileError, UnreachableTargetError
from laconic.evaluation.channels.digital import GREY, best_modulation
from laconic.evaluation.channels.link import Link
from laconic.metrics.images import Image8

SHRINK: Final = 0.93
"""The requested size falls by this factor until a file fits."""
TRIES: Final = 40
LEAST_BITS_PER_PIXEL: Final = 0.02

Encode = Callable[[float], bytes]
"""Bits per pixel -> a .lac file of at most that size."""


@dataclass(frozen=True)
class Protected:
    """A file and the links that carry it.

    Attributes:
        data: the .lac file.
        first_bytes: that the first link carries.
        links: of the first bytes, and of the others; one where all are protected alike.
    """

    data: bytes
    first_bytes: int
    links: tuple[Link, ...]

    @property
    def uses(self) -> int:
        """Complex channel uses."""
        return sum(link.uses for link in self.links)


@dataclass(frozen=True)
class Partial:
    """What arrived of a file.

    Attributes:
        data: its first bytes, up to the first that are lost.
        whole: whether that is all.
    """

    data: bytes
    whole: bool


def protect_equally(encode: Encode, pixels: int, uses: int, design_db: float) -> Protected:
    """The largest file that one link for the design's channel carries.

    Args:
        encode: makes the file.
        pixels: of the picture.
        uses: complex channel uses.
        design_db: signal-to-noise ratio that the code is made for.

    Raises:
        UnreachableTargetError: no file is so small, or no code works there.
    """
    link = Link(best_modulation(design_db), uses, _awgn(design_db))
    for bits in _sizes(8 * link.payload_bytes):
        if (data := _try(encode, bits / pixels)) and len(data) <= link.payload_bytes:
            return Protected(data, len(data), (link,))
    raise UnreachableTargetError(f"no .lac file fits into {uses:,} channel uses")


def protect_unequally(
    encode: Encode, pixels: int, uses: int, design_db: float, protection_db: float, level: int
) -> Protected:
    """The largest file whose first levels have the better code, in the same channel uses.

    Args:
        encode: makes the file.
        pixels: of the picture.
        uses: complex channel uses.
        design_db: signal-to-noise ratio that the other levels' code is made for.
        protection_db: by how much worse a channel may be for the first levels.
        level: the last of the first levels, counted from 0.

    Raises:
        UnreachableTargetError: no file is so small, or no code works there.
    """
    strong, fast = best_modulation(design_db - protection_db), best_modulation(design_db)
    for bits in _sizes(uses * fast.bits_per_use):
        data = _try(encode, bits / pixels)
        if not data:
            continue
        first = ImageFile.read(data).describe().levels[level].prefix_bytes
        needed = _uses_for(first, strong.bits_per_use)
        if not 0 < needed < uses:
            continue
        links = (
            Link(strong, needed, _awgn(design_db - protection_db)),
            Link(fast, uses - needed, _awgn(design_db)),
        )
        fits = first <= links[0].payload_bytes and len(data) - first <= links[1].payload_bytes
        if fits:
            return Protected(data, first, links)
    raise UnreachableTargetError(f"no .lac file fits into {uses:,} channel uses")


def send(protected: Protected, channel: NoisyChannel) -> Partial:
    """Send a file over the channel that is really there; draws come from torch."""
    cut = protected.first_bytes
    parts = [protected.data[:cut], protected.data[cut:]][: len(protected.links)]
    arrived, delivered = b"", 0
    whole = True
    for link, part in zip(protected.links, parts, strict=True):
        found = link.send(part, channel)
        delivered += found.delivered_bits
        if whole:
            arrived += found.prefix
            whole = found.is_whole
    if not whole:
        Budget.of(channel, protected.uses).check(delivered, ".lac + LDPC")
    return Partial(arrived[: len(protected.data)], whole)


def show(partial: Partial, how: Decoding, like: Image8) -> Image8:
    """The picture that the first bytes of a file give; mid-grey where they give none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            file = ImageFile.read(partial.data, rescue=True)
            image = next(iter(file.decode(how)))[1]
    except FileError:
        return np.full_like(like, GREY)
    return np.asarray(image.convert("RGB"))


def encoder_of(codec: ImageCodec, pixels: Image8) -> Encode:
    """Files of a picture by size in bits per pixel."""
    return lambda bpp: codec.encode(pixels, bpp=bpp)


def _try(encode: Encode, bpp: float) -> bytes:
    """A file; empty where none is so small."""
    if bpp < LEAST_BITS_PER_PIXEL:
        return b""
    try:
        return encode(bpp)
    except UnreachableTargetError:
        return b""


def _sizes(largest_bits: float) -> list[float]:
    """Sizes to try, from the largest."""
    return [largest_bits * SHRINK**step for step in range(TRIES)]


def _uses_for(size_bytes: int, bits_per_use: float) -> int:
    """Complex uses that carry so many bytes, checksums included; a little too many."""
    blocks = 1 + 8 * size_bytes // 8000
    return math.ceil((8 * size_bytes + 40 * blocks) / bits_per_use) + 8 * blocks


def _awgn(snr_db: float) -> ComplexAwgn:
    return ComplexAwgn(NoiseConfig(snr_db))
