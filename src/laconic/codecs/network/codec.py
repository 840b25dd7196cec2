"""The network codec: the tensors of a safetensors file to a .lac file.

Every tensor is one section (`codecs.network.tensors`), coded one after the other. A tensor that
occurs twice is coded once.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Final

import torch
from torch import Tensor

from laconic.codecs.image.file_size import SizeCurve, largest_below
from laconic.codecs.network.drawn import Draws
from laconic.codecs.network.file import REVISION, NetworkFile
from laconic.codecs.network.manifest import (
    DRAWN,
    MANIFEST,
    TENSOR,
    Entry,
    Method,
    check_entry,
    check_texts,
    write_manifest,
)
from laconic.codecs.network.pipeline import run_ahead
from laconic.codecs.network.tensors import NAMES, Plan, Wanted, plan, words_of
from laconic.coding.tensors import quantised
from laconic.container import FieldWriter, Section, pack
from laconic.errors import InputError, UnreachableTargetError
from laconic.progress import Progress, silent
from laconic.threads import thread_count
from laconic.types import NUMBER_BITS, shape_in_numbers
from laconic.weights.methods.kmeans import MOST_VALUES

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
        source: the tensors; each is fetched when it is encoded, and freed afterwards.
        metadata: free text by name, kept.
        tolerance: largest relative error ||w - w'|| / ||w|| of any large tensor of floats with
            two or more axes; 0: every bit is kept, as where that costs no more. Or such numbers by
            pattern of names, as a shell has them ("*" for the rest); the last one that fits counts,
            none: every bit is kept.
        progress: called with tensors done and tensors in all.
        steps: the quantiser's step of single tensors by name, whatever their size and error.
        draws: tensors that are encoded already; they come first.
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
    drawn = [Section(DRAWN, draws.data)] if draws.entries else []
    return pack(NetworkFile.id, header.finish(), [manifest, *drawn, *sections])


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
    numbers = max(NetworkFile.read(first).numbers, 1)
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
