"""The list of tensors of a network file (docs/format.md, "Networks")."""

import math
import struct
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from laconic.codecs.deflated import inflate
from laconic.coding.tensors.planes import Layout
from laconic.container import FieldReader, FieldWriter
from laconic.errors import CorruptFileError, InputError, UnsupportedFileError
from laconic.types import NUMBER_BITS

MANIFEST: Final = "manifest"
TENSOR: Final = "tensor"
DRAWN: Final = "drawn"

MAX_MANIFEST_BYTES: Final = 1 << 26
MAX_TEXT_BYTES: Final = 1 << 24
MAX_TENSORS: Final = 1 << 20
MAX_NOTES: Final = 1 << 20
MAX_AXES: Final = 64
MAX_NUMBERS: Final = 1 << 34
"""What a reader accepts, and a writer therefore checks before it begins."""

LAYOUTS: Final[Mapping[str, Layout]] = {
    "F32": Layout(32, 9),
    "F16": Layout(16, 6),
    "BF16": Layout(16, 9),
    "F64": Layout(64, 12),
    "I64": Layout(64, 8),
    "I32": Layout(32, 8),
    "I16": Layout(16, 8),
    "I8": Layout(8, 8),
    "U64": Layout(64, 8),
    "U32": Layout(32, 8),
    "U16": Layout(16, 8),
    "U8": Layout(8, 8),
    "BOOL": Layout(8, 8),
    "F8_E4M3": Layout(8, 8),
    "F8_E5M2": Layout(8, 8),
    "F8_E8M0": Layout(8, 8),
    "F8_E4M3FNUZ": Layout(8, 8),
    "F8_E5M2FNUZ": Layout(8, 8),
    "F4": Layout(8, 8),
    "C64": Layout(32, 9),
}
"""How the words of each type of safetensors files are cut into planes; the order is part of the
format. Two numbers of type F4 are one word, and a number of type C64 is two: its real and its
imaginary part."""

FLOATS: Final = ("F32", "F16", "BF16", "F64")
"""Types that can be quantised."""

_DTYPES: Final = tuple(LAYOUTS)


class Method(IntEnum):
    """How a tensor is kept."""

    LOSSLESS = 0
    QUANTISED = 1
    SAME = 2
    CODEBOOK = 3
    DRAWN = 4
    KERNELS = 5
    DEPENDENT = 6
    DEPENDENT_KERNELS = 7


IN_STEPS: Final = (
    Method.QUANTISED, Method.KERNELS, Method.DEPENDENT, Method.DEPENDENT_KERNELS,
)  # fmt: skip
"""Integers times a step."""

PREDICTED: Final = {
    Method.QUANTISED: Method.KERNELS, Method.DEPENDENT: Method.DEPENDENT_KERNELS,
}  # fmt: skip
"""The same with signs of kernels predicted from their neighbours."""

DEPENDENT: Final = (Method.DEPENDENT, Method.DEPENDENT_KERNELS)
"""The value of an integer depends on those before it."""


WIDE: Final = 8
SCALED: Final = 16
"""What is added to a method's number where an entry is wide or scaled."""


