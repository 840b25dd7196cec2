"""Messages between the server and its workers: a JSON object and blobs of bytes.

```
 4 bytes, big-endian: length of the JSON object | the object, with the blobs' sizes | the blobs
```
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, BinaryIO, Final, NamedTuple

LENGTH_BYTES: Final = 4
SIZES: Final = "sizes"


class Message(NamedTuple):
    """One message.

    Attributes:
        head: what it says.
        blobs: files that belong to it.
    """

    head: dict[str, Any]
    blobs: tuple[bytes, ...] = ()


def pack(message: Message) -> list[bytes]:
    """The bytes of a message, in pieces."""
    head = json.dumps({**message.head, SIZES: [len(blob) for blob in message.blobs]}).encode()
    return [len(head).to_bytes(LENGTH_BYTES, "big"), head, *message.blobs]


def read(stream: BinaryIO) -> Message | None:
    """The next message of a pipe; None at its end."""
    length = stream.read(LENGTH_BYTES)
    if len(length) < LENGTH_BYTES:
        return None
    head, sizes = _parse(stream.read(int.from_bytes(length, "big")))
    return Message(head, tuple(stream.read(size) for size in sizes))


async def read_async(stream: asyncio.StreamReader) -> Message:
    """The next message of a pipe.

    Raises:
        asyncio.IncompleteReadError: the pipe ends.
    """
    length = await stream.readexactly(LENGTH_BYTES)
    head, sizes = _parse(await stream.readexactly(int.from_bytes(length, "big")))
    return Message(head, tuple([await stream.readexactly(size) for size in sizes]))


def _parse(data: bytes) -> tuple[dict[str, Any], Sequence[int]]:
    head: dict[str, Any] = json.loads(data)
    return head, head.pop(SIZES)
