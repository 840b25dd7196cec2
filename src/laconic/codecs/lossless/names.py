"""Names of an archive's pictures: relative paths, each stored as its difference from the last.

```
integer 2 d       the name before, the number that its last digits spell raised by d + 1, at least
                  as many digits as before; "" counts as the name before the first
integer 2 p + 1   the first p bytes of the name before, then: integer, so many bytes of UTF-8
```

Of the last digits at most 18 count.
"""

import re
from collections.abc import Sequence
from typing import Final
from unicodedata import category

from laconic.container import FieldReader, FieldWriter
from laconic.errors import CorruptFileError, InputError

MAX_NAME_BYTES: Final = 1 << 12
MAX_NAME_PARTS: Final = 128
"""Folders, and the file in them."""
MAX_TOTAL_BYTES: Final = 1 << 27
"""Of all names of an archive."""
LARGEST_STEP: Final = 1 << 13
_NUMBER: Final = re.compile(r"([0-9]{1,18})([^0-9]*)\Z")
_DRIVE: Final = re.compile(r"[A-Za-z]:")


def find_fault(name: str) -> str:
    """Why a name cannot be a picture's path below whatever folder an archive is unpacked to.

    Returns:
        What is wrong, or "" where the name is fine.
    """
    if any(category(letter) in ("Cc", "Cs") for letter in name):
        return "has control characters, or bytes that are no text"
    if "\\" in name or _DRIVE.match(name) or name.startswith("/"):
        return "is no relative path with / between its parts"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "has an empty part, '.' or '..'"
    if name.count("/") >= MAX_NAME_PARTS:
        return f"has more than {MAX_NAME_PARTS} parts"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"is longer than {MAX_NAME_BYTES} bytes"
    return ""


def check_names(names: Sequence[str]) -> None:
    """Raise `InputError` unless these names can be an archive's."""
    total = 0
    seen: set[str] = set()
    for name in names:
        fault = "is there twice" if name in seen else find_fault(name)
        if fault:
            raise InputError(f"the name {name!r} {fault}; rename the picture")
        seen.add(name)
        total += len(name.encode())
    if total > MAX_TOTAL_BYTES:
        raise InputError(f"all names together take {total} bytes; make several archives")


def write_names(names: Sequence[str], writer: FieldWriter) -> None:
    """Write names that `check_names` has passed."""
    before = ""
    for name in names:
        step = _find_step(before, name)
        if step:
            writer.integer(2 * (step - 1))
        else:
            old, new = before.encode(), name.encode()
            shared = _shared(old, new)
            writer.integer(2 * shared + 1)
            writer.integer(len(new) - shared)
            writer.raw(new[shared:])
        before = name


def read_names(reader: FieldReader, count: int) -> list[str]:
    """Read names back.

    Raises:
        CorruptFileError: one leads outside the folder, appears twice, or is no text.
    """
    names: list[str] = []
    before, total = "", 0
    for _ in range(count):
        before = _read_name(reader, before)
        fault = find_fault(before)
        total += len(before)
        if fault or total > MAX_TOTAL_BYTES:
            raise CorruptFileError(f"the name {before[:99]!r} {fault or 'is one too many'}")
        names.append(before)
    if len(set(names)) < count:
        raise CorruptFileError("two pictures of the archive have the same name")
    return names


def _read_name(reader: FieldReader, before: str) -> str:
    code = reader.integer(2 * LARGEST_STEP, "how a name goes on")
    if code % 2 == 0:
        return _step(before, code // 2 + 1)
    start = before.encode()
    if code // 2 > len(start):
        raise CorruptFileError("a name goes on from one that is too short")
    added = reader.raw(reader.integer(MAX_NAME_BYTES, "the length of a name"))
    try:
        return (start[: code // 2] + added).decode()
    except UnicodeDecodeError:
        raise CorruptFileError("a name is not UTF-8") from None


def _step(name: str, step: int) -> str:
    """The name with its number raised."""
    found = _NUMBER.search(name)
    if not found:
        raise CorruptFileError(f"the name after {name!r} counts on, but there is no number")
    digits = found[1]
    return f"{name[: found.start()]}{str(int(digits) + step).zfill(len(digits))}{found[2]}"


def _find_step(before: str, name: str) -> int:
    """By how much the number was raised, 0 where that does not give the name."""
    old, new = _NUMBER.search(before), _NUMBER.search(name)
    if not old or not new:
        return 0
    step = int(new[1]) - int(old[1])
    return step if 1 <= step <= LARGEST_STEP and _step(before, step) == name else 0


def _shared(first: bytes, second: bytes) -> int:
    """Bytes at the beginning of both."""
    length = min(len(first), len(second))
    return next((k for k in range(length) if first[k] != second[k]), length)
