"""Peak memory of `laconic shrink` and `laconic expand`, for every type and several shapes.

    python benchmarks/network/memory.py [--mebibytes 32]

Files hold random bits, the worst case of `--lossless`, or normal numbers for `--tolerance 0.01`;
in one tensor, a row, a square or a column, or in 16. Each command runs in a process of its own, a
fork of this one with all compiled loops loaded, whose peak is the operating system's account; that
of one that does nothing is measured beside it. Writes memory.json and the table of
docs/networks.md.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import laconic
from laconic.cli import app
from laconic.codecs.network.manifest import FLOATS
from laconic.data.weights.tensors import encode_weights
from laconic.evaluation.report.markdown import markdown_table
from laconic.evaluation.report.provenance import describe_run
from laconic.types import NUMBER_BITS, TORCH_DTYPES, view_as

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "networks.md"
MARKS = "<!-- memory:begin -->\n", "<!-- memory:end -->\n"


def peak_mebibytes(work: Callable[[], object]) -> float:
    """Of a process that does some work."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit("a command failed")
    return usage.ru_maxrss / 1024


def command(*arguments: object) -> Callable[[], object]:
    """One command of laconic, to be run."""
    return partial(app, [*map(str, arguments), "--json"], standalone_mode=False)


def shapes(numbers: int) -> dict[str, list[tuple[int, int]]]:
    """Shapes of the tensors of a file, by what they are called."""
    side = math.isqrt(numbers) // 8 * 8
    small = math.isqrt(numbers // 16) // 8 * 8
    return {
        "a row": [(1, numbers)],
        "a square": [(side, side)],
        "a column": [(numbers // 2, 2)],
        "16 squares": [(small, small)] * 16,
    }


def write(path: Path, dtype: str, sizes: list[tuple[int, int]], normal: bool) -> None:
    """A safetensors file of random numbers."""
    generator = np.random.default_rng(0)
    tensors = []
    for shape in sizes:
        count = math.prod(shape)
        if normal:
            own = torch.from_numpy(generator.standard_normal(count, np.float32))
            tensors.append(own.to(TORCH_DTYPES[dtype]).reshape(shape))
        else:
            data = np.frombuffer(generator.bytes(count * NUMBER_BITS[dtype] // 8), np.uint8)
            tensors.append(view_as(torch.from_numpy(data.copy()), dtype, shape))
    layout = [
        (f"{k}", dtype, shape, math.prod(shape) * NUMBER_BITS[dtype] // 8)
        for k, shape in enumerate(sizes)
    ]
    with path.open("wb") as file:
        file.writelines(encode_weights(layout, tensors, {}))


def measure(dtype: str, kind: str, size_bytes: int, tolerance: float) -> dict[str, Any]:
    """Peaks of one file."""
    sizes = shapes(size_bytes * 8 // NUMBER_BITS[dtype])[kind]
    with tempfile.TemporaryDirectory() as name:
        plain, packed, back = (Path(name, part) for part in ("in.safetensors", "out.lac", "back"))
        peak_mebibytes(partial(write, plain, dtype, sizes, tolerance > 0))
        how = ["--tolerance", tolerance] if tolerance else ["--lossless"]
        row = {
            "dtype": dtype,
            "tensors": kind,
            "tolerance": tolerance,
            "plain_mebibytes": plain.stat().st_size / 2**20,
            "shrink_mebibytes": peak_mebibytes(command("shrink", plain, "-o", packed, *how)),
            "packed_mebibytes": packed.stat().st_size / 2**20,
            "expand_mebibytes": peak_mebibytes(command("expand", packed, "-o", back)),
        }
    print(json.dumps(row), flush=True)
    return row


def load() -> None:
    """Load all compiled loops, so that they are there in every process to come."""
    tensors = {"w": torch.randn(40, 40), "column": torch.randn(400, 2) * 1e-3, "b": torch.ones(9)}
    laconic.expand(laconic.shrink(tensors))


def table(document: dict[str, Any]) -> str:
    """The rows in Markdown."""
    head = (
        "type", "tensors", "kept", "file, MiB", ".lac, MiB", "shrink, MiB", "expand, MiB"
    )  # fmt: skip
    rows = []
    for row in document["rows"]:
        kept = f"tolerance {row['tolerance']:g}" if row["tolerance"] else "every bit"
        sizes = [row[f"{name}_mebibytes"] for name in ("plain", "packed", "shrink", "expand")]
        rows.append([row["dtype"], row["tensors"], kept, *(f"{size:.0f}" for size in sizes)])
    least = f"{document['idle_mebibytes']:.0f}"
    rows.append(["", "none", "", "0", "0", least, least])
    return markdown_table(head, rows, words=3)


def main() -> None:
    """Measure all, and write memory.json and the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mebibytes", type=int, default=32, help="of each file")
    size_bytes, started = parser.parse_args().mebibytes << 20, time.time()
    load()
    cases = [(dtype, "a row", 0.0) for dtype in TORCH_DTYPES]
    cases += [("F32", kind, 0.0) for kind in ("a square", "a column", "16 squares")]
    cases += [(dtype, "a row", 0.01) for dtype in FLOATS]
    cases += [("F32", kind, 0.01) for kind in ("a square", "a column", "16 squares")]
    document = {
        "title": "Memory of shrink and expand",
        "rows": [measure(dtype, kind, size_bytes, tolerance) for dtype, kind, tolerance in cases],
        "idle_mebibytes": peak_mebibytes(lambda: None),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "run": describe_run(
            "python benchmarks/network/memory.py", started, HERE.parents[1], seeds=[0]
        ),
    }
    (HERE / "memory.json").write_text(json.dumps(document, indent=1) + "\n")
    before, rest = PAGE.read_text().split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    PAGE.write_text(before + MARKS[0] + table(document) + MARKS[1] + after)


if __name__ == "__main__":
    main()
