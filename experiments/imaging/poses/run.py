"""Unknown poses: GroEL (D7) and the 30S ribosome (C1), from a map at 40 angstroms.

    python experiments/imaging/poses/run.py [groel|ribosome ...] [--images 2000]

Images are simulated from atomic models, their poses are searched by `refine`, and compared with
the true ones up to symmetry. Results are written after each case; those of other cases are kept.

Source: Ullrich 5.6, figure 5.6, where gradients fail.
"""

import argparse
import json
import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from laconic.data.microscopy.maps import read_map
from laconic.data.microscopy.particles import read_particles
from laconic.evaluation.imaging import refinement
from laconic.evaluation.imaging.simulation import Request, run
from laconic.evaluation.imaging.views import rotations_of
from laconic.evaluation.report.provenance import describe_run
from laconic.imaging import rotations, slices
from laconic.imaging.poses.axes import laid_on_axes
from laconic.imaging.poses.rounds import lowpass
from laconic.imaging.poses.search import Search, SearchSettings
from laconic.metrics.fourier_shells import resolution, shell_correlation

HERE = Path(__file__).resolve().parent
SNR, BOX, LOW_PASS, SHIFTS = 0.1, 64, 40.0, 4.0
KNOWN = 512
"""Images that are searched in the true volume, too."""


@dataclass(frozen=True)
class Case:
    """A molecule: its file, its symmetry, the pixel size that fills the box, the target."""

    file: str
    group: str
    pixel_size: float
    target: float


CASES = {
    "groel": Case("groel_1oel.pdb.gz", "D7", 3.2, 0.9),
    "ribosome": Case("ribosome_30s.pdb.gz", "C1", 4.2, 0.95),
}


def simulated(model: Path, case: Case, number: int, width: float, folder: Path, seed: int) -> float:
    """Write particles and the true map to a folder; returns the noise's standard deviation."""
    made = run(
        model,
        Request(BOX, case.pixel_size, number, snr=SNR, seed=seed, shifts=SHIFTS, atom_width=width),
    )
    with (folder / "p.mrcs").open("wb") as file:
        file.writelines(made.stack)
    (folder / "p.star").write_text(made.star(folder / "p.mrcs", folder / "p.star"))
    (folder / "truth.mrc").write_bytes(made.map_bytes)
    return made.noise


def shares(found: Tensor, truth: Tensor, group: Tensor) -> dict[str, float]:
    """How many poses lie within 5 degrees, up to symmetry; the errors' middle."""
    angles = rotations.distance(found, truth, group)
    return {
        "within_5_degrees": round(float((angles < 5).double().mean()), 4),
        "median_degrees": round(float(angles.median()), 3),
    }


def with_true_volume(folder: Path, case: Case, noise: float, number: int) -> dict[str, float]:
    """The same search in the true volume, with the true noise: what the images can say."""
    volume = torch.from_numpy(read_map(folder / "truth.mrc").density)
    volume, axes = laid_on_axes(volume, rotations.symmetry(case.group), 12)
    particles = read_particles(folder / "p.star")
    shells = torch.full((BOX // 2 + 1,), noise**2)
    settings = SearchSettings(reach=SHIFTS * 1.5 / case.pixel_size)
    search = Search(
        slices.to_spectrum(volume), BOX, shells, slices.largest_band(BOX), settings, case.group
    )
    images = torch.from_numpy(particles.images(torch.arange(number).numpy()))
    parts = [search(part).rotations[:, 0] for part in images.split(64)]
    truth = rotations_of(particles)[:number] @ axes.mT
    return shares(torch.cat(parts), truth, search.group)


def refined(folder: Path, case: Case, rounds: int) -> dict[str, Any]:
    """Poses found from a map at 40 angstroms, and what the volume is worth."""
    particles = read_particles(folder / "p.star")
    density = read_map(folder / "truth.mrc").density
    group = rotations.symmetry(case.group)
    settings = refinement.Settings(
        case.group, LOW_PASS, 1.5 * SHIFTS, rounds=rounds, correct_transfer=False
    )
    # `refine` starts at the file's origins, which are to be found here.
    blind = replace(particles, origins=0 * particles.origins, angles=None)
    wall, processor = time.perf_counter(), time.process_time()
    shown, found = refinement.refine(blind, density, settings)
    seconds = {
        "wall": round(time.perf_counter() - wall),
        "processor": round(time.process_time() - processor),
    }
    band = BOX * case.pixel_size / LOW_PASS
    truth = torch.from_numpy(density)
    _, axes = laid_on_axes(lowpass(truth, band), group, band)
    poses = found.poses.rotations[:, 0]
    facts = shares(poses, rotations_of(particles) @ axes.mT, group)
    angles = rotations.distance(poses, rotations_of(particles) @ axes.mT, group)
    straight = laid_on_axes(truth, group, band)[0]
    curve = shell_correlation(shown.whole.posterior.volume(), straight)
    return facts | {
        "seconds": seconds,
        "median_spread_degrees": round(float(found.poses.spread().median()), 3),
        "error_over_spread": round(float((angles / found.poses.spread()).median()), 3),
        "half_resolution": round(shown.half_resolution, 2),
        "resolution_against_truth": round(resolution(curve, case.pixel_size, 0.5), 2),
    }


def measure(name: str, data: Path, number: int, rounds: int, seed: int) -> dict[str, Any]:
    """One molecule."""
    case = CASES[name]
    width = 0.4 * case.pixel_size
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        noise = simulated(data / "cryo-em" / case.file, case, number, width, folder, seed)
        known = with_true_volume(folder, case, noise, min(number, KNOWN))
        found = refined(folder, case, rounds)
    settings = {"group": case.group, "images": number, "rounds": rounds, "seed": seed}
    return settings | {"in the true volume": known, "from 40 angstroms": found}


def targets(cases: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the issue's table."""
    rows = []
    for name, facts in cases.items():
        found, goal = facts["from 40 angstroms"], CASES[name].target
        share, seconds = found["within_5_degrees"], found["seconds"]["processor"]
        rows += [
            {
                "name": f"{name} ({facts['group']}): poses within 5 degrees",
                "target": f">= {goal}", "ours": share, "met": share >= goal,
            },
            {
                "name": f"{name}: seconds of one core",
                "target": "<= 1800", "ours": seconds, "met": seconds <= 1800,
            },
        ]  # fmt: skip
    return rows


def main() -> None:
    """Measure the cases, write after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--data", type=Path, default=os.environ.get("LACONIC_DATA"))
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1, help="of poses, shifts and noise")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    options = parser.parse_args()
    if options.data is None:
        parser.error("set LACONIC_DATA, or give --data")
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"{', '.join(sorted(unknown))}: not one of {', '.join(CASES)}")
    started = time.time()
    cases = {}
    if options.out.exists():
        cases = json.loads(options.out.read_text())["cases"]
    for name in options.cases or CASES:
        cases[name] = measure(name, options.data, options.images, options.rounds, options.seed)
        command = "python experiments/imaging/poses/run.py"
        settings = {"images": options.images, "box": BOX, "snr": SNR, "low_pass": LOW_PASS}
        settings |= {"rounds": options.rounds, "seed": options.seed}
        document = {
            "title": "Imaging: unknown poses",
            "run": describe_run(command, started, HERE.parents[2], **settings),
            "targets": targets(cases),
            "cases": cases,
        }
        options.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
