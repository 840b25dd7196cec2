"""The Fourier-slice operator: its error against analytic blobs, its adjoint, its speed.

    python experiments/imaging/operator/run.py            # results.json beside this file
    python experiments/imaging/operator/run.py --growth   # the growth alone; keeps the rest

The error is that of images of blobs whose projections are known exactly, relative to their norm,
for boxes of even and odd sizes. Speed is that of the loss's value and gradient for 256 images, in
turns with the projection in position space and, where it is installed, torch-fourier-slice. Growth
is the processor time of one more image, against the size of the box; the transforms of the volume
are not part of it.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from laconic.evaluation.report.provenance import describe_run
from laconic.imaging import position, rotations, slices
from laconic.imaging.phantoms import random_blobs

HERE = Path(__file__).resolve().parent
SIZES = (32, 33, 64, 65, 128)
RADII = (0.2, 0.3)
"""Of the ball that holds the blobs, in boxes; a fifth is what a particle takes in a usual box."""
WIDTH = 1.5
IMAGES = 64
SPEED_SIZES = (32, 64, 128, 192)
SPEED_IMAGES = 256
TURNS = 3
GROWTH_IMAGES = (16, 256)
GROWTH_TRIES = 3
MOST_GROWTH = 2.5
"""Largest exponent of the size: nearer to the 2 of slices than to the 3 of position space."""


def errors(size: int, radius: float) -> dict[str, float]:
    """Relative errors in percent."""
    generator = torch.Generator().manual_seed(size)
    blobs = random_blobs(20, radius * size - WIDTH, WIDTH, generator)
    turns = rotations.uniform(IMAGES, generator)
    shifts = 3 * (torch.rand(IMAGES, 2, generator=generator, dtype=torch.float64) - 0.5)
    volume, truth = blobs.volume(size), blobs.images(size, turns, shifts)

    def percent(images: Tensor) -> float:
        return round(100 * float((images - truth).norm() / truth.norm()), 4)

    found = {
        f"padding {padding}": percent(slices.project(volume, turns, shifts, padding=padding))
        for padding in (1, 2, 3)
    }
    found["padding 2, narrow"] = percent(slices.project(volume, turns, shifts, wide=False))
    if size <= 33:
        found["position space"] = percent(position.project(volume, turns, shifts))
    return found


def adjoint_gap() -> float:
    """|<A v, x> - <v, A' x>| / |<A v, x>| in double precision."""
    size, grid = 32, 64
    generator = torch.Generator().manual_seed(0)
    turns = rotations.uniform(20, generator)
    spectrum = torch.fft.rfftn(torch.randn(grid, grid, grid, generator=generator).double())
    half = slices.to_slices(torch.randn(20, size, size, generator=generator).double())
    read = slices.read_slices(spectrum, turns, size)
    inside = slices.read_slices(torch.ones_like(spectrum), turns, size) != 0
    left = float((slices.to_images(read, size) * slices.to_images(half, size)).sum())
    total = torch.zeros_like(spectrum)
    slices.add_slices(half * inside, turns, total)
    both = torch.fft.irfftn(slices.with_mirrors(total), s=(grid,) * 3)
    right = float((both * torch.fft.irfftn(spectrum, s=(grid,) * 3)).sum()) * grid**3 / size**2
    return abs(left - right) / abs(left)


def opponents() -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Projections by name: of a volume, in poses."""
    found: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "wide slices": lambda v, r: slices.project(v, r),
        "narrow slices": lambda v, r: slices.project(v, r, wide=False),
    }
    try:
        from torch_fourier_slice import project_3d_to_2d
    except ImportError:
        return found
    # Its matrices turn coordinates of the image into those of the volume.
    found["torch-fourier-slice"] = lambda v, r: project_3d_to_2d(v, r.mT.float())
    return found


def seconds(operator: Callable[[Tensor, Tensor], Tensor], volume: Tensor, turns: Tensor) -> float:
    """Of a loss's value and gradient."""
    leaf = volume.clone().requires_grad_()
    began = time.perf_counter()
    operator(leaf, turns).square().sum().backward()
    return time.perf_counter() - began


