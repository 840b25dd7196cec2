"""Files of labels for a receiver who has the inputs, and what is in them.

| code | the file | the receiver |
|---|---|---|
| weights | a network file; the labels under its network | decodes the network, then the labels |
| prequential | the labels, block by block | decodes a block, trains on all so far, goes on |

A network file holds trained weights, quantised (the two-part code), or one draw from a posterior
over the weights (the Bayesian code): the draw takes KL(q || p), and quantised weights take
-log p(weights) under a code for all of them, which is more.

Source: Ullrich 1.2, eq. 1.16 to 1.25 (ERRATA 1); Blier & Ollivier 2018 for the prequential code.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from laconic.codecs.network.file import NetworkFile
from laconic.codecs.network.loading import expand_into
from laconic.coding.stack.ans import Stack
from laconic.container import FieldReader, FieldWriter, Section, pack, unpack
from laconic.errors import CorruptFileError, InputError, UnsupportedFileError
from laconic.evaluation.labels.tables import (
    Tables,
    best_sharpness,
    integer_logits,
    tables_of,
    uniform,
)
from laconic.progress import Progress, silent

CODEC: Final = "labels"
WEIGHTS, PREQUENTIAL = 0, 1
MOST_LABELS, MOST_CLASSES, MOST_BLOCKS = 1 << 28, 1 << 16, 1 << 10

Labels = NDArray[np.int64]

Learn = Callable[[Tensor, Labels], nn.Module]
"""Trains a new network on inputs and labels; equal arguments must give equal weights, bit for bit,
on the sender's machine and on the receiver's."""


@dataclass(frozen=True)
class LabelFile:
    """A file of labels, not decoded yet.

    Attributes:
        code: `WEIGHTS` or `PREQUENTIAL`.
        count: number of labels.
        classes: number of classes.
        ends: numbers of labels up to the end of each block.
        sharpness: of each block's tables; 0 for a block whose classes are all alike.
        network: a network file; empty for the prequential code.
        stack: the labels.
        size_bytes: of the whole file.
    """

    code: int
    count: int
    classes: int
    ends: tuple[int, ...]
    sharpness: tuple[int, ...]
    network: bytes
    stack: bytes
    size_bytes: int

    @classmethod
    def read(cls, data: bytes) -> "LabelFile":
        """Parse a file.

        Raises:
            CorruptFileError: it is damaged.
            UnsupportedFileError: it is a .lac file of another kind.
        """
        file = unpack(data)
        if file.codec != CODEC:
            raise UnsupportedFileError(f"the file holds '{file.codec}', not labels")
        fields = FieldReader(file.header)
        code = fields.integer(PREQUENTIAL, "the code")
        count = fields.integer(MOST_LABELS, "the number of labels")
        classes = fields.integer(MOST_CLASSES, "the number of classes")
        blocks = fields.integer(MOST_BLOCKS, "the number of blocks")
        ends = tuple(fields.integer(count, "the end of a block") for _ in range(blocks))
        sharpness = tuple(fields.raw(blocks))
        fields.finish()
        rising = all(first < last for first, last in pairwise((0, *ends)))
        if not blocks or not rising or ends[-1] != count or classes < 2:
            raise CorruptFileError("header: the blocks do not fit the labels")
        network = file.optional("network", code == WEIGHTS)
        stack = file.only("labels")
        return cls(code, count, classes, ends, sharpness, network, stack, len(data))

    def write(self) -> bytes:
        """The file's bytes."""
        fields = FieldWriter()
        for value in (self.code, self.count, self.classes, len(self.ends), *self.ends):
            fields.integer(value)
        fields.raw(bytes(self.sharpness))
        sections = [Section("labels", self.stack)]
        if self.code == WEIGHTS:
            sections.insert(0, Section("network", self.network))
        return pack(CODEC, fields.finish(), sections)


def encode_with_weights(
    network: bytes, make: Callable[[], nn.Module], inputs: Tensor, labels: Labels, classes: int
) -> bytes:
    """The labels behind a network file, under that file's network.

    Args:
        network: a .lac file of weights.
        make: a new network of that architecture, which the receiver has, too.
        inputs: `(count, ...)`, float32.
        labels: `(count,)`.
        classes: number of classes.

    Raises:
        InputError: labels out of range, or of another number than the inputs; weights that do not
            fit the network.
    """
    check(inputs, labels, classes)
    logits = _logits(network, make, inputs)
    sharpness = best_sharpness(logits, labels)
    stack = Stack()
    tables_of(logits, sharpness).push(stack, labels)
    ends, sharp = (len(labels),), (sharpness,)
    data = stack.to_bytes()
    return LabelFile(WEIGHTS, len(labels), classes, ends, sharp, network, data, 0).write()


