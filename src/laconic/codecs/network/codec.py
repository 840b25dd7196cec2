"""The network codec: the tensors of a safetensors file <-> a .lac file.

Every tensor is one section (`codecs.tensors`), coded one after the other. A tensor that occurs
twice is coded once.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from laconic.codecs.image.file_size import SizeCurve, largest_below
from laconic.codecs.network.drawn import Draws, DrawsReader
from laconic.codecs.network.manifest import (
    CODEC,
    DRAWN,
    IN_STEPS,
    MANIFEST,
    TENSOR,
    Entry,
    Method,
    check_entry,
    check_texts,
    read_manifest,
    write_manifest,
)
from laconic.codecs.network.pipeline import run_ahead
from laconic.codecs.network.tensors import NAMES, Plan, Wanted, decode, decode_exact, plan, words_of
from laconic.coding.tensors import quantised
from laconic.container import Container, FieldWriter, Section, pack, unpack
from laconic.errors import (
    CorruptFileError,
    InputError,
    UnreachableTargetError,
    UnsupportedFileError,
)
from laconic.progress import Progress, silent
from laconic.threads import thread_count
from laconic.types import NUMBER_BITS, shape_in_numbers
from laconic.weights.methods.kmeans import MOST_VALUES

REVISION: Final = 1
COARSEST: Final = 0.98
FINEST: Final = 1e-6
"""Tolerances that a search for a size tries."""

STEPS: Final = 1 << 14
"""How many lie between them, in equal ratios."""

FIRST: Final = 0.05
START: Final = round(STEPS * math.log(FIRST / COARSEST) / math.log(FINEST / COARSEST))
"""The tolerance that is tried first, and its step."""

Fetch = Callable[[], Tensor]
Source = Mapping[str, tuple[str, Fetch]]
"""Tensors by name: the name of the type in safetensors files, and how to get the tensor."""


def named(tensors: Mapping[str, Tensor]) -> Source:
    """Tensors in memory as a source, widest types first.

    Raises:
        InputError: a name is no text; a value is no dense tensor in memory, or of a type that is
            not kept.
    """
    source: dict[str, tuple[str, Fetch]] = {}
    for name, tensor in tensors.items():
        if not isinstance(name, str):
            raise InputError(
                f"the tensor's name {name!r} is of type {type(name).__name__}: "
                f"name tensors by texts, as {str(name)!r}"
            )
        kind = NAMES.get(tensor.dtype) if isinstance(tensor, Tensor) else None
        if kind is None or tensor.layout != torch.strided or tensor.is_meta:
            found = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise InputError(
                f"{name!r} is no dense tensor of a type that safetensors files have ({found}): "
                "leave it out or convert it"
            )
        source[name] = kind, partial(_same, tensor)
    order = sorted(source, key=lambda name: (-NUMBER_BITS[source[name][0]], name))
    return {name: source[name] for name in order}


def _check_tolerances(tolerances: Mapping[str, float], names: Sequence[str]) -> None:
    for pattern, value in tolerances.items():
        if not (math.isfinite(value) and 0 <= value < 1):
            raise InputError(f"the tolerance is {value}, give a number from 0 to below 1")
        if pattern != "*" and not any(fnmatchcase(name, pattern) for name in names):
            raise InputError(f"no tensor is called {pattern!r}, for which a tolerance is given")


def _same(tensor: Tensor) -> Tensor:
    return tensor


def shrink(
    source: Source,
    metadata: Mapping[str, str],
    tolerance: float | Mapping[str, float],
    progress: Progress = silent,
    steps: Mapping[str, float] | None = None,
    draws: Draws = Draws(),  # noqa: B008 (frozen)
    threads: int | None = None,
    values: int = 0,
) -> bytes:
    """Write a .lac file.

    Args:
        source: the tensors; each is fetched when its turn comes, and let go.
        metadata: free text by name, kept.
        tolerance: largest relative error ||w - w'|| / ||w|| of any large tensor of floats with
            two or more axes; 0: every bit is kept, as where that costs no more. Or such numbers by
            pattern of names, as a shell has them ("*" for the rest); the last one that fits counts,
            none: every bit is kept.
        progress: called with tensors done and tensors in all.
        steps: the quantiser's step of single tensors by name, whatever their size and error.
        draws: tensors that are already encoded; they come first.
        threads: tensors that are worked on at once; None: as many as torch has threads. The bytes
            are the same for any number.
        values: most values of any large tensor of floats with two or more axes, beside the exact
            zero; 0: not limited.

    Raises:
        InputError: a tensor to be quantised has NaN or infinite values, a type is unknown, or a
            codebook of a file does not hold so many values.
    """
    if values > MOST_VALUES:
        raise InputError(f"codebook is {values}: give a number of values from 1 to {MOST_VALUES}")
    tolerances = tolerance if isinstance(tolerance, Mapping) else {"*": tolerance}
    check_texts([*(entry.name for entry in draws.entries), *source], metadata)
    _check_tolerances(tolerances, list(source))
    entries, sections, contexts = list(draws.entries), list[Section](), quantised.Contexts()
    jobs = _plans(source, tolerances, steps or {}, values, len(entries))
    for index, planned in enumerate(run_ahead(jobs, threads or thread_count())):
        progress(index, len(source))
        if isinstance(planned, Entry):
            entries.append(planned)
        else:
            entry, data = planned.write(contexts)
            entries.append(entry)
            sections.append(Section(TENSOR, data))
        del planned  # Before the next tensor is read.
    header = FieldWriter()
    header.integer(REVISION)
    manifest = Section(MANIFEST, write_manifest(entries, metadata))
    told = [Section(DRAWN, draws.data)] if draws.entries else []
    return pack(CODEC, header.finish(), [manifest, *told, *sections])


def _plans(
    source: Source,
    tolerances: Mapping[str, float],
    steps: Mapping[str, float],
    values: int,
    first: int,
) -> Iterator[tuple[int, Callable[[], Plan | Entry]]]:
    """Of each tensor the memory that it needs, and what finds how it is kept.

    That is a plan; of a tensor that is the same as one before it, its entry. `first`: index of the
    first entry.
    """
    known: dict[tuple[str, tuple[int, ...], bytes], int] = {}
    for index, (name, (dtype, fetch)) in enumerate(source.items(), first):
        tensor = fetch().detach().cpu().resolve_conj().resolve_neg().contiguous()
        entry = Entry(name, dtype, shape_in_numbers(tensor, dtype), Method.LOSSLESS)
        check_entry(entry)
        key = dtype, entry.shape, hashlib.sha256(words_of(tensor, dtype).data).digest()
        if key in known:
            yield 0, partial(replace, entry, method=Method.SAME, same_as=known[key])
            continue
        known[key] = index
        allowed = [value for pattern, value in tolerances.items() if fnmatchcase(name, pattern)]
        wanted = Wanted(allowed[-1] if allowed else 0.0, steps.get(name, 0.0), values)
        yield entry.size_bytes, partial(plan, entry, tensor, wanted)
        del tensor


@dataclass(frozen=True)
class NetworkFile:
    """A .lac file of tensors, checked but not yet decoded.

    Attributes:
        entries: what is in it, in order.
        metadata: free text by name.
        sizes: bytes of each entry's own section, 0 for one that is the same as another, and for
            draws, which share a section.
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
        own = [entry.method not in (Method.SAME, Method.DRAWN) for entry in entries]
        if sum(own) != len(streams):
            raise CorruptFileError(
                f"the file has {len(streams)} tensors, its list has {sum(own)} of their own"
            )
        if len(container.named(DRAWN)) != any(entry.method == Method.DRAWN for entry in entries):
            raise CorruptFileError("the file's draws are not those of its list")
        lengths = iter(streams)
        sizes = tuple(len(next(lengths)) if there else 0 for there in own)
        return cls(entries, metadata, sizes, container)

    def tensors(self, threads: int | None = None) -> Iterator[tuple[Entry, Tensor]]:
        """Decode tensor by tensor, in order; one that is the same as an earlier one is repeated.

        Args:
            threads: tensors that are worked on at once, of those that are kept bit for bit; None:
                as many as torch has threads.

        Raises:
            CorruptFileError: a tensor is damaged.
        """
        wanted = {entry.same_as for entry in self.entries if entry.method == Method.SAME}
        kept: dict[int, Tensor] = {}
        contexts, draws = quantised.Contexts(), self._draws()
        ahead = run_ahead(self._jobs(), threads or thread_count())
        for index, (entry, found) in enumerate(zip(self.entries, ahead, strict=True)):
            if isinstance(found, Tensor):
                tensor = found
            elif entry.method == Method.SAME:
                tensor = kept[entry.same_as].clone()
            elif draws is not None and entry.method == Method.DRAWN:
                tensor = _fitting(entry, draws.read, entry)
            else:
                tensor = _fitting(entry, decode, entry, found, contexts)
            if index in wanted:
                kept[index] = tensor
            yield entry, tensor

    def _jobs(self) -> Iterator[tuple[int, Callable[[], Tensor | bytes]]]:
        """Of each entry the memory that it needs, and what gives its tensor.

        A tensor whose counts are shared with others waits for its turn: its job gives its section.
        """
        streams = iter(self.container.named(TENSOR))
        for entry in self.entries:
            own = entry.method not in (Method.SAME, Method.DRAWN)
            data = next(streams) if own else b""
            if entry.method == Method.LOSSLESS:
                yield entry.size_bytes, partial(_fitting, entry, decode_exact, entry, data)
            else:
                yield 0, partial(bytes, data)

    def _draws(self) -> DrawsReader | None:
        drawn = [entry.count for entry in self.entries if entry.method == Method.DRAWN]
        return DrawsReader(self.container.named(DRAWN)[0], sum(drawn)) if drawn else None

    @property
    def numbers(self) -> int:
        """Numbers in all tensors."""
        return sum(entry.count for entry in self.entries)


