"""A file of one map: what it says about itself, and its decoding."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Final, Self, final

import numpy as np

from laconic.codecs.base import Codec, Content, Decoding, FileInfo
from laconic.codecs.deflated import deflate, inflate
from laconic.codecs.volume.blocks import EIGHTHS, to_density
from laconic.coding.queue.stream import IntArray, QueueDecoder
from laconic.coding.tensors import quantised
from laconic.container import FieldReader, FieldWriter, LacFile
from laconic.errors import CorruptFileError
from laconic.map_file import HEADER_BYTES, TYPES, Array, MapFile

REVISION: Final = 1
MRC: Final = "mrc"
"""Section: the header of the MRC file, and what follows it, as a zlib stream."""
BLOCKS: Final = "blocks"
"""Section: the rounded numbers of all blocks, one range-coded stream."""

MOST_MRC_BYTES: Final = 1 << 24
MOST_VOXELS: Final = 1 << 31
VOXELS_PER_BYTE: Final = 1 << 15
"""Voxels that a byte of the blocks may hold, so that a short file cannot need much memory."""
EDGES: Final = (8, 16)
"""Voxels along an edge of a block."""
STEEPEST: Final = 60 * EIGHTHS
"""Steps lie in 2^-60 to 2^60."""


@dataclass(frozen=True, kw_only=True)
class MapInfo(FileInfo):
    """A file of a map in numbers.

    Attributes:
        size: voxels along each edge.
        pixel_size: in angstroms; None where the map names none.
        numbers: their type in the MRC file.
        bytes_per_number: of that type.
        bits_per_voxel: of the file.
        loss: of correlation with the truth that the noise may cause in any shell.
        block: voxels along an edge of a block.
    """

    size: int
    pixel_size: float | None
    numbers: str
    bytes_per_number: int
    bits_per_voxel: float
    loss: float
    block: int


@dataclass(frozen=True)
class MapHeader:
    """The codec's own header.

    Attributes:
        size: voxels along each edge of the map.
        block: voxels along an edge of a block.
        loss_millionths: of correlation with the truth that the noise may cause in any shell.
        ideal_bits: of a draw with the noise of the file.
        steps: (size // 2 + 1,), of each shell, in eighths of an octave.
    """

    size: int
    block: int
    loss_millionths: int
    ideal_bits: int
    steps: IntArray

    def write(self) -> bytes:
        """The fields."""
        fields = FieldWriter()
        fields.integer(REVISION)
        fields.integer(self.size)
        fields.integer(EDGES.index(self.block))
        fields.integer(self.loss_millionths)
        fields.integer(self.ideal_bits)
        for change in np.diff(self.steps, prepend=0):
            fields.signed(int(change))
        return fields.finish()

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Read and check the fields."""
        fields = FieldReader(data, "the header of the map")
        fields.revision(REVISION)
        size = fields.integer(what="the size")
        if size < 2 or size**3 > MOST_VOXELS:
            raise CorruptFileError(f"the header of the map: its size is {size}")
        block = EDGES[fields.integer(len(EDGES) - 1, "the size of blocks")]
        loss = fields.integer(10**6, "the loss")
        bits = fields.integer(what="the ideal bits")
        step, steps = 0, []
        for _ in range(size // 2 + 1):
            step += fields.signed("a step")
            if abs(step) > STEEPEST:
                raise CorruptFileError("the header of the map: a step is beyond all bounds")
            steps.append(step)
        fields.finish()
        return cls(size, block, loss, bits, np.array(steps, np.int64))

    @property
    def shape(self) -> tuple[int, int]:
        """Of the matrix of numbers: blocks, frequencies."""
        return (-(-self.size // self.block)) ** 3, self.block**3


def check_size(numbers: int, bytes_: int) -> None:
    """Refuse more numbers in a section than a reader accepts.

    Raises:
        CorruptFileError: there are too many.
    """
    if numbers > VOXELS_PER_BYTE * bytes_:
        raise CorruptFileError(f"{numbers} numbers of a map in {bytes_} bytes: too many")


def write_mrc(header: bytes, extended: bytes) -> bytes:
    """The section of the header; what is computed anew when the map is written is left out."""
    plain = bytearray(header)
    plain[76:88], plain[216:220] = bytes(12), bytes(4)  # dmin, dmax, dmean; rms.
    advice = "write the map without its extended header"
    return deflate(bytes(plain) + extended, MOST_MRC_BYTES, "the header of the map", advice)


@final
@dataclass(frozen=True)
class VolumeFile(Codec):
    """A file of one map, opened.

    Attributes:
        file: its sections.
        header: the codec's own.
    """

    id: ClassVar[str] = "map"

    file: LacFile
    header: MapHeader

    @classmethod
    def open(cls, file: LacFile) -> Self:
        """Read the header, and check that the sections are there."""
        header = MapHeader.read(file.header)
        check_size(header.shape[0] * header.shape[1], len(file.only(BLOCKS)))
        file.only(MRC)
        return cls(file, header)

    @property
    def content(self) -> Content:
        """One map."""
        return Content.MAP

    @cached_property
    def _mrc(self) -> bytes:
        """The header of the MRC file and what follows it."""
        found = inflate(self.file.only(MRC), MOST_MRC_BYTES, "header of the map")
        if len(found) < HEADER_BYTES:
            raise CorruptFileError("the header of the map is damaged: it is too short")
        return found

    def describe(self) -> MapInfo:
        """Everything that the file says about itself."""
        header = self.header
        plain = self._map(np.zeros((1, 1, 1), np.float32))
        kind = np.dtype(TYPES[plain.mode])
        file_bits = 8 * self.file.size_bytes
        return MapInfo(
            file_bits=file_bits,
            ideal_bits=header.ideal_bits,
            codec=self.id,
            sections=self.file.section_bits(),
            size=header.size,
            pixel_size=plain.pixel_size,
            numbers=kind.name,
            bytes_per_number=kind.itemsize,
            bits_per_voxel=file_bits / header.size**3,
            loss=header.loss_millionths / 10**6,
            block=header.block,
        )

    def decode(self, how: Decoding) -> Iterator[tuple[str, MapFile]]:
        """Decode the map; its name is ""."""
        how.progress(0, 1)
        header = self.header
        try:
            stream = QueueDecoder(self.file.only(BLOCKS))
            indices = quantised.read(stream, header.shape, quantised.Contexts())
            numbers = quantised.to_values(indices, 0)[0]
            with np.errstate(over="ignore"):
                found = to_density(
                    numbers.astype(np.float64), header.size, header.steps, header.block
                ).astype(np.float32)
        except MemoryError as error:
            raise CorruptFileError(
                f"a map of {header.size} voxels along each edge does not fit in memory"
            ) from error
        if not np.isfinite(found).all():
            raise CorruptFileError("the map holds numbers that are not finite: it is damaged")
        yield "", self._map(found)

    def _map(self, density: Array) -> MapFile:
        return MapFile(density, self._mrc[:HEADER_BYTES], self._mrc[HEADER_BYTES:])