def speed(size: int, images: int) -> dict[str, float]:
    """Medians in seconds, the operators in turns; position space by a few images."""
    generator = torch.Generator().manual_seed(0)
    volume = torch.randn(size, size, size, generator=generator)
    turns = rotations.uniform(images, generator)
    few = max(1, min(images, 2**23 // size**3))
    times: dict[str, list[float]] = {}
    for _ in range(TURNS + 1):
        for name, operator in opponents().items():
            times.setdefault(name, []).append(seconds(operator, volume, turns))
        part = seconds(position.project, volume, turns[:few]) * images / few
        times.setdefault("position space", []).append(part)
    return {name: round(statistics.median(values[1:]), 4) for name, values in times.items()}


def growth(sizes: Sequence[int]) -> dict[str, dict[str, float]]:
    """Processor seconds of the loss's value and gradient: with few images, many, of one image."""
    found = {}
    for size in sizes:
        generator = torch.Generator().manual_seed(0)
        volume = torch.randn(size, size, size, generator=generator)
        turns = rotations.uniform(max(GROWTH_IMAGES), generator)
        spent = []
        for images in GROWTH_IMAGES:
            tries = []
            for _ in range(GROWTH_TRIES):
                began = time.process_time()
                seconds(lambda v, r: slices.project(v, r, wide=False), volume, turns[:images])
                tries.append(time.process_time() - began)
            spent.append(min(tries))
        one = (spent[1] - spent[0]) / (GROWTH_IMAGES[1] - GROWTH_IMAGES[0])
        few, many = (f"{images} images" for images in GROWTH_IMAGES)
        found[str(size)] = {few: spent[0], many: spent[1], "one image": one}
        print(size, found[str(size)], flush=True)
    return {size: {k: round(v, 5) for k, v in row.items()} for size, row in found.items()}


def growth_row(found: dict[str, dict[str, float]]) -> dict[str, Any]:
    """The exponent between 64 pixels and the largest box."""
    last = max(found, key=int)
    ratio = found[last]["one image"] / found["64"]["one image"]
    exponent = round(math.log(ratio) / math.log(int(last) / 64), 2)
    return {
        "name": f"exponent of the cost of an image, 64 to {last} pixels",
        "target": f"<= {MOST_GROWTH:g}",
        "ours": exponent,
        "met": exponent <= MOST_GROWTH,
    }


def targets(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The targets beside what was measured."""
    near = found["errors"]["0.2"]
    worst = {p: max(sizes[p] for sizes in near.values()) for p in ("padding 2", "padding 3")}
    fast = found["speed"].get("128")
    rows = [
        ("error at padding 2, in percent", "<= 0.6", worst["padding 2"], worst["padding 2"] <= 0.6),
        ("error at padding 3, in percent", "<= 0.2", worst["padding 3"], worst["padding 3"] <= 0.2),
        ("adjoint, relative gap", "<= 1e-6", found["adjoint_gap"], found["adjoint_gap"] <= 1e-6),
    ]
    if fast:
        for opponent, least in (("position space", 10), ("torch-fourier-slice", 1)):
            if opponent in fast:
                ratio = round(fast[opponent] / fast["wide slices"], 2)
                name = f"times as fast as {opponent}, 128 pixels"
                rows.append((name, f">= {least}", ratio, ratio >= least))
    named = [dict(zip(("name", "target", "ours", "met"), row, strict=True)) for row in rows]
    return [*named, growth_row(found["growth"])]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--speed-sizes", type=int, nargs="*", default=SPEED_SIZES)
    parser.add_argument("--images", type=int, default=SPEED_IMAGES)
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    parser.add_argument("--growth", action="store_true", help="measure it alone, keep the rest")
    options = parser.parse_args()
    began = time.time()
    if options.growth:
        kept = json.loads(options.out.read_text())
        kept["growth"] = growth(SPEED_SIZES)
        kept["targets"] = targets(kept)
        options.out.write_text(json.dumps(kept, indent=1) + "\n")
        return
    found: dict[str, Any] = {
        "errors": {
            str(radius): {str(size): errors(size, radius) for size in options.sizes}
            for radius in RADII
        },
        "adjoint_gap": adjoint_gap(),
        "speed": {str(size): speed(size, options.images) for size in options.speed_sizes},
        "growth": growth(SPEED_SIZES),
    }
    command = "python experiments/imaging/operator/run.py"
    document = {
        "title": "Imaging: the Fourier-slice operator",
        "run": describe_run(command, began, HERE.parents[2], images=options.images),
        "targets": targets(found),
        **found,
    }
    options.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