def _fitting(entry: Entry, read: Callable[..., Tensor], *arguments: object) -> Tensor:
    """Read a tensor; one that is too large for the memory is a fault of the file."""
    try:
        return read(*arguments)
    except MemoryError as error:
        raise CorruptFileError(
            f"tensor {entry.name!r} of {entry.count} numbers does not fit in memory"
        ) from error


def summary(file: NetworkFile, size_bytes: int) -> dict[str, Any]:
    """Plain values, as `laconic info --json` prints them."""
    rows = [
        {
            "name": entry.name,
            "dtype": entry.dtype,
            "shape": list(entry.shape),
            "method": entry.method.name.lower(),
            "step": entry.step if entry.method in IN_STEPS else None,
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
    progress: Progress = silent,
) -> bytes:
    """The most exact file found whose size is at most so many bits per number, within 1 %.

    The file may be smaller where no tolerance leads so near, as with networks that have few
    different values.

    Raises:
        InputError: the request is no positive number.
        UnreachableTargetError: even the coarsest file is larger.
    """
    if not (math.isfinite(bits_per_number) and bits_per_number > 0):
        raise InputError(f"bits per weight is {bits_per_number}, give a number above 0")

    def write(step: int) -> bytes:
        return first if step == START else shrink(source, metadata, _tolerance(step), progress)

    first = shrink(source, metadata, _tolerance(START), progress)
    numbers = max(NetworkFile.open(first).numbers, 1)
    # Halving the tolerance costs nearly one bit a number, whatever the number of bits.
    sizes = SizeCurve(STEPS, numbers * math.log2(COARSEST / FINEST) / STEPS, float, START)
    found = largest_below(write, bits_per_number * numbers, sizes)
    if found is None:
        least = 8 * len(shrink(source, metadata, COARSEST, progress)) / numbers
        raise UnreachableTargetError(
            f"{bits_per_number:g} bits per weight cannot be met: {least:.3g} is the least"
        )
    if found.falls_short(bits_per_number * numbers, sizes):
        exact = shrink(source, metadata, 0.0, progress)
        return exact if 8 * len(exact) <= bits_per_number * numbers else found.data
    return found.data


def _tolerance(step: int) -> float:
    """Of the steps from the coarsest to the finest, in equal ratios."""
    return COARSEST * math.exp(math.log(FINEST / COARSEST) * step / STEPS)
