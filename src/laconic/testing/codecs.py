"""The suite of the codecs of .lac files."""

import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final
from unittest import SkipTest

import numpy as np
import torch
from numpy.typing import NDArray

from laconic.codecs.base import CODECS, Codec, Decoding, FileInfo, find_codec, open_file
from laconic.coding.random import SharedRandomness
from laconic.container import LacFile, Section, pack, unpack
from laconic.errors import LaconicError

Items = dict[str, NDArray[Any]]
"""What a file decodes to: arrays by name."""

KEYS = (
    "file_bits", "ideal_bits", "theory_bits", "codec", "coder", "model", "width", "height",
    "sections",
)  # fmt: skip
"""What the description of every file has."""


@final
@dataclass(frozen=True)
class CodecCase:
    """A file of a codec, and what it should decode to.

    Attributes:
        write: writes the file; every call must give the same bytes.
        items: what was written, by name; a single picture's name is "".
        tolerance: largest mean absolute difference between what was written and what is decoded,
            in units of the samples; 0: nothing may differ.
    """

    write: Callable[[], bytes]
    items: Mapping[str, Any]
    tolerance: float = 0.0


class CodecSuite(ABC):
    """What every codec of .lac files does.

    Subclass it in a test: name the codec, and give it files to write.
    """

    codec: type[Codec]
    """The codec under test."""

    dtypes: ClassVar[tuple[str, ...]] = ("float32", "bfloat16", "float64")
    """Precisions of networks that a file is decoded in."""

    drift: ClassVar[float] = 0.0
    """Largest mean absolute difference between items decoded by different numbers of threads or in
    different precisions, in units of the samples. 0: nothing may differ."""

    trials: ClassVar[int] = 60
    """Damaged files that are tried, for each file and each kind of damage."""

    @abstractmethod
    def cases(self) -> Mapping[str, CodecCase]:
        """Files by name, of every kind of content that the codec has."""

    def decoding(self) -> Decoding:
        """How the files are decoded; a codec with models says how to load them."""
        return Decoding()

    def test_round_trip(self) -> None:
        """A decoded file is what was written, with the same names in the same order."""
        for name, case in self.cases().items():
            back = self._decode(case.write())
            assert list(back) == list(case.items), name
            for key, item in case.items.items():
                assert _distance(back[key], to_array(item)) <= case.tolerance, (name, key)

    def test_the_table_finds_the_codec(self) -> None:
        """`CODECS` has the codec under its name, and opens its files with it."""
        if self.codec.id not in CODECS:
            raise SkipTest(f"{self.codec.__name__} is not in CODECS")
        assert find_codec(self.codec.id) is self.codec
        for name, case in self.cases().items():
            assert type(open_file(case.write())) is self.codec, name

    def test_description(self) -> None:
        """A description needs no model, fits JSON, and accounts for every bit of the file."""
        for name, case in self.cases().items():
            data = case.write()
            file = self.codec.read(data)
            info, values = file.describe(), file.describe().to_dict()
            assert isinstance(info, FileInfo)
            assert info.codec == self.codec.id
            assert info.file_bits == 8 * len(data) == sum(info.sections.values()), name
            assert set(KEYS) <= values.keys(), name
            assert json.loads(json.dumps(values, allow_nan=False))
            file.expect(file.content)

    def test_same_bytes_and_items_for_any_thread_count(self) -> None:
        """One thread and three write the same file; what they decode differs by `drift` at most."""
        for name, case in self.cases().items():
            files, found = [], []
            for threads in (1, 3):
                with _torch_threads(threads):
                    files.append(case.write())
                    found.append(self._decode(files[0], threads=threads))
            assert files[0] == files[1], name
            self._check_drift(found[0], found[1], f"{name}, three threads")

    def test_items_in_every_precision(self) -> None:
        """Another precision changes values by `drift` at most, and never what is read next."""
        for name, case in self.cases().items():
            data = case.write()
            exact = self._decode(data)
            for dtype in self.dtypes:
                self._check_drift(exact, self._decode(data, dtype=dtype), f"{name}, {dtype}")

    def test_truncated_files_are_reported(self) -> None:
        """A file that is cut anywhere, or is followed by a byte, raises a `LaconicError`."""
        for name, case in self.cases().items():
            data = case.write()
            cuts = {0, 1, 4, len(data) - 1, *(self._places(len(data), 0) % len(data)).tolist()}
            for damaged in [*(data[:cut] for cut in cuts), data + b"\0"]:
                assert self._error_of(damaged), (name, len(damaged))

    def test_a_truncated_file_gives_its_first_items(self) -> None:
        """The items before the cut are right; then an error is raised."""
        if not self.codec.truncatable:
            raise SkipTest(f"files of {self.codec.__name__} are decoded whole or not at all")
        for case in self.cases().values():
            data = case.write()
            whole = self._decode(data)
            for cut in (self._places(len(data), 1) % len(data)).tolist():
                found: Items = {}
                assert self._error_of(data[:cut], found, partial=True)
                assert list(found) == list(whole)[: len(found)]
                assert all(_distance(item, whole[name]) == 0 for name, item in found.items())

    def test_a_damaged_file_is_shown_in_part(self) -> None:
        """Cut or altered anywhere, it has its items in their own shape, or raises `LaconicError`.

        Undamaged it is decoded as ever.
        """
        if not self.codec.rescuable:
            raise SkipTest(f"files of {self.codec.__name__} are not shown in part")
        for name, case in self.cases().items():
            data, places = case.write(), self._places(1 << 31, 6)
            whole = self._rescue(data)
            self._check_drift(self._decode(data), whole, name)
            for place in places.tolist():
                altered = bytearray(data)
                altered[place // 8 % len(data)] ^= 1 << place % 8
                for damaged in (data[: place % len(data)], bytes(altered)):
                    try:
                        found = self._rescue(damaged)
                    except LaconicError:
                        continue
                    shapes = [
                        {key: item.shape for key, item in one.items()} for one in (found, whole)
                    ]
                    assert shapes[0] == shapes[1], name

    def test_altered_files_are_reported(self) -> None:
        """A changed bit anywhere, checksums included, raises a `LaconicError`."""
        for name, case in self.cases().items():
            data = case.write()
            for number in self._places(8 * len(data), 2).tolist():
                damaged = bytearray(data)
                damaged[number // 8] ^= 1 << number % 8
                assert self._error_of(bytes(damaged)), (name, number)

    def test_damage_behind_right_checksums_raises_no_other_error(self) -> None:
        """Headers and sections changed by somebody who writes the checksums anew.

        They raise a `LaconicError`, or decode to something.
        """
        for case in self.cases().values():
            file = unpack(case.write())
            for trial, number in enumerate(self._places(1 << 31, 3).tolist()):
                self._error_of(_spoil(file, trial, number))

    def test_foreign_headers_are_reported(self) -> None:
        """No header, a header of noise, and no sections raise a `LaconicError`."""
        noise = self._places(256, 4).astype(np.uint8).tobytes()
        for case in self.cases().values():
            file = unpack(case.write())
            for header in (b"", noise, b"\xff\xff\x7f", file.header + b"\0"):
                assert self._error_of(pack(file.codec, header, file.sections))
            assert self._error_of(pack(file.codec, file.header, []))

    def test_another_codec_is_named(self) -> None:
        """A file of an unknown codec, or of another one, says so."""
        data = pack("unknown-codec", b"", [])
        for read in (open_file, self.codec.read):
            said = ""
            try:
                read(data)
            except LaconicError as error:
                said = str(error)
            assert "unknown-codec" in said

    def _decode(self, data: bytes, **options: Any) -> Items:
        """Every item by name, as an array."""
        how = replace(self.decoding(), **options)
        return {name: to_array(item) for name, item in self.codec.read(data).decode(how)}

    def _rescue(self, data: bytes) -> Items:
        """What is left of a damaged file."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = self.codec.read(data, rescue=True)
            return {name: to_array(item) for name, item in file.decode(self.decoding())}

    def _error_of(self, data: bytes, found: Items | None = None, partial: bool = False) -> str:
        """The error that reading a file ends with, or ""; items before it are put into `found`."""
        try:
            for name, item in self.codec.read(data, partial).decode(self.decoding()):
                if found is not None:
                    found[name] = to_array(item)
        except LaconicError as error:
            return str(error)
        return ""

    def _check_drift(self, one: Items, other: Items, name: str) -> None:
        assert list(one) == list(other), name
        for key, item in one.items():
            assert _distance(item, other[key]) <= self.drift, (name, key)

    def _places(self, limit: int, stream: int) -> NDArray[np.int64]:
        """Numbers below a limit, the same in every run."""
        bits = SharedRandomness(5).child(stream).bits(0, self.trials)
        return bits.astype(np.int64) % limit


def to_array(item: Any) -> NDArray[Any]:
    """A picture, a tensor or an array as an array."""
    if isinstance(item, torch.Tensor):
        return np.asarray(item.detach().to(torch.float64) if item.is_floating_point() else item)
    return np.asarray(item)


def _shapes(items: Items) -> dict[str, tuple[int, ...]]:
    return {name: item.shape for name, item in items.items()}


def _distance(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Mean absolute difference; infinite where the shapes differ."""
    if one.shape != other.shape:
        return float("inf")
    return float(np.abs(one.astype(np.float64) - other).mean()) if one.size else 0.0


def _spoil(file: LacFile, trial: int, number: int) -> bytes:
    """A file with one byte changed: of its header or of a section, by turns."""
    parts = [bytearray(file.header), *(bytearray(section.data) for section in file.sections)]
    part = parts[trial % len(parts)]
    if part:
        part[number % len(part)] ^= 1 + number // len(part) % 255
    names = [section.name for section in file.sections]
    sections = [Section(name, bytes(data)) for name, data in zip(names, parts[1:], strict=True)]
    return pack(file.codec, bytes(parts[0]), sections)


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """Torch with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