@dataclass(frozen=True)
class Entry:
    """One tensor.

    Attributes:
        name: its name.
        dtype: its type, as safetensors files name it.
        shape: its shape.
        method: how it is kept.
        step: of the quantiser, a float32.
        same_as: index of the entry that it repeats.
        prior_scale: s of the prior N(0, s²) that it was drawn under, a float32.
        blocks: draws that it is made of, one after the other.
        wide: its rows are cut into blocks.
        scaled: some of its rows and columns have finer steps.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    method: Method
    step: float = 0.0
    same_as: int = 0
    prior_scale: float = 0.0
    blocks: int = 1
    wide: bool = False
    scaled: bool = False

    @property
    def count(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes of its plain numbers."""
        return self.count * NUMBER_BITS[self.dtype] // 8

    @property
    def words(self) -> int:
        """Words that its plain numbers are, as its type's layout has them."""
        return self.count * NUMBER_BITS[self.dtype] // LAYOUTS[self.dtype].width

    @property
    def matrix(self) -> tuple[int, int]:
        """Its shape as rows (the first axis) and columns."""
        if not self.shape:
            return 1, 1
        return self.shape[0], math.prod(self.shape[1:])

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width of its kernels: the last two axes, or one, behind outputs and inputs."""
        if len(self.shape) < 3:
            return 1, 1
        return (1 if len(self.shape) == 3 else self.shape[-2]), self.shape[-1]


def check_texts(names: Sequence[str], metadata: Mapping[str, str]) -> None:
    """Check names and notes against what a reader accepts, before anything is coded.

    Args:
        names: of all tensors.
        metadata: free text by name.

    Raises:
        InputError: they are too many or too long, no text, or two tensors have one name.
    """
    if len(names) > MAX_TENSORS:
        raise InputError(f"{len(names)} tensors are too many: a file holds {MAX_TENSORS}")
    if len(metadata) > MAX_NOTES:
        raise InputError(f"{len(metadata)} notes are too many: a file holds {MAX_NOTES}")
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise InputError(f"two tensors are called {twice!r}: rename one of them")
    texts = [*names, *(text for note in metadata.items() for text in note)]
    total = sum(len(_encode(text)) for text in texts)
    if total > MAX_MANIFEST_BYTES:
        raise InputError(
            f"names and notes take {total} bytes, a file holds {MAX_MANIFEST_BYTES}; "
            "shorten the notes, or make several files"
        )


def check_entry(entry: Entry) -> None:
    """Check a tensor's type and shape against what a reader accepts.

    Raises:
        InputError: the type is unknown, or the tensor has too many axes or numbers.
    """
    if entry.dtype not in LAYOUTS:
        raise InputError(f"tensor {entry.name!r} is of the unknown type {entry.dtype}")
    if len(entry.shape) > MAX_AXES:
        raise InputError(
            f"tensor {entry.name!r} has {len(entry.shape)} axes, a file holds {MAX_AXES}; "
            "reshape it"
        )
    if max((*entry.shape, entry.count)) > MAX_NUMBERS:
        raise InputError(
            f"tensor {entry.name!r} of shape {entry.shape} is too large: a tensor of a file has "
            f"sides and numbers up to {MAX_NUMBERS}; split it"
        )
    if not _is_whole(entry):
        raise InputError(
            f"tensor {entry.name!r} of type F4 and shape {entry.shape} has an odd number of "
            "numbers along its last axis; two of them take a byte"
        )


def _is_whole(entry: Entry) -> bool:
    """Whether the last axis of a tensor of type F4, if it is one, fills whole bytes."""
    return entry.dtype != "F4" or (bool(entry.shape) and entry.shape[-1] % 2 == 0)


def write_manifest(entries: Sequence[Entry], metadata: Mapping[str, str]) -> bytes:
    """The list as a zlib stream.

    Raises:
        InputError: a reader would not accept it: see `check_texts` and `check_entry`.
    """
    check_texts([entry.name for entry in entries], metadata)
    fields = FieldWriter()
    fields.integer(len(entries))
    for entry in entries:
        check_entry(entry)
        _write_text(fields, entry.name)
        fields.integer(_DTYPES.index(entry.dtype))
        fields.integer(len(entry.shape))
        for side in entry.shape:
            fields.integer(side)
        fields.integer(entry.method + WIDE * entry.wide + SCALED * entry.scaled)
        if entry.method in IN_STEPS:
            fields.raw(struct.pack("<f", entry.step))
        elif entry.method == Method.SAME:
            fields.integer(entry.same_as)
        elif entry.method == Method.DRAWN:
            fields.raw(struct.pack("<f", entry.prior_scale))
            fields.integer(entry.blocks)
    fields.integer(len(metadata))
    for key in sorted(metadata):  # Safetensors files give theirs in another order each time.
        _write_text(fields, key)
        _write_text(fields, metadata[key])
    plain = fields.finish()
    if len(plain) > MAX_MANIFEST_BYTES:
        raise InputError(
            f"the list of {len(entries)} tensors takes {len(plain)} bytes, a file holds "
            f"{MAX_MANIFEST_BYTES}; make several files"
        )
    return zlib.compress(plain, 9)


def read_manifest(data: bytes) -> tuple[tuple[Entry, ...], dict[str, str]]:
    """Read what `write_manifest` wrote; anything absurd raises `CorruptFileError`."""
    plain = inflate(data, MAX_MANIFEST_BYTES, "list of tensors")
    fields = FieldReader(plain, "the list of tensors")
    entries: list[Entry] = []
    for _ in range(fields.integer(MAX_TENSORS, "the number of tensors")):
        entries.append(_read_entry(fields, entries))
    names = {entry.name for entry in entries}
    if len(names) != len(entries):
        raise CorruptFileError("the list of tensors names one twice")
    metadata = {}
    for _ in range(fields.integer(MAX_NOTES, "the number of notes")):
        key = _read_text(fields)
        metadata[key] = _read_text(fields)
    fields.finish()
    return tuple(entries), metadata


def _read_entry(fields: FieldReader, before: Sequence[Entry]) -> Entry:
    entry = _read_kind(fields)
    name, shape = entry.name, entry.shape
    code = fields.integer(what="how a tensor is kept")
    if code >= 2 * SCALED:
        raise UnsupportedFileError(f"tensor {name!r} is kept in a newer way; update laconic")
    method, wide, scaled = Method(code % WIDE), bool(code & WIDE), bool(code & SCALED)
    entry = replace(entry, method=method, wide=wide, scaled=scaled)
    _check_flags(entry)
    if method in IN_STEPS:
        if method in PREDICTED.values() and math.prod(entry.kernel) < 2:
            raise CorruptFileError(f"tensor {name!r} cannot have kernels")
        return replace(entry, step=_read_float(fields, entry, FLOATS))
    if method == Method.SAME:
        index = fields.integer(len(before), "the tensor that another one repeats")
        if index == len(before) or (before[index].dtype, before[index].shape) != (
            entry.dtype,
            shape,
        ):
            raise CorruptFileError(f"tensor {name!r} repeats one that is not like it")
        return Entry(name, entry.dtype, shape, Method.SAME, same_as=index)
    if method == Method.DRAWN:
        return _read_drawn(fields, entry)
    if method == Method.CODEBOOK and not (entry.count and entry.dtype in FLOATS):
        raise CorruptFileError(f"tensor {name!r} cannot have a codebook")
    return entry


def _check_flags(entry: Entry) -> None:
    """Raise `CorruptFileError` where a method is not one of wide or of scaled tensors."""
    wide = entry.method in (*PREDICTED, Method.CODEBOOK)
    if (entry.wide and not wide) or (entry.scaled and entry.method not in IN_STEPS):
        raise CorruptFileError(f"tensor {entry.name!r} is kept in an impossible way")


def _read_kind(fields: FieldReader) -> Entry:
    """A tensor's name, type and shape; its method is not read yet."""
    name = _read_text(fields)
    kind = fields.integer(what="a tensor's type")
    if kind >= len(_DTYPES):
        raise UnsupportedFileError(f"tensor {name!r} is of a newer type; update laconic")
    axes = fields.integer(MAX_AXES, "the number of axes")
    shape = tuple(fields.integer(MAX_NUMBERS, "the length of an axis") for _ in range(axes))
    entry = Entry(name, _DTYPES[kind], shape, Method.LOSSLESS)
    if entry.count > MAX_NUMBERS:
        raise CorruptFileError(f"tensor {name!r} has more than {MAX_NUMBERS} numbers")
    if not _is_whole(entry):
        raise CorruptFileError(f"tensor {name!r} of type F4 does not fill whole bytes")
    return entry


