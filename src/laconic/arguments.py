"""Checks and conversions of the public API's arguments: paths, bytes, files, pictures, numbers.

Each function accepts all sensible types for its argument, and refuses others with an `InputError`
that names the argument, its type, and what to give instead.
"""

import os
from collections.abc import Iterable, Mapping
from io import BytesIO
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeGuard, runtime_checkable

from PIL import Image

from laconic import paths
from laconic.deep_image import DeepImage
from laconic.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from laconic.container import StoredFile

    Known: TypeAlias = Path | BytesIO | Image.Image | DeepImage | NDArray[Any]
    Picture: TypeAlias = (
        "Source | Image.Image | DeepImage | NDArray[np.uint8] | NDArray[np.uint16]"
        " | NDArray[np.bool_] | Tensor"
    )

PathLike: TypeAlias = str | os.PathLike[str]


@runtime_checkable
class BinaryFile(Protocol):
    """An open file whose `read` returns bytes: of the system, in memory, or of a library."""

    def read(self) -> bytes:
        """All bytes from the current position on."""
        ...  # pragma: no cover


Source: TypeAlias = PathLike | bytes | bytearray | memoryview | BinaryFile


def is_path(value: object) -> TypeGuard[PathLike]:
    """Whether a value is a path; the file need not exist."""
    return isinstance(value, str | os.PathLike)


def to_path(name: str, value: object) -> Path:
    """The argument `name` as a path, or as the address of an object store.

    Raises:
        InputError: the value is not a path.
    """
    if not is_path(value):
        raise InputError(f"{name} is {_kind(value)}: give a path")
    path = os.fsdecode(value)
    if not path or "\0" in path:
        raise InputError(f"{name} is {path!r}, which is not a path")
    return paths.to_path(path)


def to_bytes(name: str, value: object) -> bytes:
    """The bytes of the argument `name`: a path, bytes, or an open binary file.

    Raises:
        InputError: the value is none of these, or the file cannot be read.
    """
    from laconic.container import read_bytes

    data = _bytes_of(name, value)
    if data is not None:
        return data
    if not is_path(value):
        raise InputError(f"{name} is {_kind(value)}: give a path, bytes, or an open binary file")
    return read_bytes(to_path(name, value))


def to_stored(name: str, value: object) -> "bytes | StoredFile":
    """As `to_bytes`, but the bytes of a regular file are read when they are needed.

    Raises:
        InputError: the value is no path, bytes or open file, or the file cannot be read.
    """
    from laconic.container import StoredFile
    from laconic.container.storage import is_special

    if not is_path(value) or is_special(to_path(name, value)):
        return to_bytes(name, value)
    return StoredFile(to_path(name, value))


def to_picture(image: object) -> "Known":
    """A picture argument in a form that the readers of pictures accept.

    Args:
        image: path, bytes or binary file of an image file; Pillow image or `DeepImage`; array
            `(h, w)` or `(h, w, channels)`; tensor of the same shape, on any device.

    Raises:
        InputError: the value is none of these, or the file cannot be read.
    """
    import numpy as np
    from torch import Tensor

    if isinstance(image, Image.Image | DeepImage | np.ndarray):
        return image
    if isinstance(image, Tensor):
        return _to_array(image)
    data = _bytes_of("image", image)
    if data is not None:
        return BytesIO(data)
    if not is_path(image):
        raise InputError(
            f"the image is {_kind(image)}: give a path, the bytes of an image file, an open "
            "binary file, a Pillow image, an array or a tensor"
        )
    return to_path("image", image)


def to_pictures(inputs: object) -> "Path | Mapping[str, Known] | list[Known]":
    """The inputs of an archive: a folder, pictures by name, or a list of pictures.

    Raises:
        InputError: the value is none of these.
    """
    if is_path(inputs):
        return to_path("inputs", inputs)
    if isinstance(inputs, Mapping):
        for name in inputs:
            if not isinstance(name, str):
                raise InputError(f"a picture's name is {_kind(name)}: give a text")
        return {name: to_picture(image) for name, image in inputs.items()}
    single = isinstance(
        inputs, bytes | bytearray | memoryview | Image.Image | DeepImage | BinaryFile
    )
    if single or not isinstance(inputs, Iterable):
        raise InputError(
            f"inputs is {_kind(inputs)}: give a folder, pictures by name, or a list of pictures"
        )
    return [to_picture(image) for image in inputs]


def check_counts(**values: object) -> None:
    """Raise `InputError` if a value is neither None nor a whole number of at least 1.

    Args:
        values: values by the names of the arguments.
    """
    for name, value in values.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < 1:
            raise InputError(f"{name} is {value!r}, give a whole number of at least 1, or None")


def check_numbers(**values: object) -> None:
    """Raise `InputError` if a value is neither None nor a real number.

    Args:
        values: values by the names of the arguments.
    """
    for name, value in values.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, Real)):
            raise InputError(f"{name} is {_kind(value)}: give a number")


def _bytes_of(name: str, source: object) -> bytes | None:
    """The content of bytes or an open file; None for anything else, such as a path."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if is_path(source) or not isinstance(source, BinaryFile):
        return None
    try:
        data: object = source.read()
    except (OSError, ValueError) as error:  # ValueError: the file is closed.
        raise InputError(f"cannot read the open file given as {name}: {error}") from error
    if not isinstance(data, bytes | bytearray | memoryview):
        raise InputError(f"{name} is a file of text; open it for binary reading, with mode 'rb'")
    return bytes(data)


def _to_array(tensor: "Tensor") -> "NDArray[Any]":
    shape = tuple(tensor.shape)
    if len(shape) == 3 and shape[0] <= 4 < shape[2]:
        raise InputError(
            f"the tensor has shape {shape}, give (height, width, channels): "
            "tensor.permute(1, 2, 0) has this order"
        )
    try:
        array: NDArray[Any] = tensor.detach().cpu().numpy()
    except (TypeError, RuntimeError) as error:
        raise InputError(
            f"the tensor of {tensor.dtype} cannot be read as an array: {error}; give uint8"
        ) from error
    return array


def _kind(value: object) -> str:
    """The type of a value, in words."""
    return "None" if value is None else f"of type {type(value).__name__}"
