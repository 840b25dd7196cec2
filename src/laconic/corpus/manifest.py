"""The manifest of a corpus: one JSON line for each picture, beside the files.

```
DST/manifest/settings.json    what was done, and with which options
DST/manifest/00000.jsonl      records, at most PART_RECORDS in a part
```

A part is written whole under a temporary name and renamed, so that it never ends in half a line,
in a store as on a disk. Of several records of one picture the last counts.
"""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from laconic.container.storage import read_bytes, write_atomically
from laconic.errors import InputError
from laconic.paths import exists, find_below

Record = dict[str, Any]
"""What the manifest says of a picture; "name" is its path in the source, "error" why it failed."""

PART_RECORDS: Final = 10_000
"""Most records of a part: some megabytes."""
SAVED_SECONDS: Final = 1.0
"""Between two writings of the last part; what a killed run did since then is done again."""
SETTINGS: Final = "settings.json"


class Manifest:
    """The records of one folder.

    Args:
        folder: of the manifest.
        saved_seconds: between two writings.

    Attributes:
        records: the last record of each picture, by its name.
    """

    def __init__(self, folder: Path, saved_seconds: float = SAVED_SECONDS) -> None:
        self.folder, self.saved_seconds = folder, saved_seconds
        self.records: dict[str, Record] = {}
        self._part: list[Record] = []
        self._number, self._saved = 0, time.monotonic()

    def open(self, settings: Mapping[str, Any], force: bool = False) -> None:
        """Read what there is, and begin the next part.

        Args:
            settings: what is done, and its options: plain values.
            force: forget the records of other settings.

        Raises:
            InputError: the folder has other settings, or its records cannot be read.
        """
        path, given = self.folder / SETTINGS, json.loads(json.dumps(settings))
        if exists(path):
            found = self._parse(path, read_bytes(path))
            if found != given:
                if not force:
                    raise InputError(
                        f"{self.folder} is of other options ({_difference(found, given)}); give "
                        "the same, or another folder, or --force to do all pictures again"
                    )
                self._remove_parts()
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(given, indent=1).encode() + b"\n")
        for part in self._parts():
            for line in read_bytes(self.folder / part).splitlines():
                record = self._parse(self.folder / part, line)
                self.records[record["name"]] = record
            self._number = int(part.partition(".")[0]) + 1

    def add(self, record: Record) -> None:
        """Add a record, and write it soon."""
        self.records[record["name"]] = record
        self._part.append(record)
        full = len(self._part) >= PART_RECORDS
        if full or time.monotonic() - self._saved >= self.saved_seconds:
            self.save()
        if full:
            self._part, self._number = [], self._number + 1

    def save(self) -> None:
        """Write the last part."""
        if self._part:
            write_atomically(self.folder / _name(self._number), _lines(self._part))
        self._saved = time.monotonic()

    def compact(self) -> None:
        """Write each picture's last record alone, sorted by name, and remove other parts."""
        records = [self.records[name] for name in sorted(self.records)]
        old = self._parts()
        count = math.ceil(len(records) / PART_RECORDS)
        for number in range(count):
            part = records[number * PART_RECORDS : (number + 1) * PART_RECORDS]
            write_atomically(self.folder / _name(number), _lines(part))
        for name in old:
            if name not in {_name(number) for number in range(count)}:
                (self.folder / name).unlink(missing_ok=True)
        self._part, self._number = [], count

    def _parts(self) -> list[str]:
        return [name for name in find_below(self.folder) if name.endswith(".jsonl")]

    def _remove_parts(self) -> None:
        for name in self._parts():
            (self.folder / name).unlink(missing_ok=True)

    def _parse(self, path: Path, text: bytes) -> Record:
        try:
            found = json.loads(text)
            assert isinstance(found, dict)
            assert path.name == SETTINGS or isinstance(found.get("name"), str)
        except (ValueError, AssertionError) as error:
            raise InputError(f"{path}: not a manifest of laconic; move it away") from error
        return found


def _name(number: int) -> str:
    return f"{number:05d}.jsonl"


def _lines(records: list[Record]) -> bytes:
    return "".join(json.dumps(one, allow_nan=False) + "\n" for one in records).encode()


def _difference(found: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """The first setting that differs."""
    for key in sorted({*found, *given}):
        if found.get(key) != given.get(key):
            return f"{key}: {found.get(key)!r} there, {given.get(key)!r} here"
    return "none"
