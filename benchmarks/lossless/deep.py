"""Bytes of lossless colour of 16 bits: photographs averaged to 16 bits, beside PNG and JPEG XL.

    python benchmarks/lossless/deep.py

Blocks of 8-bit photographs are averaged with 16 bits of precision: 3 x 3 in gamma light, 4 x 4 in
linear light; of the first also the upper 12, 10 and 8 bits, repeated to fill 16. PNG is our own
writer at level 9. JPEG XL needs the package imagecodecs, which Laconic does not use; without it
that column is empty.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import laconic
from laconic.data.datasets import data_root
from laconic.deep_image.rows import pack_rows
from laconic.evaluation.report.provenance import describe_run

HERE = Path(__file__).resolve().parent
PICTURES = "clic25val_*.webp"
EVERY = 4
EFFORTS = (7, 9)
Deep = NDArray[np.uint16]


def linear(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The curve of sRGB, of values from 0 to 1."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def gamma(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Its inverse."""
    return np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)


def average(path: Path, side: int, in_gamma: bool) -> Deep:
    """A photograph's blocks of side x side pixels, averaged in linear light."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")) / 255
    height, width = pixels.shape[0] // side, pixels.shape[1] // side
    cut = linear(pixels[: height * side, : width * side])
    mean = cut.reshape(height, side, width, side, 3).mean((1, 3))
    return np.round(65535 * (gamma(mean) if in_gamma else mean)).astype(np.uint16)


def repeat(samples: Deep, bits: int) -> Deep:
    """The upper bits, repeated to fill 16."""
    upper = samples >> np.uint16(16 - bits)
    return (upper << np.uint16(16 - bits) | upper >> np.uint16(2 * bits - 16)).astype(np.uint16)


def jpeg_xl(pictures: Sequence[Deep], effort: int) -> int | None:
    """Bytes in JPEG XL."""
    try:
        import imagecodecs
    except ImportError:
        return None
    return sum(
        len(imagecodecs.jpegxl_encode(one, lossless=True, effort=effort)) for one in pictures
    )


def measure(pictures: Sequence[Deep]) -> dict[str, float | None]:
    """Bits per pixel, and processor seconds per megapixel."""
    pixels = sum(one.shape[0] * one.shape[1] for one in pictures)
    started = time.process_time()
    files = [laconic.compress(one, lossless=True) for one in pictures]
    between = time.process_time()
    back = [np.asarray(laconic.decompress(file)) for file in files]
    ended = time.process_time()
    assert all(map(np.array_equal, pictures, back))
    sizes: dict[str, int | None] = {
        "laconic": sum(map(len, files)),
        "png": sum(len(pack_rows(one, 9)) for one in pictures),
    }
    sizes |= {f"jxl effort {effort}": jpeg_xl(pictures, effort) for effort in EFFORTS}
    found = {name: size and round(8 * size / pixels, 3) for name, size in sizes.items()}
    times = {"encode": between - started, "decode": ended - between}
    return found | {f"{k} s/MP": round(1e6 * v / pixels, 2) for k, v in times.items()}


def main() -> None:
    """Measure, and write deep.json."""
    started = time.time()
    paths = sorted((data_root() / "photos").glob(PICTURES))[::EVERY]
    bright = [average(path, 3, True) for path in paths]
    kinds: dict[str, Callable[[], list[Deep]]] = {
        "gamma light": lambda: bright,
        "linear light": lambda: [average(path, 4, False) for path in paths],
        **{
            f"{bits} bits": lambda bits=bits: [repeat(one, bits) for one in bright]
            for bits in (12, 10, 8)
        },
    }
    laconic.compress(bright[0][:20, :20], lossless=True)  # Compiles the loops.
    rows = {name: measure(make()) for name, make in kinds.items()}
    run = describe_run("python benchmarks/lossless/deep.py", started, HERE.parents[1], threads=1)
    record = {"run": run, "pictures": len(paths), "bits_per_pixel": rows}
    (HERE / "deep.json").write_text(json.dumps(record, indent=2) + "\n")
    for name, row in rows.items():
        print(name, row)


if __name__ == "__main__":
    main()
