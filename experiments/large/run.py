"""Memory and seconds for a 4096x4096 photograph, compressed and decompressed by the command line.

    python experiments/large/run.py [--side 4096] [--quality 40]

Kodak pictures are put side by side up to the size. Peak memory is the operating system's own
account of each finished process.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from laconic.data.datasets import data_root
from laconic.data.folders import list_images, load_rgb
from laconic.evaluation.report.provenance import describe_run
from laconic.metrics import psnr

HERE = Path(__file__).resolve().parent
LIMIT_BYTES = 4 << 30


def mosaic(side: int) -> np.ndarray:
    """`(side, side, 3)` uint8 of Kodak pictures side by side, every other row upside down."""
    pictures = [load_rgb(path) for path in list_images(data_root() / "kodak")]
    pictures = [p if p.shape[1] == 768 else p.transpose(1, 0, 2) for p in pictures]
    rows = []
    for row in range(-(-side // 512)):
        chosen = [pictures[(7 * row + k) % len(pictures)] for k in range(-(-side // 768))]
        rows.append(np.concatenate([p[:: 1 - 2 * (row % 2)] for p in chosen], axis=1))
    return np.ascontiguousarray(np.concatenate(rows)[:side, :side])


def measured(arguments: list[str]) -> dict[str, Any]:
    """Run one command of laconic; its wall seconds and peak memory."""
    started = time.time()
    command = [sys.executable, "-c", "from laconic.cli import main; main()", *arguments]
    process = os.posix_spawn(command[0], command, os.environ)
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"laconic {' '.join(arguments)} failed")
    seconds = round(time.time() - started, 1)
    return {"seconds": seconds, "peak_bytes": usage.ru_maxrss * 1024}


def main() -> None:
    """Measure both ways and write results.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--quality", type=int, default=40)
    wanted = parser.parse_args()
    started = time.time()
    with tempfile.TemporaryDirectory() as folder:
        source, file, back = (Path(folder) / name for name in ("in.png", "in.lac", "out.png"))
        pixels = mosaic(wanted.side)
        Image.fromarray(pixels).save(source, compress_level=1)
        quality = ["--quality", str(wanted.quality)]
        encode = measured(["compress", str(source), "-o", str(file), *quality])
        decode = measured(["decompress", str(file), "-o", str(back)])
        bits = file.stat().st_size * 8 / wanted.side**2
        decibels = psnr(pixels, load_rgb(back))
    peak = max(encode["peak_bytes"], decode["peak_bytes"])
    target = {
        "issue": 2,
        "name": f"peak memory for {wanted.side}x{wanted.side}, GiB",
        "target": "below 4",
        "ours": round(peak / 2**30, 3),
        "met": peak < LIMIT_BYTES,
    }
    document = {
        "title": "A large picture",
        "run": describe_run("python experiments/large/run.py", started, HERE.parents[1], seeds=[]),
        "targets": [target],
        "encode": encode,
        "decode": decode,
        "bpp": round(bits, 4),
        "psnr": round(decibels, 3),
    }
    (HERE / "results.json").write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
