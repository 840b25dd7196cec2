"""The .lac file: a magic number, a checked header, checked sections, nothing else.

```
magic  4 bytes   89 4C 41 43
version 1 byte   1
length  integer  bytes of the header
header  fields   codec (word) | codec's own header (bytes) | count | count x (name, length, CRC-32)
check   4 bytes  CRC-32, little endian, of everything before it
section bytes    in the table's order, back to back, up to the end of the file
```
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from laconic.container.fields import FieldReader, FieldWriter
from laconic.container.storage import StoredFile
from laconic.errors import CorruptFileError, InputError, UnsupportedFileError

MAGIC: Final = b"\x89LAC"
VERSION: Final = 1
MAX_HEADER_BYTES: Final = 1 << 25
MAX_SECTIONS: Final = 1 << 21
MAX_SECTION_BYTES: Final = 1 << 60
CRC_BYTES: Final = 4


@dataclass(frozen=True)
class StoredBytes:
    """Bytes of a section that stay in the file until they are needed.

    Attributes:
        file: the whole file.
        name: of the section, for messages.
        start: place of the first byte.
        size: how many bytes.
        check: their checksum.
    """

    file: bytes | StoredFile
    name: str
    start: int
    size: int
    check: bytes

    def __len__(self) -> int:
        return self.size

    def load(self) -> bytes:
        """The bytes, compared with their checksum.

        Raises:
            CorruptFileError: it does not match.
        """
        data = bytes(self.file[self.start : self.start + self.size])
        if _crc(data) != self.check:
            raise CorruptFileError(f"section {self.name!r} is damaged: its checksum does not match")
        return data


@dataclass(frozen=True)
class Section:
    """A named run of bytes; several may have the same name, their order counts.

    Attributes:
        name: what the codec calls it.
        source: its bytes, or where they are.
        whole: False where a truncated file ends within or before it, and its checksum is not
            checked; or where it is damaged, and no data are given.
    """

    name: str
    source: bytes | StoredBytes
    whole: bool = True

    @property
    def data(self) -> bytes:
        """Its bytes.

        Raises:
            CorruptFileError: they are still in the file, and damaged.
        """
        return self.source if isinstance(self.source, bytes) else self.source.load()

    def check(self) -> None:
        """Raise `CorruptFileError` where its bytes are still in the file, and damaged."""
        if isinstance(self.source, StoredBytes):
            self.source.load()

    @property
    def size(self) -> int:
        """Number of its bytes."""
        return len(self.source)


@dataclass(frozen=True)
class LacFile:
    """A .lac file, unpacked and checked.

    Attributes:
        codec: permanent name of the codec that reads `header` and `sections`.
        header: the codec's own header.
        sections: in the order of the file.
        overhead_bytes: bytes of the file that belong to neither header nor sections.
        missing_bytes: that a truncated file lacks.
    """

    codec: str
    header: bytes
    sections: tuple[Section, ...]
    overhead_bytes: int
    missing_bytes: int = 0

    def named(self, name: str) -> list[bytes]:
        """The data of all sections called `name`."""
        return [section.data for section in self.sections if section.name == name]

    def only(self, name: str) -> bytes:
        """The data of the one section called `name`.

        Raises:
            CorruptFileError: there is none, or there are several.
        """
        found = self.named(name)
        if len(found) != 1:
            raise CorruptFileError(f"the file has {len(found)} sections {name!r}, not one")
        return found[0]

    def optional(self, name: str, expected: bool) -> bytes:
        """The data of the section called `name`; empty where none is expected.

        Raises:
            CorruptFileError: it is missing although it is expected, or the reverse.
        """
        if expected:
            return self.only(name)
        if self.named(name):
            raise CorruptFileError(f"the file has a section {name!r} that nothing refers to")
        return b""

    @property
    def size_bytes(self) -> int:
        """Bytes of the file, or of what is left of a truncated one."""
        payload = sum(section.size for section in self.sections)
        return self.overhead_bytes + len(self.header) + payload

    def is_whole(self, name: str) -> bool:
        """Whether all sections called `name` are there and undamaged."""
        return all(section.whole for section in self.sections if section.name == name)

    def section_bits(self) -> dict[str, int]:
        """Bits by name of section; "header" is everything that no section holds."""
        bits = {"header": 8 * (self.overhead_bytes + len(self.header))}
        for section in self.sections:
            bits[section.name] = bits.get(section.name, 0) + 8 * section.size
        return bits

    def check_whole(self) -> None:
        """Raise `CorruptFileError` where the file is truncated."""
        if self.missing_bytes:
            found = sum(section.size for section in self.sections)
            raise _wrong_length(found + self.missing_bytes, found)


def pack(codec: str, header: bytes, sections: Sequence[Section]) -> bytes:
    """Write a .lac file; the same arguments give the same bytes.

    Raises:
        InputError: there is more than a reader accepts.
    """
    if len(sections) > MAX_SECTIONS:
        raise InputError(f"{len(sections)} sections are too many: a file holds {MAX_SECTIONS}")
    fields = FieldWriter()
    fields.word(codec)
    fields.integer(len(header))
    fields.raw(header)
    fields.integer(len(sections))
    for section in sections:
        fields.word(section.name)
        fields.integer(section.size)
        fields.raw(_crc(section.data))
    body = fields.finish()
    if len(body) > MAX_HEADER_BYTES:
        raise InputError(
            f"a header of {len(body)} bytes is too long: a file holds {MAX_HEADER_BYTES}; "
            "make several files"
        )
    front = FieldWriter()
    front.raw(MAGIC + bytes([VERSION]))
    front.integer(len(body))
    front.raw(body)
    head = front.finish()
    return b"".join([head, _crc(head), *(section.data for section in sections)])


def unpack(
    data: bytes | StoredFile, partial: bool = False, rescue: bool = False, lazy: bool = False
) -> LacFile:
    """Read a .lac file.

    Args:
        data: the whole file. Of a `StoredFile` no more than a section is in memory.
        partial: accept a truncated file: its whole sections, each checked against its checksum, and
            the one that it ends within, whose checksum cannot be checked.
        rescue: accept a truncated file and damaged sections: every section is there, those that are
            not whole are marked.
        lazy: leave sections unread until they are needed; each is checked then. Not with `partial`
            or `rescue`.

    Raises:
        CorruptFileError: it is no .lac file, or it is damaged, truncated or has bytes left over.
        UnsupportedFileError: it is written in a newer format.
    """
    front = FieldReader(data, "the file's start")
    if data[: len(MAGIC)] != MAGIC:
        raise CorruptFileError(
            "this is not a .lac file: it does not start with the bytes 89 4C 41 43"
        )
    front.raw(len(MAGIC))
    version = front.raw(1)[0]
    if version != VERSION:
        raise UnsupportedFileError(
            f"the file is in format {version}, this laconic reads format {VERSION}; "
            "update laconic, or the file is damaged"
        )
    body = front.raw(front.integer(MAX_HEADER_BYTES, "the header's length"))
    check = _crc(data[: front.position])
    if front.raw(CRC_BYTES) != check:
        raise CorruptFileError("the header is damaged: its checksum does not match")
    fields = FieldReader(body)
    codec = fields.word("the codec's name")
    header = fields.raw(fields.integer(MAX_HEADER_BYTES, "the length of the codec's header"))
    table = _read_table(fields)
    expected, found = sum(length for _, length, _ in table), len(data) - front.position
    if expected < found or (expected > found and not (partial or rescue)):
        raise _wrong_length(expected, found)
    if rescue or found < expected or (isinstance(data, bytes) and not lazy):
        sections = _read_sections(table, data, front.position, rescue)
    else:
        sections = _find_sections(table, data, front.position)
        if not lazy:
            for section in sections:
                section.check()
    payload = len(header) + sum(section.size for section in sections)
    return LacFile(codec, header, sections, len(data) - payload, expected - found)


def _wrong_length(expected: int, found: int) -> CorruptFileError:
    """What to raise where the sections do not have the bytes that the header says."""
    kind = "truncated" if found < expected else "followed by other bytes"
    return CorruptFileError(
        f"the file is {kind}: its sections take {expected} bytes and {found} are there"
    )


def _read_table(fields: FieldReader) -> list[tuple[str, int, bytes]]:
    """Name, length and checksum of every section."""
    count = fields.integer(MAX_SECTIONS, "the number of sections")
    table = []
    for _ in range(count):
        name = fields.word("a section's name")
        length = fields.integer(MAX_SECTION_BYTES, f"the length of section {name!r}")
        table.append((name, length, fields.raw(CRC_BYTES)))
    fields.finish()
    return table


def _find_sections(
    table: Sequence[tuple[str, int, bytes]], data: bytes | StoredFile, start: int
) -> tuple[Section, ...]:
    """Every section, its bytes still in the file."""
    sections = []
    for name, length, check in table:
        sections.append(Section(name, StoredBytes(data, name, start, length, check)))
        start += length
    return tuple(sections)


def _read_sections(
    table: Sequence[tuple[str, int, bytes]], data: bytes | StoredFile, start: int, rescue: bool
) -> tuple[Section, ...]:
    """Check every section against its checksum, up to the one that the file ends within.

    With `rescue` all sections are returned.
    """
    sections = []
    for name, length, check in table:
        part = bytes(data[start : start + length])
        start += length
        if len(part) < length:
            sections.append(Section(name, part, whole=False))
            if not rescue:
                break
        elif _crc(part) == check:
            sections.append(Section(name, part))
        elif rescue:
            sections.append(Section(name, b"", whole=False))
        else:
            raise CorruptFileError(f"section {name!r} is damaged: its checksum does not match")
    return tuple(sections)


def _crc(data: bytes) -> bytes:
    """CRC-32 (the polynomial of zlib and PNG), four bytes, little endian."""
    return zlib.crc32(data).to_bytes(CRC_BYTES, "little")
