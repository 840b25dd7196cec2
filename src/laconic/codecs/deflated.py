"""Fields in a zlib stream, with a limit that writers and readers share."""

import zlib

from laconic.errors import CorruptFileError, InputError


def deflate(plain: bytes, limit: int, what: str, advice: str) -> bytes:
    """A zlib stream; raises `InputError` where the reader's limit would be exceeded."""
    if len(plain) > limit:
        raise InputError(f"{what} would take {len(plain)} bytes, above {limit}; {advice}")
    return zlib.compress(plain, 9)


def inflate(data: bytes, limit: int, what: str) -> bytes:
    """What a zlib stream holds; raises `CorruptFileError` where it is no stream or too long."""
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(data, limit)
    except zlib.error as error:
        raise CorruptFileError(f"the {what} is damaged: {error}") from error
    if not inflater.eof or inflater.unused_data:
        raise CorruptFileError(f"the {what} is damaged: it does not end where it should")
    return plain
