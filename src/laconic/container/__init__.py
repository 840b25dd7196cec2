"""Bytes <-> named, checksummed sections: the .lac file (docs/format.md)."""

from laconic.container.fields import FieldReader, FieldWriter
from laconic.container.file import Container, Section, pack, unpack
from laconic.container.storage import read_bytes, write_atomically
from laconic.container.words import WORDS

__all__ = [
    "WORDS",
    "Container",
    "FieldReader",
    "FieldWriter",
    "Section",
    "pack",
    "read_bytes",
    "unpack",
    "write_atomically",
]
