"""The headers of lossless files: of the file, and of the bundles of pictures in it.

Pictures follow each other in *bundles*: several pictures of one size and kind that are one group,
or one picture of one or more groups (docs/format.md, "Lossless").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from laconic.codecs.base import ModelId
from laconic.codecs.image.tiles import MAX_SIDE, Tile
from laconic.codecs.lossless.direct.base import MODEL
from laconic.codecs.lossless.grid import Grid
from laconic.codecs.lossless.note import Note, Reason
from laconic.codecs.lossless.picture import Kind
from laconic.container import FieldReader, FieldWriter, join_flags, split_flags
from laconic.errors import CorruptFileError, UnsupportedFileError
from laconic.limits import MAX_PIXELS
from laconic.orientation import ORIENTATIONS, UPRIGHT

REVISION: Final = 1
MODEL_FREE_REVISION: Final = 2
"""Of a file whose pictures are all coded without a model: its header names none."""
MAX_PICTURES: Final = 1 << 22
MAX_BUNDLES: Final = 1 << 18
MAX_RUN_SAMPLES: Final = 1 << 26
"""Samples under one checksum, where it covers several pictures."""
CHECK_BYTES: Final = 4
MAX_PARTS: Final = 1 << 22
"""Chains, tiles coded without the model, alpha planes and checksums of a file."""
MAX_GROUP_SAMPLES: Final = 1 << 26
"""Of a group of several tiles."""
MAX_REQUEST: Final = 1 << 32
_KIND_BITS: Final = 3
_FLAG_BITS: Final = 5


class Parts:
    """Counts the parts of a file that are read: a small list must not take much memory."""

    def __init__(self) -> None:
        self._left = MAX_PARTS

    def take(self, count: int) -> None:
        """Raise `CorruptFileError` where there are more than a file has."""
        self._left -= count
        if self._left < 0:
            raise CorruptFileError(f"the list of pictures has more than {MAX_PARTS} parts")


class ChainEntry(NamedTuple):
    """A chain of a group: `items` of it, the last `alone` without borrowed bits, `size` bytes."""

    items: int
    alone: int
    size: int


class GroupEntry(NamedTuple):
    """A group: bytes of its start, and its chains."""

    start: int
    chains: tuple[ChainEntry, ...]

    @property
    def items(self) -> int:
        """Pictures or tiles."""
        return sum(chain.items for chain in self.chains)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.start + sum(chain.size for chain in self.chains)


@dataclass(frozen=True)
class Bundle:
    """Pictures that follow each other and are coded together.

    Attributes:
        pictures: how many; several are one group of tiles of one size.
        kind: of their samples.
        grid: their size and tiles.
        orientation: EXIF's number.
        profile: index of their colour profile, or None.
        alphas: bytes of each picture's alpha plane, or empty; 0 where `method` codes it as well.
        groups: one after the other, sizes of tiles as `Grid.by_size` has them; without a model
            there are none.
        run: pictures under one checksum.
        checks: CRC-32 of every run.
        method: number of the method that codes each tile by itself; `MODEL`: the file's model.
        sizes: bytes of each tile of each picture, row by row, where a method codes it.
    """

    pictures: int
    kind: Kind
    grid: Grid
    orientation: int
    profile: int | None
    alphas: tuple[int, ...]
    groups: tuple[GroupEntry, ...]
    run: int
    checks: tuple[int, ...]
    method: int = MODEL
    sizes: tuple[int, ...] = ()

    @property
    def mode(self) -> str:
        """Pillow's name for the pictures."""
        return self.kind.mode(bool(self.alphas))

    @property
    def size(self) -> int:
        """Bytes of all pictures."""
        groups = sum(group.size for group in self.groups)
        return sum(self.alphas) + groups + sum(self.sizes)

    @property
    def samples(self) -> int:
        """Numbers that the pictures are made of."""
        channels = 3 if self.mode.startswith("RGB") else 1
        return self.pictures * self.grid.height * self.grid.width * (channels + bool(self.alphas))

    def write(self, writer: FieldWriter, archive: bool) -> None:
        """Write the fields; the numbers of pictures and of runs are in archives alone."""
        grid, several = self.grid, self.grid.count > 1
        if archive:
            writer.integer(self.pictures)
        tags = (bool(self.alphas), self.profile is not None, self.orientation != UPRIGHT)
        flags = (*tags, several, self.method != MODEL)
        writer.integer(self.kind + (join_flags(flags) << _KIND_BITS))
        writer.integer(grid.height)
        writer.integer(grid.width)
        if several:
            writer.integer(grid.rows)
            writer.integer(grid.columns)
        if self.orientation != UPRIGHT:
            writer.integer(self.orientation)
        if self.profile is not None:
            writer.integer(self.profile)
        if self.method != MODEL:
            writer.integer(self.method)
        for size in self.sizes if self.method != MODEL else self.alphas:
            writer.integer(size)
        for group in self.groups:
            _write_group(group, writer)
        if archive:
            writer.integer(self.run)
        for check in self.checks:
            writer.raw(check.to_bytes(CHECK_BYTES, "little"))

    @classmethod
    def read(cls, reader: FieldReader, archive: bool, limit: int, parts: Parts) -> "Bundle":
        """Read the fields of at most `limit` pictures; raises `FileError` on anything absurd."""
        pictures = reader.integer(limit, "the number of pictures") if archive else 1
        if pictures == 0:
            raise CorruptFileError("a bundle of no pictures")
        code = reader.integer(what="the kind of picture")
        kind, flags = code & ((1 << _KIND_BITS) - 1), code >> _KIND_BITS
        if kind > max(Kind) or flags >> _FLAG_BITS:
            raise UnsupportedFileError(
                f"the file has pictures of unknown kind {code}; update laconic"
            )
        has_alpha, has_profile, turned, several, direct = split_flags(flags, _FLAG_BITS)
        height, width = (reader.integer(MAX_SIDE, "a side") for _ in range(2))
        tiles = [reader.integer(MAX_SIDE, "the number of tiles") for _ in range(2 * several)]
        grid = Grid(height, width, *tiles, **({"most": MAX_PIXELS} if direct else {}))
        orientation = reader.integer(max(ORIENTATIONS), "the orientation") if turned else UPRIGHT
        profile = reader.integer(MAX_PICTURES, "the number of a profile") if has_profile else None
        method = reader.integer(what="the method") if direct else MODEL
        parts.take(pictures * (grid.count if direct else has_alpha))
        sizes = _read_sizes(reader, pictures * grid.count * direct, "a picture")
        alphas: tuple[int, ...] = (0,) * (pictures * has_alpha)
        groups: tuple[GroupEntry, ...] = ()
        if not direct:
            alphas = _read_sizes(reader, pictures * has_alpha, "an alpha plane")
            groups = _read_groups(reader, grid, Kind(kind).colours, pictures, parts)
        run = reader.integer(pictures, "pictures of a checksum") if archive else 1
        absurd = (
            several and grid.count == 1,
            (turned and orientation <= UPRIGHT) or run == 0,
            direct and method == MODEL,
            not Kind(kind).is_possible(has_alpha, direct),
        )
        if any(absurd):
            raise CorruptFileError("the list of pictures contradicts itself")
        if run > 1 and run * height * width * Kind(kind).colours > MAX_RUN_SAMPLES:
            raise CorruptFileError("too many pictures share a checksum")
        parts.take(-(-pictures // run))
        checks = tuple(
            int.from_bytes(reader.raw(CHECK_BYTES), "little") for _ in range(-(-pictures // run))
        )
        pixels = (alphas, groups, run, checks, method, sizes)
        return cls(pictures, Kind(kind), grid, orientation, profile, *pixels)


@dataclass(frozen=True)
class LosslessHeader:
    """The codec's own header.

    Attributes:
        model: the model that wrote the file, or None where no picture needs one.
        pictures: how many, or None where the file is no archive.
        profiles: whether a section holds colour profiles.
        ideal_bits: negative evidence lower bound of all pictures, rounded.
        net_bits: what the coder makes of it without initial bits, rounded.
        single: the picture, where the file is no archive.
        metadata: whether a section holds metadata.
        note: why the file is lossless, where a lossy one was requested.
    """

    model: ModelId | None
    pictures: int | None
    profiles: bool
    ideal_bits: int
    net_bits: int
    single: Bundle | None
    metadata: bool = False
    note: Note | None = None

    def write(self) -> bytes:
        """The header's bytes, the same for equal headers."""
        writer = FieldWriter()
        writer.integer(MODEL_FREE_REVISION if self.model is None else REVISION)
        if self.model is not None:
            self.model.write(writer)
        writer.flags(self.pictures is not None, self.profiles, self.metadata, self.note is not None)
        if self.model is not None:
            writer.integer(self.ideal_bits)
            writer.signed(self.net_bits - self.ideal_bits)
        if self.note is not None:
            writer.integer(self.note.reason)
            writer.integer(self.note.request)
        if self.pictures is not None:
            writer.integer(self.pictures)
        if self.single is not None:
            self.single.write(writer, archive=False)
        return writer.finish()

    @classmethod
    def read(cls, data: bytes) -> "LosslessHeader":
        """Read a header; raises `CorruptFileError` or `UnsupportedFileError` on anything absurd."""
        reader = FieldReader(data, "the lossless header")
        revision = reader.revision(REVISION, MODEL_FREE_REVISION)
        model = ModelId.read(reader) if revision == REVISION else None
        is_archive, profiles, metadata, has_note = reader.flags(4)
        ideal = net = 0
        if model is not None:
            ideal = reader.integer(what="ideal bits")
            net = ideal + reader.signed("net bits")
        note = _read_note(reader) if has_note else None
        pictures = single = None
        if is_archive:
            pictures = reader.integer(MAX_PICTURES, "the number of pictures")
        else:
            single = Bundle.read(reader, archive=False, limit=1, parts=Parts())
        reader.finish()
        return cls(model, pictures, profiles, ideal, net, single, metadata, note)


def write_bundles(bundles: Sequence[Bundle], writer: FieldWriter) -> None:
    """The bundles of an archive."""
    for bundle in bundles:
        bundle.write(writer, archive=True)


def read_bundles(reader: FieldReader, pictures: int) -> tuple[Bundle, ...]:
    """The bundles of an archive of so many pictures."""
    bundles: list[Bundle] = []
    parts = Parts()
    while pictures:
        if len(bundles) == MAX_BUNDLES:
            raise CorruptFileError(f"the archive has more than {MAX_BUNDLES} bundles")
        bundles.append(Bundle.read(reader, archive=True, limit=pictures, parts=parts))
        pictures -= bundles[-1].pictures
    return tuple(bundles)


def split_tiles(
    grid: Grid, groups: Sequence[GroupEntry]
) -> list[tuple[GroupEntry, Sequence[Tile]]]:
    """Each group of a bundle with the tiles that it has of every picture, in order.

    Raises:
        CorruptFileError: the groups are not cut where the size of tiles changes.
    """
    sizes = grid.by_size()
    if len(sizes) == len(groups) == 1:
        return [(groups[0], tiles) for tiles in sizes.values()]
    split: list[tuple[GroupEntry, Sequence[Tile]]] = []
    rest = iter(groups)
    for tiles in sizes.values():
        done = 0
        while done < len(tiles):
            group = next(rest, None)
            if group is None or done + group.items > len(tiles):
                raise CorruptFileError("the groups of a picture do not cover its tiles")
            split.append((group, tiles[done : done + group.items]))
            done += group.items
    return split


def _write_group(group: GroupEntry, writer: FieldWriter) -> None:
    writer.integer(group.start)
    writer.integer(len(group.chains))
    for chain in group.chains:
        for value in chain:
            writer.integer(value)


def _read_note(reader: FieldReader) -> Note:
    reason = reader.integer(what="the reason")
    request = reader.integer(MAX_REQUEST, "the request")
    if reason not in Reason.__members__.values():
        raise UnsupportedFileError(f"the file notes an unknown reason {reason}; update laconic")
    return Note(Reason(reason), request)


def _read_sizes(reader: FieldReader, count: int, what: str) -> tuple[int, ...]:
    return tuple(reader.integer(what=f"the length of {what}") for _ in range(count))


def _read_groups(
    reader: FieldReader, grid: Grid, colours: int, pictures: int, parts: Parts
) -> tuple[GroupEntry, ...]:
    """Groups until all tiles of all pictures are there."""
    samples = -(-grid.height // grid.rows) * -(-grid.width // grid.columns) * colours
    left, groups = pictures * grid.count, []
    while left:
        start = reader.integer(what="the length of a group's start")
        chains = []
        count = reader.integer(left, "the number of chains")
        parts.take(count)
        for _ in range(count):
            count = reader.integer(left, "the pictures of a chain")
            alone = reader.integer(count, "the pictures that start a chain")
            chains.append(ChainEntry(count, alone, reader.integer(what="the length of a chain")))
            left -= count
            if count == 0:
                raise CorruptFileError("a chain of no pictures")
        if not chains:
            raise CorruptFileError("a group without chains")
        groups.append(GroupEntry(start, tuple(chains)))
        if groups[-1].items > 1 and groups[-1].items * samples > MAX_GROUP_SAMPLES:
            raise CorruptFileError(f"a group has more than {MAX_GROUP_SAMPLES} samples")
    if pictures > 1 and (len(groups) > 1 or not grid.even):
        raise CorruptFileError("a bundle of several pictures is not one group of equal tiles")
    return tuple(groups)
