"""The contrast transfer function: a volume from images with it, beside one from images without.

    python experiments/imaging/ctf/run.py [--images 4000] [--box 64]

Images of GroEL are simulated and reconstructed as `laconic simulate` and `laconic reconstruct` do:
without a transfer function; and with those of the shipped table of 1,000 particles (defocus and
astigmatism of the deposited data set), corrected, and ignored. Poses and the noise's variance are
the same in all. So images with a transfer function have less signal for their noise: its square is
a half on the average. For comparison there are the volume from half of the images without one, and
images with a transfer function that have the same signal-to-noise ratio as those without.

Source: Ullrich 5.3 leaves the transfer function to future work.
"""

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from laconic.data.microscopy.maps import read_map
from laconic.data.microscopy.particles import read_particles
from laconic.evaluation.imaging.reconstruction import Settings, reconstruct
from laconic.evaluation.imaging.simulation import Request, run
from laconic.evaluation.report.provenance import describe_run
from laconic.metrics.fourier_shells import resolution, shell_correlation

HERE = Path(__file__).resolve().parent
SNR, WIDTH = 0.1, 256.0
"""Signal-to-noise ratio without a transfer function; edge of the box in angstroms."""


def noise_of(model: Path, request: Request) -> float:
    """The noise's standard deviation of a request; no image is made but the probes."""
    return run(model, request).noise


def case(model: Path, request: Request, folder: Path, ignore: bool) -> dict[str, Any]:
    """Simulate, reconstruct, compare with the truth."""
    simulated = run(model, request)
    stack, star, truth = (folder / name for name in ("p.mrcs", "p.star", "truth.mrc"))
    with stack.open("wb") as file:
        file.writelines(simulated.stack)
    star.write_text(simulated.star(stack, star))
    truth.write_bytes(simulated.map_bytes)
    began = time.process_time()
    found = reconstruct(read_particles(star), Settings(correct_transfer=not ignore))
    seconds = time.process_time() - began
    volume: Tensor = found.whole.posterior.volume()
    curve = shell_correlation(volume, torch.from_numpy(read_map(truth).density))
    return {
        "noise": round(simulated.noise, 4),
        "snr": round(float(request.snr or 0), 5),
        "angstroms": round(resolution(curve, request.pixel_size, 0.5), 3),
        "half_sets_angstroms": round(found.half_resolution, 3),
        "posterior_angstroms": round(found.posterior_resolution, 3),
        "processor_seconds": round(seconds, 1),
        "fsc": [round(float(value), 4) for value in curve],
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All cases by name."""
    folder = options.data / "cryo-em"
    model, table = folder / "groel_1oel.pdb.gz", folder / "1aon1000_ctf_gt.par.gz"
    plain = Request(options.box, WIDTH / options.box, options.images, SNR)
    half, same_ratio = replace(plain, number=options.images // 2), replace(plain, ctf=table)
    ratio = noise_of(model, same_ratio) / noise_of(model, plain)
    same_noise = replace(same_ratio, snr=SNR * ratio**2)
    requests = {
        "no transfer function": (plain, True),
        "no transfer function, half of the images": (half, True),
        "corrected, the same noise": (same_noise, False),
        "corrected, the same ratio": (same_ratio, False),
        "ignored, the same noise": (same_noise, True),
    }
    cases = {}
    for name, (request, ignore) in requests.items():
        with tempfile.TemporaryDirectory() as place:
            cases[name] = case(model, request, Path(place), ignore)
        print(name, {key: value for key, value in cases[name].items() if key != "fsc"}, flush=True)
    return cases


def targets(cases: dict[str, Any]) -> list[dict[str, Any]]:
    """The targets beside what was measured."""
    without = cases["no transfer function"]["angstroms"]
    rows = []
    for name in ("corrected, the same noise", "corrected, the same ratio"):
        ratio = round(cases[name]["angstroms"] / without, 3)
        title = f"{name}: wavelength at FSC 0.5 over that without a transfer function"
        rows.append({"name": title, "target": "<= 1.1", "ours": ratio, "met": ratio <= 1.1})
    return rows


def draw(cases: dict[str, Any], pixel: float, out: Path) -> None:
    """Correlation with the truth, shell by shell."""
    from matplotlib.figure import Figure

    from laconic.evaluation.report.figures import save_figure

    sheet = Figure(figsize=(6, 3.8), layout="constrained")
    axes = sheet.subplots()
    for name, found in cases.items():
        curve = found["fsc"]
        where = [shell / (2 * pixel * (len(curve) - 1)) for shell in range(len(curve))]
        axes.plot(where, curve, label=name, linewidth=1.3)
    axes.axhline(0.5, color="0.7", linewidth=0.8)
    axes.set(xlabel="1 / wavelength, 1 / angstrom", ylabel="FSC against the truth")
    axes.legend(fontsize=8)
    save_figure(sheet, out.with_name("fsc"))


def main() -> None:
    """Simulate, reconstruct, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("LACONIC_DATA"))
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    options = parser.parse_args()
    if options.data is None:
        parser.error("set LACONIC_DATA, or give --data")
    options.data, started = Path(options.data), time.time()
    cases = measure(options)
    draw(cases, WIDTH / options.box, options.out)
    document = {
        "title": "Imaging: the contrast transfer function",
        "run": describe_run(
            "python experiments/imaging/ctf/run.py",
            started,
            HERE.parents[2],
            images=options.images,
            box=options.box,
        ),
        "targets": targets(cases),
        "cases": cases,
    }
    options.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