def encode_prequential(
    learn: Learn,
    ends: Sequence[int],
    inputs: Tensor,
    labels: Labels,
    classes: int,
    progress: Progress = silent,
) -> bytes:
    """The labels block by block, each under a network trained on all blocks before it.

    The first block is coded with all classes alike.

    Args:
        learn: trains a network.
        ends: numbers of labels up to the end of each block, rising, the last one all of them.
        inputs: `(count, ...)`, float32.
        labels: `(count,)`.
        classes: number of classes.
        progress: called with blocks done and blocks in all.

    Raises:
        InputError: labels out of range, of another number than the inputs, or blocks that do not
            fit.
    """
    check(inputs, labels, classes)
    if not ends or list(ends) != sorted(set(ends)) or ends[0] < 1 or ends[-1] != len(labels):
        raise InputError(f"blocks end at {list(ends)}; give rising numbers, the last {len(labels)}")
    tables, sharp = [uniform(ends[0], classes)], [0]
    for done, (first, last) in enumerate(pairwise(ends), 1):
        logits = integer_logits(learn(inputs[:first], labels[:first]), inputs[first:last])
        sharp.append(best_sharpness(logits, labels[first:last]))
        tables.append(tables_of(logits, sharp[-1]))
        progress(done, len(ends) - 1)
    stack = Stack()
    for (first, last), table in reversed(list(zip(pairwise((0, *ends)), tables, strict=True))):
        table.push(stack, labels[first:last])
    data = stack.to_bytes()
    file = LabelFile(PREQUENTIAL, len(labels), classes, tuple(ends), tuple(sharp), b"", data, 0)
    return file.write()


def decode(
    data: bytes,
    inputs: Tensor,
    make: Callable[[], nn.Module] | None = None,
    learn: Learn | None = None,
) -> Labels:
    """The labels of a file.

    Args:
        data: the file.
        inputs: as the sender had them.
        make: as the sender's, for a file with weights.
        learn: as the sender's, for a prequential file.

    Raises:
        FileError: the file is damaged or of another kind.
        InputError: there is another number of inputs, or `make` or `learn` is missing.
    """
    file = LabelFile.read(data)
    if len(inputs) != file.count:
        raise InputError(f"the file has {file.count} labels, and there are {len(inputs)} inputs")
    if (file.code == WEIGHTS and make is None) or (file.code == PREQUENTIAL and learn is None):
        needed = "make" if file.code == WEIGHTS else "learn"
        raise InputError(f"a file of this code is decoded with the sender's `{needed}`: give it")
    stack = Stack.from_bytes(file.stack)
    blocks: list[Labels] = []
    for table in _tables(file, inputs, make, learn, blocks):
        blocks.append(table.pop(stack))
    if not stack.empty:
        raise CorruptFileError("the labels do not end where the file does: the inputs or the "
                               "training differ from the sender's")  # fmt: skip
    return np.concatenate(blocks)


def _tables(
    file: LabelFile,
    inputs: Tensor,
    make: Callable[[], nn.Module] | None,
    learn: Learn | None,
    known: list[Labels],
) -> Iterator[Tables]:
    """The tables of each block, computed when the blocks before it are in `known`."""
    for (first, last), sharp in zip(pairwise((0, *file.ends)), file.sharpness, strict=True):
        if not sharp:
            yield uniform(last - first, file.classes)
        elif file.code == WEIGHTS:
            assert make is not None
            yield tables_of(_logits(file.network, make, inputs[first:last]), sharp)
        else:
            assert learn is not None
            logits = integer_logits(
                learn(inputs[:first], np.concatenate(known)), inputs[first:last]
            )
            yield tables_of(logits, sharp)


def _logits(network: bytes, make: Callable[[], nn.Module], inputs: Tensor) -> Tensor:
    net = make()
    expand_into(NetworkFile.read(network), net)
    return integer_logits(net, inputs)


def check(inputs: Tensor, labels: Labels, classes: int) -> None:
    """Raise `InputError` for labels that cannot be coded."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != len(inputs):
        raise InputError(
            f"labels of shape {labels.shape} and type {labels.dtype} for {len(inputs)} inputs; "
            "give one integer for each"
        )
    if not len(labels) or not 0 <= labels.min() <= labels.max() < classes:
        raise InputError(f"labels must be integers from 0 to {classes - 1}, one or more")


def block_ends(count: int, first: int, ratio: float) -> list[int]:
    """Ends of blocks that grow by a ratio.

    Args:
        count: number of labels.
        first: size of the first block.
        ratio: of successive ends, above 1.

    >>> block_ends(1000, 100, 2.0)
    [100, 200, 400, 1000]
    """
    if first < 1 or not ratio > 1:
        raise InputError(f"blocks from {first} growing by {ratio:g}: give 1 or more, and above 1")
    ends = [min(first, count)]
    while ends[-1] * ratio * ratio <= count:
        ends.append(max(ends[-1] + 1, round(ends[-1] * ratio)))
    return ends if ends[-1] == count else [*ends, count]
