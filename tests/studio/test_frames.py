"""Messages between the server and its workers."""

import asyncio
import io

import pytest

from laconic.studio.frames import Message, pack, read, read_async

MESSAGES = [
    Message({"number": 1}),
    Message({"text": "ö\n\0", "list": [1, None]}, (b"", b"abc\0", bytes(100_000))),
    Message({}),
]
DATA = b"".join(piece for message in MESSAGES for piece in pack(message))


def test_both_readers_give_back_what_was_packed() -> None:
    stream = io.BytesIO(DATA)
    assert [read(stream) for _ in range(4)] == [*MESSAGES, None]

    async def read_all() -> list[Message]:
        reader = asyncio.StreamReader(limit=1 << 10)
        reader.feed_data(DATA)
        reader.feed_eof()
        found = [await read_async(reader) for _ in MESSAGES]
        with pytest.raises(asyncio.IncompleteReadError):
            await read_async(reader)
        return found

    assert asyncio.run(read_all()) == MESSAGES
