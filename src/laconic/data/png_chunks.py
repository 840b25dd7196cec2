"""Chunks of PNG files that Pillow does not read, or refuses to read.

Pillow ignores the chunk cICP, which defines the colour space, and refuses a whole picture if its
inflated text or colour profile is large.

Source: W3C, Portable Network Graphics (third edition), chapters 5 and 11.
"""

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Final

from PIL import PngImagePlugin

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
FRAME_BYTES: Final = 12
"""Bytes of a chunk besides its data: length, type and checksum."""
CICP: Final = "cicp"
"""Key of `Image.info`: the four numbers of the chunk cICP."""
PROFILE_BYTES: Final = 1 << 24
"""Largest colour profile that is read."""


@dataclass(frozen=True)
class Chunk:
    """A chunk of a PNG file.

    Attributes:
        kind: its four letters.
        start: position of its first byte, which belongs to its length.
        length: bytes of its data.
    """

    kind: bytes
    start: int
    length: int

    def read(self, file: IO[bytes]) -> bytes:
        """Its data."""
        file.seek(self.start + 8)
        return file.read(self.length)


@dataclass(frozen=True)
class Notes:
    """The parts of a PNG file that Pillow does not read.

    Attributes:
        cicp: colour primaries, transfer function, matrix and range; or None.
        too_large: chunks that make Pillow refuse the file.
        profile: the colour profile, if it is in one of these; or None.
    """

    cicp: tuple[int, ...] | None
    too_large: tuple[Chunk, ...]
    profile: bytes | None

    @property
    def lost(self) -> str:
        """What the chunks that are too large hold and nothing reads, in words; or ""."""
        kinds = {chunk.kind for chunk in self.too_large}
        words = ["text"] if kinds - {b"iCCP"} else []
        if b"iCCP" in kinds and self.profile is None:
            words.append("colour profile")
        return " and ".join(words)


def read_notes(file: IO[bytes]) -> Notes:
    """Read the chunks of a PNG file; restores the file's position.

    A damaged file is read as far as possible; Pillow reports the damage.
    """
    position, cicp, profile = file.tell(), None, None
    too_large, total = [], 0
    try:
        for chunk in _chunks(file):
            if chunk.kind == b"cICP" and chunk.length == 4:
                cicp = tuple(chunk.read(file))
            elif chunk.kind in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
                size = _inflated_size(chunk.kind, chunk.read(file))
                total += size * (chunk.kind != b"iCCP")
                limit = PngImagePlugin.MAX_TEXT_CHUNK if chunk.kind != b"tEXt" else size
                if size > limit or total > PngImagePlugin.MAX_TEXT_MEMORY:
                    too_large.append(chunk)
                    total -= size * (chunk.kind != b"iCCP")
                    if chunk.kind == b"iCCP":
                        profile = _inflate(_compressed_part(b"iCCP", chunk.read(file)))
    finally:
        file.seek(position)
    return Notes(cicp, tuple(too_large), profile)


def leave_out(file: IO[bytes], chunks: tuple[Chunk, ...]) -> io.BytesIO:
    """A copy of a PNG file in memory, without some of its chunks."""
    file.seek(0)
    data, kept, done = file.read(), [], 0
    for chunk in chunks:
        kept.append(data[done : chunk.start])
        done = chunk.start + FRAME_BYTES + chunk.length
    return io.BytesIO(b"".join([*kept, data[done:]]))


def _chunks(file: IO[bytes]) -> Iterator[Chunk]:
    file.seek(0)
    if file.read(len(SIGNATURE)) != SIGNATURE:
        return
    start = len(SIGNATURE)
    while len(head := _read_at(file, start, 8)) == 8:
        chunk = Chunk(head[4:], start, int.from_bytes(head[:4], "big"))
        yield chunk
        if chunk.kind == b"IEND":
            return
        start += FRAME_BYTES + chunk.length


def _read_at(file: IO[bytes], start: int, count: int) -> bytes:
    file.seek(start)
    return file.read(count)


def _inflated_size(kind: bytes, data: bytes) -> int:
    """Bytes of a chunk's inflated text or profile, at most one above Pillow's limit."""
    packed = _compressed_part(kind, data)
    if packed is None:
        return len(data)
    try:
        plain = zlib.decompressobj().decompress(packed, PngImagePlugin.MAX_TEXT_CHUNK + 1)
    except zlib.error:
        return 0
    return len(plain)


def _compressed_part(kind: bytes, data: bytes) -> bytes | None:
    """The zlib stream of a chunk, or None if its text is not compressed."""
    keyword, _, rest = data.partition(b"\0")
    if kind == b"tEXt" or not keyword:
        return None
    if kind in (b"zTXt", b"iCCP"):
        return rest[1:]
    if rest[:1] != b"\1":
        return None
    return rest[2:].split(b"\0", 2)[-1]


def _inflate(packed: bytes | None) -> bytes | None:
    """A colour profile, or None if it is damaged or longer than `PROFILE_BYTES`."""
    try:
        inflater = zlib.decompressobj()
        plain = inflater.decompress(packed or b"", PROFILE_BYTES)
    except zlib.error:
        return None
    return plain if inflater.eof else None