def _read_drawn(fields: FieldReader, entry: Entry) -> Entry:
    scale = _read_float(fields, entry, ("F32",))
    blocks = fields.integer(entry.matrix[0], "the number of blocks")
    if not (entry.shape and blocks):
        raise CorruptFileError(f"tensor {entry.name!r} cannot be drawn in {blocks} blocks")
    return replace(entry, prior_scale=scale, blocks=blocks)


def _read_float(fields: FieldReader, entry: Entry, dtypes: Sequence[str]) -> float:
    """A quantiser's step or a prior's scale."""
    value: float = struct.unpack("<f", fields.raw(4))[0]
    if not (math.isfinite(value) and value > 0 and entry.count and entry.dtype in dtypes):
        raise CorruptFileError(f"tensor {entry.name!r} cannot have steps or a scale of {value}")
    return value


def _encode(text: str) -> bytes:
    """A name or a note as UTF-8.

    Raises:
        InputError: it is too long, or has surrogates, which UTF-8 lacks.
    """
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the name or note {text[:40]!r} is no text: {error.reason}") from error
    if len(data) > MAX_TEXT_BYTES:
        raise InputError(
            f"a name or note of {len(data)} bytes is too long, a file holds {MAX_TEXT_BYTES}: "
            f"{text[:40]!r}..."
        )
    return data


def _write_text(fields: FieldWriter, text: str) -> None:
    data = _encode(text)
    fields.integer(len(data))
    fields.raw(data)


def _read_text(fields: FieldReader) -> str:
    data = fields.raw(fields.integer(MAX_TEXT_BYTES, "the length of a text"))
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise CorruptFileError("the list of tensors: a text is not UTF-8") from None
