"""The network codec: the tensors of a safetensors file <-> a .lac file.

Every tensor is one section, coded by itself one after the other: large floats as rate-distortion
optimised integers under shared contexts (`coding.quantised`), everything else, and everything on
request, bit for bit (`coding.planes`). A tensor that occurs twice is coded once.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from laconic.codecs.manifest import (
    CODEC,
    LAYOUTS,
    MANIFEST,
    TENSOR,
    Entry,
    Method,
    read_manifest,
    write_manifest,
)
from laconic.coding import planes, quantised
from laconic.coding.stream import QueueDecoder, QueueEncoder
from laconic.container import Container, FieldWriter, Section, pack, unpack
from laconic.errors import (
    CorruptFileError,
    InputError,
    UnreachableTargetError,
    UnsupportedFileError,
)

REVISION: Final = 1
COARSEST: Final = 0.98
"""Largest tolerance that a search for a size tries."""

SMALLEST: Final = 256
"""Tensors of fewer numbers are kept bit for bit: they are cheap, and often matter much."""

TORCH: Final[Mapping[str, torch.dtype]] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
NAMES: Final[Mapping[torch.dtype, str]] = {
    **{dtype: name for name, dtype in TORCH.items()},
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
"""Types as safetensors files name them."""

_TYPES: Final = {name: dtype for dtype, name in NAMES.items()}
_WORDS: Final = {8: torch.uint8, 16: torch.int16, 32: torch.int32, 64: torch.int64}

NUMBERS_PER_BYTE: Final = 1 << 15
"""More than any tensor holds in a byte of its section: counts never reach certainty."""

BLOCK: Final = 1 << 21
"""Numbers that are quantised and coded together."""

Blocks = NDArray[np.int32]
Progress = Callable[[int, int], None]
Fetch = Callable[[], Tensor]
Source = Mapping[str, tuple[str, Fetch]]
"""Tensors by name: the name of the type in safetensors files, and how to get the tensor."""


def named(tensors: Mapping[str, Tensor]) -> Source:
    """Tensors in memory as a source, widest types first.

    Raises:
        InputError: a value is no tensor, or of a type that is not kept.
    """
    source: dict[str, tuple[str, Fetch]] = {}
    for name, tensor in tensors.items():
        kind = NAMES.get(tensor.dtype) if isinstance(tensor, Tensor) else None
        if kind is None:
            raise InputError(f"{name!r} is no tensor of numbers: leave it out")
        source[name] = kind, partial(_same, tensor)
    order = sorted(source, key=lambda name: (-LAYOUTS[source[name][0]].width, name))
    return {name: source[name] for name in order}


def _check_tolerances(tolerances: Mapping[str, float], names: Sequence[str]) -> None:
    for pattern, value in tolerances.items():
        if not (math.isfinite(value) and 0 <= value < 1):
            raise InputError(f"the tolerance is {value}, give a number from 0 to below 1")
        if pattern != "*" and not any(fnmatchcase(name, pattern) for name in names):
            raise InputError(f"no tensor is called {pattern!r}, for which a tolerance is given")


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _silent(done: int, total: int) -> None:
    pass


def shrink(
    source: Source,
    metadata: Mapping[str, str],
    tolerance: float | Mapping[str, float],
    progress: Progress = _silent,
) -> bytes:
    """Write a .lac file.

    Args:
        source: the tensors; each is fetched when its turn comes, and let go.
        metadata: free text by name, kept.
        tolerance: largest relative error ||w - w'|| / ||w|| of any large tensor of floats with
            two or more axes; 0: every bit is kept. Or such numbers by pattern of names, as a shell
            has them ("*" for the rest); the last one that fits counts, none: every bit is kept.
        progress: called with tensors done and tensors in all.

    Raises:
        InputError: a tensor to be quantised has NaN or infinite values, or a type is unknown.
    """
    tolerances = tolerance if isinstance(tolerance, Mapping) else {"*": tolerance}
    _check_tolerances(tolerances, list(source))
    entries, sections, contexts = [], [], quantised.Contexts()
    known: dict[tuple[str, tuple[int, ...], bytes], int] = {}
    for index, (name, (dtype, fetch)) in enumerate(source.items()):
        progress(index, len(source))
        if dtype not in LAYOUTS:
            raise InputError(f"tensor {name!r} is of the unknown type {dtype}")
        tensor = fetch().detach().cpu().contiguous()
        entry = Entry(name, dtype, tuple(tensor.shape), Method.LOSSLESS)
        words = _words(tensor)
        key = dtype, entry.shape, hashlib.sha256(words.data).digest()
        if key in known:
            entries.append(replace(entry, method=Method.SAME, same_as=known[key]))
            continue
        known[key] = len(entries)
        stream = QueueEncoder()
        allowed = [value for pattern, value in tolerances.items() if fnmatchcase(name, pattern)]
        if allowed and allowed[-1] > 0 and _quantisable(entry):
            entry, blocks = _quantise(entry, tensor, allowed[-1])
            for block in blocks:
                quantised.write(stream, block.astype(np.int64), contexts)
        else:
            planes.write(stream, words, LAYOUTS[dtype])
        entries.append(entry)
        sections.append(Section(TENSOR, stream.finish()))
    header = FieldWriter()
    header.integer(REVISION)
    manifest = Section(MANIFEST, write_manifest(entries, metadata))
    return pack(CODEC, header.finish(), [manifest, *sections])


@dataclass(frozen=True)
class NetworkFile:
    """A .lac file of tensors, checked but not yet decoded.

    Attributes:
        entries: what is in it, in order.
        metadata: free text by name.
        sizes: bytes of each entry's own section, 0 for one that is the same as another.
        container: the file.
    """

    entries: tuple[Entry, ...]
    metadata: Mapping[str, str]
    sizes: tuple[int, ...]
    container: Container

    @classmethod
    def open(cls, data: bytes) -> "NetworkFile":
        """Check a file.

        Raises:
            CorruptFileError: it is damaged.
            UnsupportedFileError: it holds no network, or is newer than this laconic.
        """
        container = unpack(data)
        if container.codec != CODEC:
            raise UnsupportedFileError(
                f"the file holds no network, its codec is {container.codec!r}"
            )
        if container.header != bytes([REVISION]):
            raise UnsupportedFileError("the network is in a newer form; update laconic")
        manifests, streams = container.named(MANIFEST), container.named(TENSOR)
        if len(manifests) != 1:
            raise CorruptFileError("the file has no list of its tensors")
        entries, metadata = read_manifest(manifests[0])
        own = [entry.method != Method.SAME for entry in entries]
        if sum(own) != len(streams):
            raise CorruptFileError(
                f"the file has {len(streams)} tensors, its list has {sum(own)} of their own"
            )
        lengths = iter(streams)
        sizes = tuple(len(next(lengths)) if there else 0 for there in own)
        return cls(entries, metadata, sizes, container)

    def tensors(self) -> Iterator[tuple[Entry, Tensor]]:
        """Decode tensor by tensor, in order; one that is the same as an earlier one is repeated.

        Raises:
            CorruptFileError: a tensor is damaged.
        """
        wanted = {entry.same_as for entry in self.entries if entry.method == Method.SAME}
        kept: dict[int, Tensor] = {}
        streams = iter(self.container.named(TENSOR))
        contexts = quantised.Contexts()
        for index, entry in enumerate(self.entries):
            if entry.method == Method.SAME:
                tensor = kept[entry.same_as].clone()
            else:
                try:
                    tensor = _decode(entry, next(streams), contexts)
                except MemoryError as error:
                    raise CorruptFileError(
                        f"tensor {entry.name!r} of {entry.count} numbers does not fit in memory"
                    ) from error
            if index in wanted:
                kept[index] = tensor
            yield entry, tensor

    @property
    def numbers(self) -> int:
        """Numbers in all tensors."""
        return sum(entry.count for entry in self.entries)


def _decode(entry: Entry, data: bytes, contexts: quantised.Contexts) -> Tensor:
    if entry.count > NUMBERS_PER_BYTE * (len(data) + 2):
        raise CorruptFileError(
            f"tensor {entry.name!r} has {entry.count} numbers in {len(data)} bytes: "
            "no such file is ever written"
        )
    stream = QueueDecoder(data)
    if entry.method == Method.QUANTISED:
        tensor = torch.zeros(entry.matrix, dtype=TORCH[entry.dtype])
        for rows in _blocks(entry):
            shape = len(tensor[rows]), entry.matrix[1]
            tensor[rows] = torch.from_numpy(quantised.read(stream, shape, contexts) * entry.step)
        return tensor.reshape(entry.shape)
    layout = LAYOUTS[entry.dtype]
    words = planes.read(stream, entry.count, layout)
    signed = torch.from_numpy(words.view(np.dtype(f"int{layout.width}")))
    return signed.view(_TYPES[entry.dtype]).reshape(entry.shape)


def _words(tensor: Tensor) -> NDArray[np.unsignedinteger]:
    """The tensor's bits as unsigned integers, flat."""
    width = 8 * tensor.element_size()
    bits = tensor.reshape(-1).view(_WORDS[width]).numpy()
    words: NDArray[np.unsignedinteger] = bits.view(np.dtype(f"uint{width}"))
    return words


