"""A file of tensors: what it says about itself, and its decoding."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final, Self, final

from torch import Tensor

from laconic.codecs.base import Codec, Content, Decoding, FileInfo
from laconic.codecs.network.drawn import DrawsReader
from laconic.codecs.network.manifest import (
    DRAWN,
    IN_STEPS,
    MANIFEST,
    TENSOR,
    Entry,
    Method,
    read_manifest,
)
from laconic.codecs.network.pipeline import run_ahead
from laconic.codecs.network.tensors import decode, decode_exact
from laconic.coding.tensors import quantised
from laconic.container import FieldReader, LacFile
from laconic.errors import CorruptFileError
from laconic.threads import thread_count

REVISION: Final = 1


@dataclass(frozen=True)
class TensorInfo:
    """A tensor in numbers.

    Attributes:
        name: its name.
        dtype: its type, as safetensors files name it.
        shape: its sides.
        method: how it is stored.
        step: of the quantiser, None where there is none.
        bytes: of its own section.
    """

    name: str
    dtype: str
    shape: list[int]
    method: str
    step: float | None
    bytes: int


@dataclass(frozen=True, kw_only=True)
class NetworkInfo(FileInfo):
    """A file of tensors in numbers; a network has no prior, no model and no sides.

    Attributes:
        raw_bits: of the plain numbers of all tensors.
        numbers: in all tensors.
        bits_per_number: of the file.
        metadata: free text by name.
        tensors: in the order of the file.
    """

    raw_bits: int
    numbers: int
    bits_per_number: float
    metadata: dict[str, str]
    tensors: tuple[TensorInfo, ...]


@final
@dataclass(frozen=True)
class NetworkFile(Codec):
    """A file of tensors, opened.

    Attributes:
        file: its sections.
        entries: what is in it, in order.
        metadata: free text by name.
        sizes: bytes of each entry's own section, 0 for one that is the same as another, and for
            draws, which share a section.
    """

    id: ClassVar[str] = "network"

    file: LacFile
    entries: tuple[Entry, ...]
    metadata: Mapping[str, str]
    sizes: tuple[int, ...]

    @classmethod
    def open(cls, file: LacFile) -> Self:
        """Read the list of tensors, and check that every tensor has its section."""
        fields = FieldReader(file.header, "the network header")
        fields.revision(REVISION)
        fields.finish()
        entries, metadata = read_manifest(file.only(MANIFEST))
        streams = file.named(TENSOR)
        own = [entry.method not in (Method.SAME, Method.DRAWN) for entry in entries]
        if sum(own) != len(streams):
            raise CorruptFileError(
                f"the file has {len(streams)} tensors, its list has {sum(own)} of their own"
            )
        file.optional(DRAWN, any(entry.method == Method.DRAWN for entry in entries))
        lengths = iter(streams)
        sizes = tuple(len(next(lengths)) if there else 0 for there in own)
        return cls(file, entries, metadata, sizes)

    @property
    def content(self) -> Content:
        """Tensors by name."""
        return Content.NETWORK

    @property
    def numbers(self) -> int:
        """Numbers in all tensors."""
        return sum(entry.count for entry in self.entries)

    def describe(self) -> NetworkInfo:
        """Everything that the file says about itself."""
        rows = [
            TensorInfo(
                entry.name,
                entry.dtype,
                list(entry.shape),
                entry.method.name.lower(),
                entry.step if entry.method in IN_STEPS else None,
                size,
            )
            for entry, size in zip(self.entries, self.sizes, strict=True)
        ]
        file_bits = 8 * self.file.size_bytes
        return NetworkInfo(
            file_bits=file_bits,
            codec=self.id,
            sections=self.file.section_bits(),
            raw_bits=8 * sum(entry.size_bytes for entry in self.entries),
            numbers=self.numbers,
            bits_per_number=file_bits / max(self.numbers, 1),
            metadata=dict(self.metadata),
            tensors=tuple(rows),
        )

    def decode(self, how: Decoding) -> Iterator[tuple[str, Tensor]]:
        """Decode the tensors one by one, each with its name."""
        for index, (entry, tensor) in enumerate(self.tensors(how.threads)):
            how.progress(index, len(self.entries))
            yield entry.name, tensor

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
        streams = iter(self.file.named(TENSOR))
        for entry in self.entries:
            own = entry.method not in (Method.SAME, Method.DRAWN)
            data = next(streams) if own else b""
            if entry.method == Method.LOSSLESS:
                yield entry.size_bytes, partial(_fitting, entry, decode_exact, entry, data)
            else:
                yield 0, partial(bytes, data)

    def _draws(self) -> DrawsReader | None:
        drawn = [entry.count for entry in self.entries if entry.method == Method.DRAWN]
        return DrawsReader(self.file.only(DRAWN), sum(drawn)) if drawn else None


def _fitting(entry: Entry, read: Callable[..., Tensor], *arguments: object) -> Tensor:
    """Read a tensor; one that is too large for the memory is a fault of the file."""
    try:
        return read(*arguments)
    except MemoryError as error:
        raise CorruptFileError(
            f"tensor {entry.name!r} of {entry.count} numbers does not fit in memory"
        ) from error
