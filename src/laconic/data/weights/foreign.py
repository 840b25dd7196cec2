"""Recognises weights in other formats than safetensors, and names the command that converts them.

Files are recognised by their first bytes, zip archives by the names inside. Nothing is unpickled.
"""

import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from shlex import quote
from typing import BinaryIO, Final

HEAD_BYTES: Final = 512

Say = Callable[[Path], str]
"""The path of a file -> what the file is, and what to do with it."""

_UNPICKLED: Final = "laconic never opens a pickle, because a pickle can run any code"
_LOAD: Final = "import sys, torch; from safetensors.torch import save_file; "
_SAVE: Final = "save_file({k: v.detach().clone().contiguous() for k, v in t.items()}, sys.argv[2])"
_TORCH: Final = (
    "t = torch.load(sys.argv[1], map_location='cpu', weights_only=True); "
    f"t = t.get('state_dict', t); {_SAVE}"
)
_SCRIPT: Final = f"t = torch.jit.load(sys.argv[1], 'cpu').state_dict(); {_SAVE}"
_EXPORT: Final = f"t = torch.export.load(sys.argv[1]).state_dict; {_SAVE}"
_NUMPY: Final = (
    "import sys, numpy; from safetensors.numpy import save_file; t = numpy.load(sys.argv[1]); "
    "save_file(dict(t), sys.argv[2])"
)
_ONNX: Final = (
    "import sys, onnx; from onnx.numpy_helper import to_array; "
    "from safetensors.numpy import save_file; t = onnx.load(sys.argv[1]).graph.initializer; "
    "save_file({one.name: to_array(one) for one in t}, sys.argv[2])"
)


def describe(file: BinaryIO, path: Path) -> str | None:
    """What a file is and what to do with it, as a sentence without its name; None if unknown.

    Args:
        file: opened, at any position.
        path: its name in the command that converts it.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if head[8:9] == b"{":
        return None  # A safetensors file, perhaps damaged: its length is followed by a list.
    if not head:
        return "is empty: write or download it again"
    if head.startswith(b"PK\x03\x04"):
        return _describe_zip(file, path)
    for pattern, say in _PATTERNS:
        if re.match(pattern, head, re.DOTALL | re.IGNORECASE):
            return f"is {say(path)}"
    return f"is {_ENDINGS[path.suffix](path)}" if path.suffix in _ENDINGS else None


def _describe_zip(file: BinaryIO, path: Path) -> str:
    """The description of an archive, from the names in it."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "is a zip archive that is cut short or damaged: download it again"
    return f"is {_of_names(names)(path)}"


def _of_names(names: Sequence[str]) -> Say:
    """The description of an archive with these files."""
    if any(re.fullmatch(r"([^/]+/)?models/.+\.json", name) for name in names):
        return _convert("an exported program of PyTorch", _LOAD + _EXPORT)
    if any(re.match(r"([^/]+/)?code/", name) for name in names):
        return _convert("a TorchScript program", _LOAD + _SCRIPT)
    if any(re.fullmatch(r"([^/]+/)?data\.pkl", name) for name in names):
        return _pytorch
    if "model.weights.h5" in names:
        return _keras
    if names and all(name.endswith(".npy") for name in names):
        return _convert("an archive of NumPy arrays", _NUMPY)
    return _fixed("a zip archive: unpack it, and give the safetensors file in it")


def _fixed(text: str) -> Say:
    return lambda path: text


def _convert(what: str, code: str, warning: str = "") -> Say:
    """A description, and the command that converts the file to safetensors."""

    def say(path: Path) -> str:
        target = path.with_suffix(".safetensors")
        return (
            f"{what}{warning}: convert it with\n"
            f'python -c "{code}" {quote(str(path))} {quote(str(target))}\n'
            "and shrink the file that it writes; docs/networks.md explains it"
        )

    return say


_pytorch = _convert("a PyTorch checkpoint", _LOAD + _TORCH, f" ({_UNPICKLED})")

_keras = _fixed(
    "weights of Keras: load the model with Keras, and write its weights by name with "
    "safetensors.numpy.save_file"
)
_tensorflow = _fixed(
    "a checkpoint of TensorFlow: read it with tf.train.load_checkpoint, and write its tensors by "
    "name with safetensors.numpy.save_file"
)
_compressed = _fixed("compressed: unpack it first")
_picture = _fixed("a picture: give it to laconic compress")

_PATTERNS: Final[Sequence[tuple[bytes, Say]]] = (
    (
        rb"\x89LAC",
        _fixed(
            "already a .lac file: laconic info shows what is in it, laconic expand restores the "
            "weights"
        ),
    ),
    (
        rb"GGUF|ggjt|tjgg|ggml|lmgg|ggmf|fmgg",
        _fixed(
            "a model of llama.cpp, whose numbers are already quantised: give the safetensors file "
            "that it was made from"
        ),
    ),
    (rb"\x80[\x02-\x05]", _pytorch),
    (rb"\x89HDF\r\n\x1a\n", _keras),
    (
        rb"\x93NUMPY",
        _convert("one NumPy array", _NUMPY.replace("dict(t)", "{'tensor': t}")),
    ),
    (rb"....TFL3", _tensorflow),
    (rb"\x08[\x01-\x20]\x12", _convert("a model in ONNX", _ONNX)),
    (
        rb"version https://git-lfs",
        _fixed("a pointer of Git LFS, not the file itself: run git lfs pull"),
    ),
    (
        rb"\s*(<!doctype|<html|<\?xml)",
        _fixed("a web page, not a file of weights: download the file itself"),
    ),
    (rb"\x1f\x8b|\xfd7zXZ|\x28\xb5\x2f\xfd|BZh|7z\xbc\xaf", _compressed),
    (rb".{257}ustar", _fixed("a tar archive: unpack it, and give the safetensors file in it")),
    (rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP|II\*\0|MM\0\*", _picture),
)
"""Descriptions by the first bytes of a file."""

_ENDINGS: Final[dict[str, Say]] = {
    ".onnx": _convert("a model in ONNX", _ONNX),
    ".msgpack": _fixed(
        "weights of Flax: read it with flax.serialization.msgpack_restore, and write its arrays by "
        "name with safetensors.numpy.save_file"
    ),
    ".pb": _tensorflow,
    ".index": _tensorflow,
}
"""Descriptions by the ending of the name, for formats without characteristic first bytes."""
