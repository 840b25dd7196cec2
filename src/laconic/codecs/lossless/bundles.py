"""Bundles of pictures <-> bytes: alpha planes, then groups of equal tiles, all checked.

Several pictures of one kind are one group, so that its chains run over all of them. A picture whose
tiles have several sizes, or that is larger than a group should be, is a bundle of its own. Pictures
that a method codes without the model are bundles of their own too, each picture by itself.
"""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from laconic.codecs.image.alpha import decode_alpha, encode_alpha
from laconic.codecs.image.tiles import Tile
from laconic.codecs.lossless.core import (
    DTYPES,
    NO_COSTS,
    Chain,
    Costs,
    EncodedGroup,
    GroupCoder,
    Samples,
    Tick,
)
from laconic.codecs.lossless.direct import METHODS, MODEL
from laconic.codecs.lossless.grid import Grid, plan_direct, plan_grid
from laconic.codecs.lossless.header import Bundle, ChainEntry, GroupEntry, split_tiles
from laconic.codecs.lossless.picture import ExactPicture, Kind, separate
from laconic.container import Span
from laconic.errors import CorruptFileError, UnsupportedFileError

GROUP_SAMPLES: Final = 1 << 24
"""Samples of a group at most, unless one tile has more: memory grows with it."""
RUN_BYTES: Final = 1 << 12
"""A checksum of four bytes covers about so many: checksums take a thousandth of the file."""


