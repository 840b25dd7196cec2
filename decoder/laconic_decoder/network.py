"""Network files (docs/format.md, "Networks")."""

from __future__ import annotations

import itertools
import json
import math
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .coders import decode_message
from .coding import Adaptive, Range, Shared, unzigzag_all
from .container import Array, Fields, Lac, inflate, need
from .draws import read_coder

TYPES = (
    "F32", "F16", "BF16", "F64", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL",
    "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F4", "C64",
)  # fmt: skip
WIDTHS = (32, 16, 16, 64, 64, 32, 16, 8, 64, 32, 16, 8, 8, 8, 8, 8, 8, 8, 8, 32)
FIRST_PLANES = {"F32": 9, "F16": 6, "BF16": 9, "F64": 12, "C64": 9}
BLOCK = 1 << 21
STATES = ((0, 2), (7, 5), (1, 3), (6, 4), (2, 0), (5, 7), (3, 1), (4, 6))


class Entry(NamedTuple):
    """A tensor of the manifest."""

    name: str
    kind: str
    shape: tuple[int, ...]
    method: int
    flags: int
    scale: float
    source: int

    @property
    def matrix(self) -> tuple[int, int]:
        """Rows and columns."""
        return (self.shape[0], math.prod(self.shape[1:])) if self.shape else (1, 1)

    @property
    def width(self) -> int:
        """Bits of a word."""
        return WIDTHS[TYPES.index(self.kind)]

    @property
    def words(self) -> int:
        """Words of the plain tensor."""
        count = math.prod(self.shape)
        return count // 2 if self.kind == "F4" else count * 2 if self.kind == "C64" else count


def read_entry(fields: Fields) -> Entry:
    """One tensor of the manifest."""
    name, kind = fields.text(1 << 24), fields.integer()
    need(kind < len(TYPES), f"tensor {name!r} is of a newer type: use a newer decoder")
    shape = tuple(fields.integers(fields.integer(64), 1 << 34))
    need(math.prod(shape) <= 1 << 34, f"tensor {name!r} is too large")
    code = fields.integer()
    need(code < 32, f"tensor {name!r} is stored by a newer method: use a newer decoder")
    method, scale, index = code & 7, 0.0, 0
    if method in (1, 4, 5, 6, 7):
        scale = struct.unpack("<f", fields.take(4))[0]
        need(0 < scale < math.inf and TYPES[kind] in ("F32", "F16", "BF16", "F64"), "a bad step")
    if method in (2, 4):
        index = fields.integer()
    return Entry(name, TYPES[kind], shape, method, code & 24, scale, index)


