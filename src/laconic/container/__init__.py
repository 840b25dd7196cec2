"""Bytes <-> named, checksummed sections: the .lac file (docs/format.md)."""

from laconic.container.fields import FieldReader, FieldWriter, join_flags, split_flags
from laconic.container.file import LacFile, Section, pack, unpack
from laconic.container.spans import Span
from laconic.container.storage import StoredFile, read_bytes, write_atomically
from laconic.container.words import WORDS

__all__ = [
    "WORDS",
    "FieldReader",
    "FieldWriter",
    "LacFile",
    "Section",
    "Span",
    "StoredFile",
    "join_flags",
    "pack",
    "read_bytes",
    "split_flags",
    "unpack",
    "write_atomically",
]
