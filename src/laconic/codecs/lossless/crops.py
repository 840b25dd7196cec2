"""A part of a picture of a lossless file, from the tiles that it needs.

The checksum of a picture covers all of it, so a part cannot be compared with it; the checksums of
the file's sections are compared.
"""

from collections.abc import Iterator
from itertools import accumulate

from laconic.codecs.image.tiles import Tile
from laconic.codecs.lossless.bundles import blank, read_alphas, read_direct_tile, read_group
from laconic.codecs.lossless.core import GroupCoder, Samples, Tick, TileCounter, silent
from laconic.codecs.lossless.direct import MODEL
from laconic.codecs.lossless.header import Bundle, split_tiles
from laconic.codecs.lossless.picture import ExactPicture, separate
from laconic.container import Span
from laconic.progress import Progress

Part = tuple[Tile, Samples]
"""A tile and its samples."""


def read_crop(
    coder: GroupCoder | None,
    bundle: Bundle,
    data: Span,
    profile: bytes,
    area: Tile,
    progress: Progress,
) -> ExactPicture:
    """Decode a part of the only picture of a bundle.

    Of a chain, the tiles before the last one that is needed are decoded, too. Alpha beside the
    model is a single plane and is decoded whole.

    Args:
        coder: of the model; None where the bundle needs none.
        bundle: of one picture.
        data: its bytes.
        profile: of its colours.
        area: the part.
        progress: called with needed tiles done and needed tiles in all.

    Raises:
        CorruptFileError: the bytes are no such picture.
        UnsupportedFileError: it is coded by an unknown method.
    """
    kind, alpha = bundle.kind, None
    needed = sum(tile.common(area) is not None for tile in bundle.grid)
    tick = TileCounter(progress, needed).add
    if bundle.method == MODEL:
        assert coder is not None, "a file without a model holds no picture that needs one"
        canvas = blank(area.height, area.width, kind)
        _fill(canvas, area, _read_tiles(coder, bundle, data, area, tick))
        plane = next(read_alphas(bundle, data))
        if plane is not None:
            alpha = plane[area.top : area.bottom, area.left : area.right].copy()
        return ExactPicture(kind, canvas, alpha, profile, bundle.orientation)
    canvas = blank(area.height, area.width, kind, kind.colours + bool(bundle.alphas))
    _fill(canvas, area, _read_direct(bundle, data, area, tick))
    return separate(canvas, kind, profile, bundle.orientation)


def _fill(canvas: Samples, area: Tile, parts: Iterator[Part]) -> None:
    """Put the samples of tiles where they belong in the area."""
    for tile, samples in parts:
        common = tile.common(area)
        assert common is not None
        canvas[common.within(area)] = samples[common.within(tile)]


def _read_tiles(
    coder: GroupCoder, bundle: Bundle, data: Span, area: Tile, tick: Tick
) -> Iterator[Part]:
    """The needed tiles that the model codes."""
    start = sum(bundle.alphas)
    for group, tiles in split_tiles(bundle.grid, bundle.groups):
        wanted = {number for number, tile in enumerate(tiles) if tile.common(area)}
        if wanted:
            part = data[start : start + group.size]
            items = read_group(coder, group, part, tiles[0], bundle.kind, silent, wanted)
            for number, item in enumerate(items):
                if number in wanted:
                    yield tiles[number], item
            tick(len(wanted))
        start += group.size


def _read_direct(bundle: Bundle, data: Span, area: Tile, tick: Tick) -> Iterator[Part]:
    """The needed tiles that a method without the model codes."""
    ends = [0, *accumulate(bundle.sizes)]
    for number, tile in enumerate(bundle.grid):
        if tile.common(area):
            part = data[ends[number] : ends[number + 1]]
            yield tile, read_direct_tile(bundle, number, part, tile)
            tick(1)