class Contexts:
    """Counts that all quantised tensors of a file share."""

    def __init__(self) -> None:
        self.scales, self.signs = Adaptive(256), [[1, 1] for _ in range(14)]
        self.sizes: dict[int, Adaptive] = {}

    def of(self, context: int) -> Adaptive:
        """Counts of sizes in one context, at first those of a geometric law."""
        if context not in self.sizes:
            halves = context - 16 - 2 * dropped_bits(context)
            mean = (181 if halves % 2 else 128) << halves // 2 + 8 >> 8
            left, counts = 1024, []
            for _ in range(48):
                counts.append(left * 128 // (mean + 128) + 1)
                left -= counts[-1] - 1
            self.sizes[context] = Adaptive(48, 24, 1 << 18, 1 << 12, counts)
        return self.sizes[context]


def dropped_bits(context: int) -> int:
    """Lowest bits that the counts of a context leave out."""
    return max(0, (context - 16) // 2 - 2)


def read_planes(stream: Range, count: int, width: int, first: int) -> Array:
    """Unsigned integers, plane by plane."""
    planes, left = [(width - first, first)], width - first
    while left:
        bits = left % 8 or 8
        left -= bits
        planes.append((left, bits))
    models: dict[int, Adaptive] = {}
    words = np.zeros(count, np.uint64)
    for start in range(0, count, 1 << 20):
        size = min(1 << 20, count - start)
        for shift, bits in planes:
            if stream.bit():
                model = models.setdefault(shift, Adaptive(1 << bits, 16, 1 << 18, 1 << 12))
                symbols = stream.adaptive(size, model)
            else:
                symbols = np.array(stream.uniform([1 << bits] * size), np.int64)
            words[start : start + size] |= symbols.astype(np.uint64) << np.uint64(shift)
    return words.astype(f"u{width // 8}")


def read_halves(stream: Range, count: int, contexts: Contexts) -> Array:
    """Half octaves of rows or columns."""
    if stream.bit():
        return np.full(count, unzigzag_all(stream.adaptive(min(count, 1), contexts.scales)).sum())
    return np.cumsum(unzigzag_all(stream.adaptive(count, contexts.scales)))


def read_matrix(stream: Range, shape: tuple[int, int], contexts: Contexts, signed: bool) -> Array:
    """Quantised integers, or their sizes; `(rows, columns)`."""
    rows, columns = (read_halves(stream, count, contexts) for count in shape)
    places = np.clip(rows[:, None] + columns[None] + 16, 0, 39).astype(np.int8).reshape(-1)
    q = np.zeros(places.size, np.int64)
    for context in np.flatnonzero(np.bincount(places, minlength=40)):
        where, dropped = np.flatnonzero(places == context), dropped_bits(int(context))
        size = stream.adaptive(where.size, contexts.of(int(context)))
        large = np.flatnonzero(size == 47)
        size[large] += stream.integers(large.size)
        if dropped:
            size = size << dropped | np.array(stream.uniform([1 << dropped] * size.size))
        if signed:
            there = np.flatnonzero(size)
            size[there] *= 1 - 2 * np.array(stream.uniform([2] * there.size), np.int64)
        q[where] = size
    return q.reshape(shape)


def read_signs(stream: Range, q: Array, height: int, width: int, contexts: Contexts) -> Array:
    """Give the sizes of kernels their signs."""
    mean = min(16 * int(q.sum()) // max(q.size, 1), 1 << 24)
    count = q.size // max(height * width, 1)
    bits, kernels = (mean * mean).bit_length(), q.reshape(count, height, width).tolist()
    for kernel in kernels:
        for y, row in enumerate(kernel):
            for x, size in enumerate(row):
                if not size:
                    continue
                above, left = kernel[y - 1][x] if y else 0, row[x - 1] if x else 0
                f = 2 * (left + above) - (kernel[y - 1][x - 1] if x and y else 0)
                if not f:
                    row[x] = -size if stream.bit() else size
                    continue
                z = (min(abs(f), 1 << 20) * min(size, 1 << 20) << 14) >> bits
                counts = contexts.signs[min(13, max(0, z.bit_length() - 1))]
                total = sum(counts)
                differs = stream.symbols(1, [0, counts[0] * ((1 << 24) // total), 1 << 24])[0]
                counts[differs] += 2
                if total >= 256:
                    counts[:] = [c + 1 >> 1 for c in counts]
                row[x] = -size if differs != (f < 0) else size
    return np.array(kernels, np.int64).reshape(q.shape)


def read_step_scales(stream: Range, count: int) -> Array:
    """Factors by which the steps of rows or columns are finer."""
    halves = np.zeros(count, np.int64)
    if stream.bit():
        halves = np.cumsum(unzigzag_all(stream.integers(count)))
    need(not count or (halves.min() >= 0 and halves.max() <= 2000), "a finer step is out of range")
    return np.where(halves % 2 == 1, 0.7071067811865476, 1.0) * np.exp2(
        -(halves // 2).astype(float)
    )


def undo_dependence(k: Array, state: int) -> tuple[Array, int]:
    """Indices of dependent quantisation as multiples of the step, and the next state."""
    values = []
    for index in k.reshape(-1).tolist():
        values.append(2 * index - (index > 0) * (state & 1) + (index < 0) * (state & 1))
        state = STATES[state][index & 1]
    return np.array(values, np.int64).reshape(k.shape), state


def round_to(values: Array, kind: str) -> Array:
    """Words of binary64 numbers rounded to a type, by way of binary32 where it is shorter."""
    if kind == "F64":
        return values.view(np.uint64)
    single = values.astype(np.float32)
    if kind == "F32":
        return single.view(np.uint32)
    if kind == "F16":
        return single.astype(np.float16).view(np.uint16)
    words = single.view(np.uint32).astype(np.uint64)
    return (words + 0x7FFF + (words >> 16 & 1) >> 16).astype(np.uint16)


def blocks_of(entry: Entry) -> Iterator[tuple[slice, slice]]:
    """The blocks of a quantised tensor: rows and columns."""
    rows, columns = entry.matrix
    if entry.flags & 8:
        for row in range(rows):
            for k in range(0, columns, BLOCK):
                yield slice(row, row + 1), slice(k, min(k + BLOCK, columns))
        return
    step = max(1, BLOCK // max(1, columns))
    for k in range(0, rows, step):
        yield slice(k, min(k + step, rows)), slice(0, columns)


def read_tensor(entry: Entry, data: bytes, contexts: Contexts) -> bytes:
    """The plain bytes of a tensor that has a section of its own."""
    need(entry.words <= (1 << 15) * (len(data) + 2), f"tensor {entry.name!r} has too few bytes")
    stream, first = Range(data), FIRST_PLANES.get(entry.kind, 8)
    if entry.method == 0:
        plain: bytes = read_planes(stream, entry.words, entry.width, first).tobytes()
        return plain
    words, book, zero, state = np.zeros(entry.matrix, f"u{entry.width // 8}"), None, 0, 0
    if entry.method == 3:
        size, zero = stream.integers(2).tolist()
        need(0 <= zero < size <= 256, "a codebook is damaged")
        book = read_planes(stream, size, entry.width, first)
    scales = [read_step_scales(stream, n) for n in entry.matrix] if entry.flags & 16 else None
    for part in blocks_of(entry):
        shape = (part[0].stop - part[0].start, part[1].stop - part[1].start)
        q = read_matrix(stream, shape, contexts, entry.method not in (5, 7))
        if entry.method in (5, 7):
            high = entry.shape[-2] if len(entry.shape) > 3 else 1
            q = read_signs(stream, q, high, entry.shape[-1], contexts)
        if book is not None:
            need(((q >= -zero) & (q < book.size - zero)).all(), "a number is outside its codebook")
            words[part] = book[q + zero]
            continue
        if entry.method in (6, 7):
            q, state = undo_dependence(q, state)
        values = q * float(entry.scale)
        if scales:
            values = values * scales[0][part[0]][:, None] * scales[1][part[1]]
        words[part] = round_to(values, entry.kind)
    return words.tobytes()


class Network(NamedTuple):
    """A network file: its tensors' entries and plain bytes, and its notes."""

    entries: list[Entry]
    data: list[bytes]
    notes: dict[str, str]

    def arrays(self) -> dict[str, Array]:
        """All tensors as float32."""
        return {
            e.name: to_float32(e.kind, data).reshape(e.shape)
            for e, data in zip(self.entries, self.data, strict=True)
        }

    def safetensors(self) -> bytes:
        """The bytes of a safetensors file."""
        header: dict[str, Any] = {"__metadata__": self.notes} if self.notes else {}
        place = 0
        for entry, data in zip(self.entries, self.data, strict=True):
            offsets = [place, place := place + len(data)]
            header[entry.name] = {
                "dtype": entry.kind,
                "shape": entry.shape,
                "data_offsets": offsets,
            }
        text = json.dumps(header, ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        file: list[bytes] = [len(text).to_bytes(8, "little"), text, *self.data]
        return b"".join(file)


def to_float32(kind: str, data: bytes) -> Array:
    """Floats of a type as float32."""
    if kind == "BF16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    need(kind in ("F32", "F16", "F64"), f"weights of type {kind} are no floats")
    return np.frombuffer(data, f"<f{WIDTHS[TYPES.index(kind)] // 8}").astype(np.float32)


def decode_network(lac: Lac) -> Network:
    """Decode a network file."""
    need(lac.header.integer() == 1, "a network file of a newer revision: use a newer decoder")
    fields = Fields(inflate(lac.one("manifest"), 1 << 26))
    entries = [read_entry(fields) for _ in range(fields.integer(1 << 20))]
    names = [fields.text(1 << 24) for _ in range(2 * fields.integer(1 << 20))]
    own = iter(lac.all("tensor"))
    drawn = read_draws(lac, [e for e in entries if e.method == 4])
    data: list[bytes] = []
    contexts = Contexts()
    for entry in entries:
        if entry.method == 2:
            need(entry.source < len(data), "a tensor repeats a later one")
            data.append(data[entry.source])
        elif entry.method == 4:
            data.append(next(drawn))
        else:
            section = next(own, None)
            need(section is not None, "a tensor has no section")
            data.append(read_tensor(entry, section or b"", contexts))
    return Network(entries, data, dict(zip(names[::2], names[1::2], strict=True)))


def read_draws(lac: Lac, entries: list[Entry]) -> Iterator[bytes]:
    """The drawn tensors of a network file, in order."""
    if not entries:
        return
    data, count = lac.one("drawn"), sum(e.words for e in entries)
    need(count <= min(1 << 31, len(data) << 15), "the drawn tensors have too few bytes")
    fields = Fields(data)
    coder, shared = read_coder(fields), Shared(fields.integer())
    stream, done = Range(fields.rest()), 0
    for entry in entries:
        rows, columns = entry.matrix
        need(1 <= entry.source <= rows, "a drawn tensor has no blocks")
        bounds = [rows * k // entry.source for k in range(entry.source + 1)]
        parts = []
        for n in ((b - a) * columns for a, b in itertools.pairwise(bounds)):
            base, extra = divmod(256 * stream.integer(32 * n), n)
            rates = base + np.diff(np.arange(n + 1, dtype=np.int64) * extra // n)
            u = decode_message(coder, stream, shared.child(done), (n,), rates)
            parts.append((float(entry.scale) * u.astype(np.float64)).astype(np.float32))
            done += 1
        yield np.concatenate(parts).tobytes()
