"""The header of a safetensors file: which tensors it holds, and where their bytes are.

```
8 bytes   length of the header, little endian
header    JSON: name -> {"dtype", "shape", "data_offsets": [begin, end]}; "__metadata__" -> texts
data      the tensors' bytes, without holes; offsets count from here
```

The header is read once for all tensors, so that reading a file takes time linear in their number.

Source: the format's description in the README of huggingface/safetensors.
"""

import io
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import numpy as np
import torch
from torch import Tensor

from laconic.data.weights.foreign import describe
from laconic.errors import InputError
from laconic.types import NUMBER_BITS, TORCH_DTYPES, view_as

MAX_HEADER_BYTES: Final = 100_000_000
"""The format's limit for the length of the header."""

NOTES: Final = "__metadata__"
"""The key of the header that holds free text, not a tensor."""


@dataclass(frozen=True)
class BytesInMemory:
    """The bytes of a file in memory; it opens and has a name in messages like a path.

    Attributes:
        data: all bytes of the file.
    """

    data: bytes

    def open(self, mode: Literal["rb"]) -> io.BytesIO:
        """An open file of these bytes."""
        return io.BytesIO(self.data)

    def __str__(self) -> str:
        return "the bytes given"


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a safetensors file that is not read yet.

    Attributes:
        path: the path of the file, or its bytes.
        name: the name of the tensor.
        dtype: its type, as the file names it.
        shape: its shape, in numbers.
        start: the position of its first byte in the file.
        size_bytes: the number of its bytes.
    """

    path: Path | BytesInMemory
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    size_bytes: int

    def fetch(self) -> Tensor:
        """Read the tensor.

        Raises:
            InputError: the file cannot be read or has become shorter, or torch lacks the type.
        """
        if self.dtype not in TORCH_DTYPES:
            raise InputError(
                f"tensor {self.name!r} of {self.path} is of type {self.dtype}, which torch "
                f"{torch.__version__} lacks; install a newer torch"
            )
        data = np.empty(self.size_bytes, np.uint8)
        try:
            with self.path.open("rb") as file:
                file.seek(self.start)
                found = file.readinto(data.data) if self.size_bytes else 0
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {error.strerror or error}") from error
        if found < self.size_bytes:
            raise InputError(f"{self.path} was cut short while it was read")
        return view_as(torch.from_numpy(data), self.dtype, self.shape)


def read_header(path: Path | BytesInMemory) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """The tensors of a file by name, in the header's order, and its notes.

    Raises:
        InputError: the file cannot be read, or is not a complete safetensors file; the message
            names the kind of file and what to do, if the kind is recognised.
    """
    try:
        with path.open("rb") as file:
            try:
                return _read_header(path, file)
            except (ValueError, RecursionError) as error:
                foreign = describe(file, path if isinstance(path, Path) else Path("FILE"))
                raise InputError(
                    f"{path} {foreign}"
                    if foreign
                    else f"cannot read {path} as a safetensors file: {error}; it is of another "
                    "kind, or damaged: write or download it again"
                ) from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _read_header(
    path: Path | BytesInMemory, file: BinaryIO
) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """As `read_header`; a fault of the content raises `ValueError`."""
    size = file.seek(0, 2)
    file.seek(0)
    if size < 8:
        raise ValueError(f"it has {size} bytes, fewer than the 8 of the header's length")
    (length,) = struct.unpack("<Q", file.read(8))
    if length > MAX_HEADER_BYTES or length > size - 8:
        raise ValueError(f"the length of its header is {length} bytes, more than possible")
    header = json.loads(file.read(length).decode(), object_pairs_hook=_once)
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    notes = _read_notes(header.pop(NOTES, {}))
    tensors = {name: _read_tensor(path, name, header[name], 8 + length) for name in header}
    end = 8 + length
    for tensor in sorted(tensors.values(), key=lambda one: (one.start, one.size_bytes)):
        if tensor.start != end:
            raise ValueError(f"the bytes of tensor {tensor.name!r} do not follow those before")
        end += tensor.size_bytes
    if end != size:
        raise ValueError(f"it has {size} bytes, its header describes {end}")
    return tensors, notes


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without duplicate names."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("its header has a name twice")
    return found


def _read_notes(notes: object) -> dict[str, str]:
    if not isinstance(notes, dict) or not all(isinstance(text, str) for text in notes.values()):
        raise ValueError(f"its {NOTES} is not an object of texts")
    return notes


def _read_tensor(path: Path | BytesInMemory, name: str, fields: object, data: int) -> StoredTensor:
    """One entry of the header; `data`: where the tensors' bytes begin."""
    if not isinstance(fields, Mapping) or set(fields) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the entry of tensor {name!r} does not have the format's fields")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in NUMBER_BITS:
        raise ValueError(f"tensor {name!r} is of the unknown type {dtype}")
    if not (_is_counts(shape) and _is_counts(offsets) and len(offsets) == 2):
        raise ValueError(f"the shape or the place of tensor {name!r} is not a list of counts")
    bits, size = math.prod(shape) * NUMBER_BITS[dtype], offsets[1] - offsets[0]
    if bits != 8 * size or (dtype == "F4" and (not shape or shape[-1] % 2)):
        raise ValueError(f"tensor {name!r}, {dtype} {shape}, does not fit its {size} bytes")
    return StoredTensor(path, name, dtype, tuple(shape), data + offsets[0], size)


def _is_counts(values: object) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in values
    )
