"""Errors, fields, and the container (docs/format.md, "Fields", "The file")."""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

Array = Any
"""A numpy array; shapes and types are those of the words of docs/format.md."""
MASK64 = (1 << 64) - 1
MAX_PIXELS = 1 << 28
ELSEWHERE = "only the package laconic-codec decodes it"


class LacError(Exception):
    """The file cannot be decoded; the message says why."""


def need(condition: object, message: str) -> None:
    """Raise `LacError` with the message unless the condition holds."""
    if not condition:
        raise LacError(message)


WORDS = (
    "", "image", "lossless", "network", "latents", "alpha", "icc", "default", "tiny", "sliced",
    "vae", "pln", "rejection", "importance", "greedy", "indices", "group sizes", "outliers",
    "side information", "budget", "group_limit", "index_bits", "pyramid", "trellis",
    "state_bits", "rate_percent", "outlier_bits", "map_permille", "rate map", "shard_bits",
    "block", "shard counts", "manifest", "tensor", "drawn", "pixels", "metadata", "photo2",
    "map", "mrc", "blocks",
)  # fmt: skip


class Fields:
    """Reads the three kinds of field."""

    def __init__(self, data: bytes, place: int = 0) -> None:
        self.data, self.place = data, place

    def take(self, count: int) -> bytes:
        """So many bytes."""
        need(count <= len(self.data) - self.place, "the file is cut short or damaged")
        self.place += count
        return self.data[self.place - count : self.place]

    def rest(self) -> bytes:
        """All bytes that are left."""
        return self.take(len(self.data) - self.place)

    def integer(self, most: int = MASK64, least: int = 0) -> int:
        """An integer of `least` to `most`."""
        value = 0
        for k in range(10):
            byte = self.take(1)[0]
            value |= (byte & 127) << 7 * k
            if byte < 128:
                need(byte or k == 0, "an integer is not in its shortest form")
                need(least <= value <= most, f"a count of {value} is out of range")
                return value
        raise LacError("an integer is too long")

    def integers(self, count: int, most: int = MASK64) -> list[int]:
        """Several integers."""
        return [self.integer(most) for _ in range(count)]

    def signed(self) -> int:
        """An integer in zigzag: 0, -1, 1, -2, ..."""
        return unzigzag(self.integer())

    def text(self, most: int) -> str:
        """A length, then UTF-8."""
        try:
            return self.take(self.integer(most)).decode()
        except UnicodeDecodeError as error:
            raise LacError("a text is not UTF-8") from error

    def word(self) -> str:
        """A word of the table, or one that is written out."""
        number = self.integer()
        if number:
            need(number < len(WORDS), "a word of a newer format: use a newer decoder")
            return WORDS[number]
        text = self.text(128)
        need(text not in WORDS[1:], "a word of the table is written out")
        return text


def unzigzag(code: int) -> int:
    """0, 1, 2, 3, 4 -> 0, -1, 1, -2, 2."""
    return -(code + 1 >> 1) if code & 1 else code >> 1


def inflate(data: bytes, most: int) -> bytes:
    """A zlib stream of at most `most` bytes."""
    try:
        stream = zlib.decompressobj()
        plain = stream.decompress(data, most)
        need(stream.eof and not stream.unused_data, "a zlib stream is too long or cut short")
    except zlib.error as error:
        raise LacError(f"a zlib stream is damaged: {error}") from error
    return plain


class Lac(NamedTuple):
    """A file: its codec, the codec's own header, and its sections."""

    codec: str
    header: Fields
    sections: list[tuple[str, bytes]]

    def all(self, name: str) -> list[bytes]:
        """The sections of this name, in order."""
        return [data for other, data in self.sections if other == name]

    def one(self, name: str) -> bytes:
        """The only section of this name."""
        found = self.all(name)
        need(len(found) == 1, f"the file has {len(found)} sections {name!r}, not 1")
        return found[0]


def open_lac(data: bytes) -> Lac:
    """Check a file's checksums and take it apart."""
    need(data[:4] == b"\x89LAC", "this is no .lac file")
    need(data[4:5] == b"\x01", "a file of another version of the format: use a newer decoder")
    fields = Fields(data, 5)
    header = Fields(fields.take(fields.integer(1 << 25)))
    check = zlib.crc32(data[: fields.place])
    need(fields.take(4) == check.to_bytes(4, "little"), "the header is damaged (checksum)")
    codec = header.word()
    own = Fields(header.take(header.integer()))
    count = header.integer(1 << 21)
    table = [(header.word(), header.integer(), header.take(4)) for _ in range(count)]
    need(header.place == len(header.data), "the header is longer than its fields")
    total, left = sum(size for _, size, _ in table), len(data) - fields.place
    need(total >= left, f"the file has {left - total} bytes too many")
    need(total <= left, f"the file is cut short: {total - left} bytes are missing")
    sections = []
    for name, size, crc in table:
        part = fields.take(size)
        need(
            zlib.crc32(part).to_bytes(4, "little") == crc, f"section {name!r} is damaged (checksum)"
        )
        sections.append((name, part))
    return Lac(codec, own, sections)
