"""Memory and seconds for a large photograph, by the command line: whole, and a part of it.

    python experiments/large/run.py [--side 16384] [--ways lossless lossy]

Kodak pictures are put side by side up to the size. Peak memory is the operating system's own
account of each finished process. Commands that are done are kept in `runs/large`: a second start
does only what is missing.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from laconic.data.datasets import data_root
from laconic.data.folders import list_images, load_rgb
from laconic.evaluation.report.provenance import describe_run

HERE = Path(__file__).resolve().parent
LIMIT_BYTES = 3 << 30
WAYS = {"lossless": ["--lossless", "--effort", "0"], "lossy": ["--quality", "40"]}
ROWS = 512
CROP = 700, 900, 512, 384
"""Column, row, width and height, in units of 1/4096 of the side but for the sizes."""


def main() -> None:
    """Measure all commands and write results.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=16384)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    wanted = parser.parse_args()
    Image.MAX_IMAGE_PIXELS = None
    started, side = time.time(), wanted.side
    folder = Path("runs/large") / str(side)
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "in.ppm"
    if not source.exists():
        write_mosaic(source, side)
    for way in wanted.ways:
        found = measure(folder, source, way, WAYS[way])
        if way == "lossy":
            found["psnr"] = round(decibels(source, folder / "lossy.png"), 3)
        command_line = f"python experiments/large/run.py --side {side} --ways {way}"
        run = describe_run(command_line, started, HERE.parents[1], seeds=[])
        document = {"title": f"A large picture, {way}", "run": run, "side": side}
        document |= {"targets": targets(found, way, side)} | found
        place = HERE / way / "results.json"
        place.parent.mkdir(exist_ok=True)
        place.write_text(json.dumps(document, indent=1) + "\n")
        print(json.dumps(document, indent=1))


def write_mosaic(path: Path, side: int) -> None:
    """Kodak pictures side by side, every other row upside down, as a PPM file."""
    pictures = [load_rgb(path) for path in list_images(data_root() / "kodak")]
    pictures = [p if p.shape[1] == 768 else p.transpose(1, 0, 2) for p in pictures]
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        file.write(f"P6 {side} {side} 255\n".encode())
        for row in range(-(-side // 512)):
            chosen = [pictures[(7 * row + k) % len(pictures)] for k in range(-(-side // 768))]
            band = np.concatenate([p[:: 1 - 2 * (row % 2)] for p in chosen], axis=1)
            file.write(np.ascontiguousarray(band[: side - 512 * row, :side]).tobytes())
    temporary.rename(path)


def measure(folder: Path, source: Path, way: str, options: list[str]) -> dict[str, Any]:
    """Compress, decompress, and decode a part, which must be that of the whole."""
    file, whole, part = (folder / f"{way}{end}" for end in (".lac", ".png", "-part.png"))
    side = int(folder.name)
    x, y = (side * place // 4096 for place in CROP[:2])
    crop = ",".join(map(str, (x, y, *CROP[2:])))
    found = {
        "encode": command(folder, f"{way}-encode", ["compress", source, "-o", file, *options]),
        "decode": command(folder, f"{way}-decode", ["decompress", file, "-o", whole]),
        "crop": command(folder, f"{way}-crop", ["decompress", file, "-o", part, "--crop", crop]),
    }
    with Image.open(whole) as image, Image.open(part) as cut:
        same = image.crop((x, y, x + CROP[2], y + CROP[3])).tobytes() == cut.tobytes()
    bits = 8 * file.stat().st_size
    return found | {"crop_is_exact": same, "bpp": round(bits / side**2, 4)}


def command(folder: Path, name: str, arguments: list[Any]) -> dict[str, Any]:
    """Run one command of laconic, unless it was run before; its seconds and peak memory."""
    record = folder / f"{name}.json"
    if record.exists():
        found: dict[str, Any] = json.loads(record.read_text())
        return found
    started = time.time()
    words = [*map(str, arguments), "--force"]
    program = [sys.executable, "-c", "from laconic.cli import main; main()", *words]
    process = os.posix_spawn(program[0], program, os.environ)
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"laconic {' '.join(words)} failed")
    found = {
        "seconds": round(time.time() - started, 1),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_bytes": usage.ru_maxrss * 1024,
    }
    record.write_text(json.dumps(found))
    print(name, found, flush=True)
    return found


def decibels(source: Path, shown: Path) -> float:
    """PSNR of two pictures, some rows at a time."""
    total = 0.0
    with Image.open(source) as one, Image.open(shown) as other:
        for top in range(0, one.height, ROWS):
            box = 0, top, one.width, min(top + ROWS, one.height)
            parts = [np.asarray(image.crop(box)).astype(np.float32) for image in (one, other)]
            total += float(np.square(parts[0] - parts[1]).sum(dtype=np.float64))
        mean = total / (3 * one.width * one.height)
    return float(10 * np.log10(255**2 / mean))


def targets(found: dict[str, Any], way: str, side: int) -> list[dict[str, Any]]:
    """The rows of the target table."""
    peak = max(found[name]["peak_bytes"] for name in ("encode", "decode"))
    return [
        {
            "issue": 23,
            "name": f"peak memory for {side}x{side}, {way}, both ways, GiB",
            "target": "at most 3",
            "ours": round(peak / 2**30, 3),
            "met": peak <= LIMIT_BYTES,
        },
        {
            "issue": 23,
            "name": f"a part of {side}x{side}, {way}, is that of the whole",
            "target": "exactly",
            "ours": "yes" if found["crop_is_exact"] else "no",
            "met": found["crop_is_exact"],
        },
    ]


if __name__ == "__main__":
    main()
