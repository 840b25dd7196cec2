"""Shapes and types that several packages use.

Shapes are jaxtyping annotations: mypy reads them as `Tensor`, the tests check them at run time.
Within one signature `batch` means the same number everywhere; names that start with an underscore
are free.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

Images: TypeAlias = Float[Tensor, "batch 3 _height _width"]
"""Colour images in [0, 1]."""

FeatureMap: TypeAlias = Float[Tensor, "batch _channels _height _width"]
"""Maps between convolutions, and latents."""

Embedding: TypeAlias = Float[Tensor, "batch _width"]
"""One vector for each image of a batch, such as the embedded log beta."""

Pixels: TypeAlias = NDArray[np.uint8]
"""One image as stored in a file: `(height, width, 3)`, 0 to 255."""

NUMBER_BITS: Final[Mapping[str, int]] = {
    "F32": 32,
    "F16": 16,
    "BF16": 16,
    "F64": 64,
    "I64": 64,
    "I32": 32,
    "I16": 16,
    "I8": 8,
    "U64": 64,
    "U32": 32,
    "U16": 16,
    "U8": 8,
    "BOOL": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "F4": 4,
    "C64": 64,
}
"""Bits of a number of each type, by the names that safetensors files use."""

_TORCH_NAMES: Final[Mapping[str, str]] = {
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F64": "float64",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F4": "float4_e2m1fn_x2",
    "C64": "complex64",
}

TORCH_DTYPES: Final[Mapping[str, torch.dtype]] = {
    name: getattr(torch, own) for name, own in _TORCH_NAMES.items() if hasattr(torch, own)
}
"""The same types in torch, as far as the installed version has them."""


def shape_in_torch(shape: tuple[int, ...], dtype: str) -> tuple[int, ...]:
    """The shape of a tensor in torch, which keeps two numbers of type F4 in one element."""
    return (*shape[:-1], shape[-1] // 2) if dtype == "F4" else shape


def shape_in_numbers(tensor: Tensor, dtype: str) -> tuple[int, ...]:
    """Undo `shape_in_torch`: the shape of a tensor of type `dtype`."""
    shape = tuple(tensor.shape)
    return (*shape[:-1], 2 * shape[-1]) if dtype == "F4" and shape else shape


def view_as(data: Tensor, dtype: str, shape: tuple[int, ...]) -> Tensor:
    """Bytes as a tensor of a type of safetensors files; nothing is copied.

    Args:
        data: uint8, `(bytes,)`.
        dtype: the type's name, one of `TORCH_DTYPES`.
        shape: in numbers.
    """
    if not data.numel():  # An array from numpy may have a stride of 0, which cannot be viewed.
        return torch.empty(shape_in_torch(shape, dtype), dtype=TORCH_DTYPES[dtype])
    return data.view(TORCH_DTYPES[dtype]).reshape(shape_in_torch(shape, dtype))
