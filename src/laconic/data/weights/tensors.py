"""Safetensors files -> named tensors, read one at a time; and back, written piece by piece."""

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from laconic.data.weights.safetensors_file import NOTES, BytesInMemory, read_header
from laconic.data.weights.shards import read_shards
from laconic.errors import InputError
from laconic.types import NUMBER_BITS

_PIECE: Final = 1 << 24


def open_weights(
    path: Path | BytesInMemory,
) -> tuple[dict[str, tuple[str, Callable[[], Tensor]]], dict[str, str]]:
    """The tensors, which are read on request, widest types first; and the files' notes.

    Args:
        path: the path of a safetensors file, of an index of shards, or of a folder of them (see
            `laconic.data.weights.shards`); or the bytes of a file.

    Raises:
        InputError: a file is missing, damaged or not a safetensors file, an index does not fit its
            shards, or a tensor is in two files.

    Warns:
        UserWarning: safetensors files of a folder are left out, an index does not list all
            tensors, or two files have different notes of one name.
    """
    tensors, notes = read_shards(path) if isinstance(path, Path) else read_header(path)
    names = sorted(tensors, key=lambda name: (-NUMBER_BITS[tensors[name].dtype], name))
    return {name: (tensors[name].dtype, tensors[name].fetch) for name in names}, notes


def encode_weights(
    layout: Sequence[tuple[str, str, tuple[int, ...], int]],
    tensors: Iterable[Tensor],
    notes: Mapping[str, str],
) -> Iterator[bytes]:
    """The bytes of a safetensors file, a piece at a time.

    Args:
        layout: name, type, shape and number of bytes of each tensor, in the order of `tensors`.
        tensors: the tensors; each is needed only while its bytes are read.
        notes: free text by name.

    Raises:
        InputError: safetensors files cannot hold a tensor of that name.
    """
    if any(name == NOTES for name, *_ in layout):
        raise InputError(
            f"a safetensors file cannot hold a tensor named {NOTES!r}, its key for notes; "
            "laconic.expand in Python gives the tensor: rename it there"
        )
    header: dict[str, object] = {NOTES: dict(notes)} if notes else {}
    start = 0
    for name, kind, shape, size in layout:
        offsets = [start, start + size]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": offsets}
        start += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield struct.pack("<Q", len(text)) + text
    for tensor in tensors:
        if not tensor.numel():
            continue
        flat = tensor.contiguous().reshape(-1).view(torch.uint8)
        for first in range(0, flat.numel(), _PIECE):
            yield flat[first : first + _PIECE].numpy().tobytes()