@dataclass(frozen=True)
class Common:
    """What pictures of one bundle have in common; the attributes are those of `ExactPicture`."""

    kind: Kind
    height: int
    width: int
    alpha: bool
    orientation: int
    profile: bytes

    @classmethod
    def of(cls, picture: ExactPicture) -> "Common":
        """What a picture shares with others of its bundle."""
        height, width = picture.pixels.shape[:2]
        alpha = picture.alpha is not None
        return cls(picture.kind, height, width, alpha, picture.orientation, picture.profile)

    @property
    def grid(self) -> Grid:
        """Tiles of each picture."""
        return plan_grid(self.height, self.width)

    @property
    def pictures(self) -> int:
        """How many a bundle takes at most."""
        samples = self.height * self.width * self.kind.colours
        return max(1, GROUP_SAMPLES // samples) if self.grid.even else 1


@dataclass(frozen=True)
class WrittenBundle:
    """A bundle with its bytes and what they should have been.

    Attributes:
        bundle: its fields.
        pieces: its bytes, cut where a part of it begins: an alpha plane, a group, a tile.
        costs: of its groups.
    """

    bundle: Bundle
    pieces: tuple[bytes, ...]
    costs: Costs


def write_bundle(
    coder: GroupCoder,
    pictures: Sequence[ExactPicture],
    common: Common,
    profile: int | None,
    tick: Tick,
) -> WrittenBundle:
    """Encode pictures that have `common` in common; `profile` is the number of their profile."""
    planes = [cast(NDArray[np.uint8], one.alpha) for one in pictures if one.alpha is not None]
    alphas = list(map(encode_alpha, planes))
    groups = []
    for tiles in _plan_groups(common):
        pixels = [
            one.pixels[tile.top : tile.bottom, tile.left : tile.right]
            for one in pictures
            for tile in tiles
        ]
        groups.append(coder.encode(cast(Samples, np.stack(pixels)), tick))
    pieces = (*alphas, *map(_join, groups))
    count, run = len(pictures), _run(len(pictures), sum(map(len, pieces)))
    bundle = Bundle(
        pictures=count,
        kind=common.kind,
        grid=common.grid,
        orientation=common.orientation,
        profile=profile,
        alphas=tuple(map(len, alphas)),
        groups=tuple(map(_entry, groups)),
        run=run,
        checks=tuple(_check(pictures[first : first + run]) for first in range(0, count, run)),
    )
    costs = Costs(*map(sum, zip(*(group.costs for group in groups), strict=True)))
    return WrittenBundle(bundle, pieces, costs)


def join_direct(
    pictures: Sequence[ExactPicture],
    coded: Sequence[Sequence[bytes]],
    method: int,
    common: Common,
    profile: int | None,
) -> WrittenBundle:
    """A bundle of pictures that a method without the model has coded, tile by tile."""
    pieces = tuple(part for parts in coded for part in parts)
    count, run = len(pictures), _run(len(pictures), sum(map(len, pieces)))
    bundle = Bundle(
        pictures=count,
        kind=common.kind,
        grid=plan_direct(common.height, common.width),
        orientation=common.orientation,
        profile=profile,
        alphas=(0,) * (count * common.alpha),
        groups=(),
        run=run,
        checks=tuple(_check(pictures[first : first + run]) for first in range(0, count, run)),
        method=method,
        sizes=tuple(map(len, pieces)),
    )
    return WrittenBundle(bundle, pieces, NO_COSTS)


def read_bundle(
    coder: GroupCoder | None, bundle: Bundle, data: Span, profile: bytes, tick: Tick
) -> Iterator[tuple[ExactPicture, bool]]:
    """Decode pictures one by one, each with whether its checksum was compared.

    Of a cut bundle, one with fewer bytes than its `size`, come the pictures before the cut; only
    there a picture may lack its checksum, since that covers others that are lost.

    Raises:
        CorruptFileError: the bundle is whole and yet does not give the pictures it was made of.
    """
    cut = len(data) < bundle.size
    run: list[ExactPicture] = []
    checks = iter(bundle.checks)
    if bundle.method != MODEL:
        pictures = _read_direct(bundle, data, profile, tick)
    else:
        assert coder is not None, "a file without a model holds no picture that needs one"
        pictures = _read_pictures(coder, bundle, data, profile, tick)
    for index in range(bundle.pictures):
        try:
            run.append(next(pictures))
        except CorruptFileError:
            if not cut:
                raise
            yield from ((picture, False) for picture in run)
            return
        if len(run) == bundle.run or index == bundle.pictures - 1:
            if _check(run) != next(checks):
                if cut:
                    return
                raise CorruptFileError(
                    "the pixels are not those that were compressed, their checksum does not "
                    "match: the file or the model is damaged"
                )
            yield from ((picture, True) for picture in run)
            run = []


def _read_pictures(
    coder: GroupCoder, bundle: Bundle, data: Span, profile: bytes, tick: Tick
) -> Iterator[ExactPicture]:
    """Pictures as they come; `CorruptFileError` where the bytes end."""
    grid, kind = bundle.grid, bundle.kind
    start = sum(bundle.alphas)
    planes = read_alphas(bundle, data)
    canvas, left = blank(grid.height, grid.width, kind), grid.count
    for group, tiles in split_tiles(grid, bundle.groups):
        part = data[start : start + group.size]
        items = read_group(coder, group, part, tiles[0], kind, tick)
        start += group.size
        for index, item in enumerate(items):
            tile = tiles[index % len(tiles)]
            canvas[tile.top : tile.bottom, tile.left : tile.right] = item
            left -= 1
            if left == 0:
                yield ExactPicture(kind, canvas, next(planes), profile, bundle.orientation)
                canvas, left = blank(grid.height, grid.width, kind), grid.count


def read_alphas(bundle: Bundle, data: Span) -> Iterator[NDArray[np.uint8] | None]:
    """The alpha plane of each picture that the model codes, decoded when it is taken."""
    start = 0
    for size in bundle.alphas:
        yield decode_alpha(data[start : start + size], bundle.grid.height, bundle.grid.width)
        start += size
    while True:
        yield None


def _read_direct(bundle: Bundle, data: Span, profile: bytes, tick: Tick) -> Iterator[ExactPicture]:
    """Pictures that need no model; `CorruptFileError` where the bytes end."""
    grid = bundle.grid
    tiles, ends = list(grid), [0, *accumulate(bundle.sizes)]
    channels = bundle.kind.colours + bool(bundle.alphas)
    for picture in range(bundle.pictures):
        canvas: Samples | None = None  # Made once a tile is good.
        for number, tile in enumerate(tiles, picture * len(tiles)):
            part = data[ends[number] : ends[number + 1]]
            samples = read_direct_tile(bundle, number, part, tile)
            if len(tiles) == 1:
                canvas = samples
                break
            if canvas is None:
                canvas = blank(grid.height, grid.width, bundle.kind, channels)
            canvas[tile.top : tile.bottom, tile.left : tile.right] = samples
        assert canvas is not None
        yield separate(canvas, bundle.kind, profile, bundle.orientation)
        tick(1)


def read_direct_tile(bundle: Bundle, number: int, data: bytes, tile: Tile) -> Samples:
    """A tile that needs no model, `(height, width, channels)`, alpha last.

    Raises:
        CorruptFileError: its bytes are damaged, or end early.
        UnsupportedFileError: its method is unknown.
    """
    method = METHODS.get(bundle.method)
    if method is None:
        raise UnsupportedFileError(
            f"the file has pictures coded by method {bundle.method}, which this laconic does not "
            "know; update laconic"
        )
    if len(data) < bundle.sizes[number]:
        raise CorruptFileError("the file ends before this picture does; it is cut short")
    channels = bundle.kind.colours + bool(bundle.alphas)
    return method.decode(data, tile.height, tile.width, channels, bundle.kind.bits)


def read_group(
    coder: GroupCoder,
    group: GroupEntry,
    data: bytes,
    tile: Tile,
    kind: Kind,
    tick: Tick,
    wanted: Container[int] | None = None,
) -> Iterator[Samples]:
    """As many items as the group has, or a `CorruptFileError` after the last one.

    Those whose numbers are not `wanted` may be blank; None: all are wanted.
    """
    start, chains = group.start, []
    for entry in group.chains:
        chains.append(Chain(entry.items, entry.alone, data[start : start + entry.size]))
        start += entry.size
    encoded = EncodedGroup(data[: group.start], tuple(chains))
    shape = (tile.height, tile.width, kind.colours)
    count = 0
    for item in coder.decode(encoded, group.items, *shape, kind.bits, tick, wanted):
        assert item.shape == shape
        assert item.dtype == DTYPES[kind.bits]
        yield item
        count += 1
    if count != group.items:
        raise CorruptFileError(f"a group gives {count} pictures where {group.items} should be")


def _plan_groups(common: Common) -> Iterator[Sequence[Tile]]:
    """Which tiles of its pictures each group of a bundle takes."""
    sizes = common.grid.by_size()
    for (height, width), tiles in sizes.items():
        fitting = max(1, GROUP_SAMPLES // (height * width * common.kind.colours))
        step = len(tiles) if common.pictures > 1 else fitting
        for first in range(0, len(tiles), step):
            yield tiles[first : first + step]


def _run(count: int, size: int) -> int:
    """Pictures under one checksum, of so many that take `size` bytes."""
    return min(count, -(-RUN_BYTES * count // max(1, size)))


def _check(pictures: Sequence[ExactPicture]) -> int:
    """CRC-32 of pictures one after the other."""
    check = 0
    for picture in pictures:
        check = picture.checksum(check)
    return check


def _join(group: EncodedGroup) -> bytes:
    return b"".join([group.start, *(chain.data for chain in group.chains)])


def _entry(group: EncodedGroup) -> GroupEntry:
    chains = tuple(ChainEntry(c.count, c.alone, len(c.data)) for c in group.chains)
    return GroupEntry(len(group.start), chains)


def blank(height: int, width: int, kind: Kind, channels: int | None = None) -> Samples:
    """Samples of a picture, all 0; of its colours where no channels are given."""
    shape = height, width, kind.colours if channels is None else channels
    canvas: Samples = np.zeros(shape, DTYPES[kind.bits])
    return canvas
