"""Poses by gradients alone, with the volume known: the source's figure 5.6, and the search beside.

    python experiments/imaging/poses-by-gradient/run.py

Each image of GroEL is started at random poses, which Adam improves through the differentiable
Fourier slices. The figure shows the pose's error against iterations, one curve for each start. An
encoder that learns from simulated images of the same volume is measured on new images, alone and
with Newton steps from its modes.

Source: Ullrich 5.6: a Dirac posterior of the pose, the volume fixed to the truth; 5.5, the last
paragraph: amortised inference.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from laconic.data.microscopy.structures import read_atoms
from laconic.evaluation.report.provenance import describe_run
from laconic.imaging import rotations, slices
from laconic.imaging.poses.axes import laid_on_axes
from laconic.imaging.poses.encoder import Lesson, encoded, learned
from laconic.imaging.poses.posterior import Poses
from laconic.imaging.poses.search import Search, SearchSettings
from laconic.imaging.simulation import density, simulate

HERE = Path(__file__).resolve().parent
SIZE, PIXEL, SNR, BAND, RATE = 64, 3.2, 0.1, 31, 0.03


def descended(
    spectrum: Tensor, images: Tensor, starts: Tensor, steps: int, truth: Tensor, group: Tensor
) -> Tensor:
    """Errors in degrees after each step: (steps, poses)."""
    vectors = torch.zeros(len(starts), 3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([vectors], RATE)
    data = slices.to_slices(images) / SIZE
    errors = []
    for _ in range(steps):
        turns = rotations.from_vectors(vectors) @ starts
        left = data - slices.read_slices(spectrum, turns, SIZE, BAND) / SIZE
        optimiser.zero_grad()
        left.abs().square().sum().backward()
        optimiser.step()
        errors.append(rotations.distance(turns.detach(), truth, group))
    return torch.stack(errors)


def amortised(
    spectrum: Tensor, shells: Tensor, noise: float, steps: int, count: int, group: Tensor
) -> dict[str, Any]:
    """Shares of images within 5 degrees by an encoder, its cost, and the search's beside."""
    began = time.process_time()
    encoder = learned(spectrum, shells, 0.0, group="D7", lesson=Lesson(steps=steps))
    learning = time.process_time() - began
    generator = torch.Generator().manual_seed(2)
    truth = rotations.uniform(count, generator)
    clean = simulate(spectrum, truth, None, None, 0.0)
    images = clean + noise * torch.randn(clean.shape, generator=generator)
    settings = SearchSettings(reach=0.0)
    ways: dict[str, Callable[[], Poses]] = {
        "encoder": lambda: encoded(encoder, images),
        "encoder, Newton": lambda: encoded(
            encoder, images, spectrum=spectrum, noise=shells, band=BAND
        ),
        "search": lambda: Search(spectrum, SIZE, shells, BAND, settings, "D7")(images),
    }
    found: dict[str, Any] = {"steps": steps, "images": count, "learning_seconds": round(learning)}
    for name, way in ways.items():
        began = time.process_time()
        errors = rotations.distance(way().rotations[:, 0], truth, group)
        found[name] = {
            "within_5_degrees": round(float((errors < 5).double().mean()), 4),
            "median_degrees": round(float(errors.median()), 2),
            "milliseconds_an_image": round(1000 * (time.process_time() - began) / count, 1),
        }
    return found


def draw(errors: Tensor, path: Path) -> None:
    """One curve for each start."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4))
    axes.plot(errors.numpy(), color="tab:red", linewidth=0.5, alpha=0.5)
    axes.axhline(5, color="black", linestyle="--", linewidth=0.8)
    axes.set_xlabel("iterations")
    axes.set_ylabel("error of the pose in degrees, up to symmetry")
    figure.savefig(path, dpi=120, bbox_inches="tight")


def rows(gradient: float, search: float) -> list[dict[str, Any]]:
    """What the source says, and what the search must reach."""
    return [
        {
            "name": "starts from which gradients end within 5 degrees",
            "target": "<= 0.5", "ours": gradient, "met": gradient <= 0.5,
        },
        {
            "name": "images whose pose the search finds within 5 degrees",
            "target": ">= 0.9", "ours": search, "met": search >= 0.9,
        },
    ]  # fmt: skip


def main() -> None:
    """Descend, search, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("LACONIC_DATA"))
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--starts", type=int, default=12)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--lesson", type=int, default=3000, help="steps of the encoder")
    options = parser.parse_args()
    if options.data is None:
        parser.error("set LACONIC_DATA, or give --data")
    started = time.time()
    atoms = read_atoms(options.data / "cryo-em" / "groel_1oel.pdb.gz")
    places, weights = torch.from_numpy(atoms.places), torch.from_numpy(atoms.weights)
    group = rotations.symmetry("D7")
    volume, _ = laid_on_axes(density(places, weights, SIZE, PIXEL, 0.4 * PIXEL), group, 12)
    spectrum = slices.to_spectrum(volume / volume.std())
    generator = torch.Generator().manual_seed(1)
    truth = rotations.uniform(options.images, generator)
    clean = simulate(spectrum, truth, None, None, 0.0)
    noise = float(clean.var() / SNR) ** 0.5
    images = clean + noise * torch.randn(clean.shape, generator=generator)
    many = (images.repeat_interleave(options.starts, 0), truth.repeat_interleave(options.starts, 0))
    starts = rotations.uniform(len(many[0]), generator)
    errors = descended(spectrum, many[0], starts, options.steps, many[1], group)
    shells = torch.full((SIZE // 2 + 1,), noise**2)
    found = Search(spectrum, SIZE, shells, BAND, SearchSettings(reach=0.0), "D7")(images)
    angles = rotations.distance(found.rotations[:, 0], truth, group)
    draw(errors, HERE / "errors.png")
    shares = [round(float((e < 5).double().mean()), 4) for e in (errors[-1], angles)]
    document = {
        "title": "Imaging: poses by gradients",
        "run": describe_run(
            "python experiments/imaging/poses-by-gradient/run.py",
            started,
            HERE.parents[2],
            images=options.images,
            starts=options.starts,
            steps=options.steps,
        ),
        "targets": rows(*shares),
        "final_degrees": [round(float(e), 2) for e in errors[-1].sort().values],
        "search_degrees": [round(float(e), 2) for e in angles],
        "amortised": amortised(spectrum, shells, noise, options.lesson, 256, group),
    }
    (HERE / "results.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
