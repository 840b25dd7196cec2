"""The three kinds of field of a .lac header: unsigned integers, byte strings and words.

```
integer  LEB128: seven bits a byte, lowest first, the top bit set on all bytes but the last
bytes    integer length, then the bytes
word     integer k; k > 0: WORDS[k - 1]; k = 0: bytes follow, UTF-8
```

Each value has exactly one form: a longer one than needed is refused. Two forms of integers are used
by several headers: a signed integer n is stored as 2n, or as -2n - 1 where it is negative (zigzag);
flags are stored as the sum of 2^k over all k whose flag is set.
"""

from collections.abc import Sequence

from laconic.container.storage import StoredFile
from laconic.container.words import INDEX, WORDS
from laconic.errors import CorruptFileError, InputError, UnsupportedFileError

MAX_INTEGER_BYTES = 10
MAX_INTEGER = 2**64 - 1
MAX_WORD_BYTES = 128


class FieldWriter:
    """Collects fields into bytes."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def integer(self, value: int) -> None:
        """Write an unsigned integer below 2^64; raises `InputError` where it is none."""
        if not 0 <= value <= MAX_INTEGER:
            raise InputError(f"{value} cannot be stored: integers go from 0 to 2^64 - 1")
        while value >= 0x80:
            self._bytes.append(value & 0x7F | 0x80)
            value >>= 7
        self._bytes.append(value)

    def signed(self, value: int) -> None:
        """Write an integer of either sign, below 2^63 in size."""
        self.integer(2 * value if value >= 0 else -2 * value - 1)

    def flags(self, *flags: bool) -> None:
        """Write flags, the first in the lowest bit."""
        self.integer(join_flags(flags))

    def raw(self, value: bytes) -> None:
        """Write bytes whose number the reader knows."""
        self._bytes += value

    def word(self, value: str) -> None:
        """Write a word: one or two bytes when it is in `WORDS`, its letters otherwise.

        Raises:
            InputError: it is too long, or has surrogates, which UTF-8 lacks.
        """
        index = INDEX.get(value, 0)
        self.integer(index)
        if not index:
            try:
                text = value.encode()
            except UnicodeEncodeError as error:
                raise InputError(f"the name {value!r} is no text: {error.reason}") from error
            if len(text) > MAX_WORD_BYTES:
                raise InputError(
                    f"the name {value!r} is longer than {MAX_WORD_BYTES} bytes; shorten it"
                )
            self.integer(len(text))
            self.raw(text)

    def finish(self) -> bytes:
        """Everything written so far."""
        return bytes(self._bytes)


class FieldReader:
    """Reads fields, never past the end of the data.

    Args:
        data: the bytes that hold the fields.
        name: what they are, for messages.
    """

    def __init__(self, data: bytes | StoredFile, name: str = "header") -> None:
        self._data = data
        self._name = name
        self.position = 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self.position

    def integer(self, limit: int = MAX_INTEGER, what: str = "an integer") -> int:
        """Read an unsigned integer of at most `limit`; raises `CorruptFileError` beyond it."""
        value = 0
        for count in range(MAX_INTEGER_BYTES):
            byte = self.raw(1)[0]
            value |= (byte & 0x7F) << (7 * count)
            if byte < 0x80:
                if byte == 0 and count > 0:
                    raise CorruptFileError(f"{self._name}: {what} is not in its shortest form")
                if value > limit:
                    raise CorruptFileError(f"{self._name}: {what} is {value}, above {limit}")
                return value
        raise CorruptFileError(f"{self._name}: {what} is longer than {MAX_INTEGER_BYTES} bytes")

    def signed(self, what: str = "an integer") -> int:
        """Read an integer of either sign."""
        value = self.integer(what=what)
        return value >> 1 if value % 2 == 0 else -((value + 1) >> 1)

    def flags(self, count: int) -> tuple[bool, ...]:
        """Read flags; raises `UnsupportedFileError` where one above the first `count` is set."""
        value = self.integer(what="the flags")
        if value >> count:
            raise UnsupportedFileError(f"{self._name} has unknown flags {value}; update laconic")
        return split_flags(value, count)

    def revision(self, *known: int) -> int:
        """Read the revision of a header; raises `UnsupportedFileError` where it is not `known`."""
        revision = self.integer(what="the revision")
        if revision not in known:
            raise UnsupportedFileError(
                f"{self._name} has revision {revision}, this laconic reads up to {max(known)}; "
                "update laconic"
            )
        return revision

    def raw(self, count: int) -> bytes:
        """Read `count` bytes; raises `CorruptFileError` when fewer are left."""
        if count > self.left:
            raise CorruptFileError(
                f"{self._name} ends after {len(self._data)} bytes, {count - self.left} too early"
            )
        start = self.position
        self.position += count
        return bytes(self._data[start : self.position])

    def word(self, what: str = "a name") -> str:
        """Read a word."""
        index = self.integer(what=what)
        if index > len(WORDS):
            raise UnsupportedFileError(
                f"{self._name}: {what} is word {index}, which this version does not know; "
                "a newer laconic may read this file"
            )
        if index:
            return WORDS[index - 1]
        text = self.raw(self.integer(MAX_WORD_BYTES, f"the length of {what}"))
        try:
            word = text.decode()
        except UnicodeDecodeError:
            raise CorruptFileError(f"{self._name}: {what} is not UTF-8") from None
        if word in INDEX:
            raise CorruptFileError(f"{self._name}: {what} is not in its shortest form")
        return word

    def finish(self) -> None:
        """Raise `CorruptFileError` unless everything has been read."""
        if self.left:
            raise CorruptFileError(f"{self._name}: {self.left} bytes too many")


def join_flags(flags: Sequence[bool]) -> int:
    """Flags as one integer, the first in the lowest bit.

    >>> join_flags([True, False, True])
    5
    """
    return sum(1 << k for k, flag in enumerate(flags) if flag)


def split_flags(value: int, count: int) -> tuple[bool, ...]:
    """The lowest `count` bits of an integer as flags.

    >>> split_flags(5, 4)
    (True, False, True, False)
    """
    return tuple(bool(value >> k & 1) for k in range(count))