def _blocks(entry: Entry) -> list[slice]:
    """Rows that are coded together, so that memory stays small."""
    rows, columns = entry.matrix
    step = max(1, BLOCK // columns)
    return [slice(first, first + step) for first in range(0, rows, step)]


def _quantisable(entry: Entry) -> bool:
    return entry.dtype in TORCH and len(entry.shape) > 1 and entry.count >= SMALLEST


def _quantise(entry: Entry, tensor: Tensor, tolerance: float) -> tuple[Entry, list[Blocks]]:
    """Integers, block by block, whose relative error is at most `tolerance`."""
    matrix = tensor.reshape(entry.matrix)
    broken = int((~torch.isfinite(matrix)).sum())
    if broken:
        raise InputError(
            f"tensor {entry.name!r} has {broken} NaN or infinite values; "
            "mend it, or keep every bit with lossless"
        )
    power = float(torch.linalg.vector_norm(matrix, dtype=torch.float64) ** 2)
    step = float(np.float32(tolerance * math.sqrt(12 * power / entry.count))) or 1.0
    largest = float(matrix.abs().max())
    while largest <= step * quantised.LARGEST / 2:
        blocks, error = [], 0.0
        for rows in _blocks(entry):
            values = matrix[rows].double().numpy()
            q = quantised.quantise(values, step)
            stored = torch.from_numpy(q * step).to(tensor.dtype).double().numpy()
            error += float(((stored - values) ** 2).sum())
            blocks.append(q.astype(np.int32))
        if error <= tolerance**2 * power:
            return replace(entry, method=Method.QUANTISED, step=step), blocks
        step = float(np.float32(step * min(0.98, tolerance * math.sqrt(power / error))))
    raise InputError(
        f"tensor {entry.name!r} cannot be told to within {tolerance:g} in steps of one size; "
        "give a larger tolerance, or keep every bit with lossless"
    )


def summary(file: NetworkFile, size_bytes: int) -> dict[str, Any]:
    """Plain values, as `laconic info --json` prints them."""
    rows = [
        {
            "name": entry.name,
            "dtype": entry.dtype,
            "shape": list(entry.shape),
            "method": entry.method.name.lower(),
            "step": entry.step if entry.method == Method.QUANTISED else None,
            "bytes": size,
        }
        for entry, size in zip(file.entries, file.sizes, strict=True)
    ]
    raw = sum(entry.size_bytes for entry in file.entries)
    sections = {"header": size_bytes - sum(len(one.data) for one in file.container.sections)}
    for one in file.container.sections:
        sections[one.name] = sections.get(one.name, 0) + len(one.data)
    return {
        # What every file's description has; a network has no prior, no model and no sides.
        **dict.fromkeys(("ideal_bits", "theory_bits", "coder", "model", "width", "height")),
        "codec": CODEC,
        "file_bits": 8 * size_bytes,
        "sections": {name: 8 * size for name, size in sections.items()},
        "raw_bits": 8 * raw,
        "numbers": file.numbers,
        "bits_per_number": 8 * size_bytes / max(file.numbers, 1),
        "metadata": dict(file.metadata),
        "tensors": rows,
    }


def shrink_to(
    source: Source,
    metadata: Mapping[str, str],
    bits_per_number: float,
    progress: Progress = _silent,
) -> bytes:
    """The best file found whose size is at most so many bits per number, within 1 %.

    Halving the tolerance costs nearly one bit a number: the search walks along that slope, and
    halves the interval where it leads out of it.

    Raises:
        InputError: the request is no positive number.
        UnreachableTargetError: even the coarsest file is larger.
    """
    if not (math.isfinite(bits_per_number) and bits_per_number > 0):
        raise InputError(f"bits per weight is {bits_per_number}, give a number above 0")
    low, high = 1e-6, COARSEST
    tolerance, best = 0.05, b""
    for _ in range(12):
        data = shrink(source, metadata, tolerance, progress)
        bits = 8 * len(data) / max(NetworkFile.open(data).numbers, 1)
        if bits <= bits_per_number:
            high, best = tolerance, data
            if bits > 0.99 * bits_per_number:
                break
        elif tolerance == COARSEST:
            raise UnreachableTargetError(
                f"{bits_per_number:g} bits per weight cannot be met: {bits:.3g} is the least"
            )
        else:
            low = tolerance
        guess = tolerance * 2.0 ** (bits - 0.995 * bits_per_number)
        if not best and guess >= high:
            tolerance = COARSEST
        else:
            tolerance = guess if low * 1.0001 < guess < high * 0.9999 else math.sqrt(low * high)
        if high / low < 1.001:
            break
    return best
