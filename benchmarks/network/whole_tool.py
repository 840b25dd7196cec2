"""NNCodec whole, in an environment of its own: encode and decode a network, timed.

    PYTHON benchmarks/network/whole_tool.py plain.npz decoded.npz '{"qp": -32, "use_dq": false}'

PYTHON is the interpreter of an environment with NNCodec (`pip install nncodec`); nothing of ours is
imported. Reads arrays by name, writes what NNCodec decodes, and prints a line of JSON: bytes, and
the least seconds of three runs, imports left out. The third argument is what `nncodec.nn.encode`
takes as `args`; `{}` means its defaults.
"""

import contextlib
import io
import json
import re
import sys
import tempfile
import time
from typing import Any

import numpy as np
import torch

REPEATS = 3


def load_nncodec() -> Any:
    """Its entry for networks.

    It imports torchvision, which it needs for its own examples alone. A torchvision that was built
    for another torch lacks operators; declaring those that it needs is enough for the import.
    """
    library = torch.library.Library("torchvision", "FRAGMENT")
    while True:
        try:
            from nncodec import nn
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if missing is None:
                raise
            library.define(f"{missing[1]}(Tensor x) -> Tensor")
            for name in [name for name in sys.modules if name.startswith(("torchvision", "nnc"))]:
                del sys.modules[name]
        else:
            return nn


def main(plain: str, decoded: str, settings: str) -> None:
    """Encode and decode, some times over."""
    torch.set_num_threads(1)
    nn, tensors = load_nncodec(), dict(np.load(plain))
    encode, decode = [], []
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        arguments = {"verbose": False, "results": folder, **json.loads(settings)}
        for _ in range(REPEATS):
            start = time.perf_counter()
            data = nn.encode({name: array.copy() for name, array in tensors.items()}, arguments)
            encode.append(time.perf_counter() - start)
            start = time.perf_counter()
            back = nn.decode(data)
            decode.append(time.perf_counter() - start)
    np.savez(decoded, **{name: np.asarray(array) for name, array in back.items()})
    seconds = {"encode_seconds": min(encode), "decode_seconds": min(decode)}
    print(json.dumps({"bytes": len(data), **seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
