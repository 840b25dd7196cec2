"""A volume from images of known pose: the source's table 5.1 and figures 5.4 and 5.5.

    python experiments/imaging/known-poses/run.py [--images 40000] [--box 128] [--saved FILE]

Images of GroEL's ring of 14 are simulated and inserted batch by batch; no image is kept. Insertion
is linear: images and unit noise are inserted once, and their sums give the statistics at every
signal-to-noise ratio, with one draw of noise, scaled. The posterior is computed in closed form, for
all images and for half sets, and from beams within a cone. What was inserted is kept in a file, if
one is given, so that an interrupted run goes on.

Source: Ullrich 5.6.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from laconic.data.microscopy.structures import read_atoms
from laconic.evaluation.report.provenance import describe_run
from laconic.imaging import rotations, slices
from laconic.imaging.empirical import Fit, fit
from laconic.imaging.simulation import density
from laconic.imaging.statistics import Statistics, Views
from laconic.metrics.fourier_shells import (
    resolution,
    shell_correlation,
    shell_numbers,
    shell_sums,
)

HERE = Path(__file__).resolve().parent
BATCH = 125
SAMPLE = 500
PADDING = 3
"""Of the simulation, in the images' own box: as accurate as wide images at padding 2 (experiment
operator) at a third of their cost."""
CASES = {"noise-free": None, "medium noise": 0.04, "high noise": 0.01}
CONE = 15.0
CONE_IMAGES = 10_000
SAVE_BATCHES = 32


@dataclass
class Sums:
    """What was inserted of one half set, images and noise apart.

    Attributes:
        images: statistics without noise.
        noise: inserted spectra of noise of variance 1.
        powers: (2, size // 2 + 1): of the noise, and of its product with the images, by shell.
    """

    images: Statistics
    noise: Tensor
    powers: Tensor

    @classmethod
    def empty(cls, size: int) -> "Sums":
        images = Statistics.empty(size)
        powers = torch.zeros(2, size // 2 + 1, dtype=torch.float64)
        return cls(images, torch.zeros_like(images.data), powers)

    def at(self, scale: float) -> Statistics:
        """The statistics of images with noise of this standard deviation."""
        images = self.images
        power = images.power + scale**2 * self.powers[0] + 2 * scale * self.powers[1]
        data = images.data + scale * self.noise if scale else images.data
        return Statistics(data, images.weight, power, images.number, images.size)

    def tensors(self) -> dict[str, Tensor]:
        return {
            "data": torch.view_as_real(self.images.data),
            "weight": self.images.weight,
            "power": self.images.power,
            "number": torch.tensor([self.images.number]),
            "noise": torch.view_as_real(self.noise),
            "powers": self.powers,
        }

    @classmethod
    def of(cls, found: dict[str, Tensor], size: int) -> "Sums":
        data, noise = (torch.view_as_complex(found[name]) for name in ("data", "noise"))
        number = int(found["number"])
        images = Statistics(data, found["weight"], found["power"], number, size)
        return cls(images, noise, found["powers"])


@dataclass
class Gathered:
    """Both half sets, and seconds of one core by what they were spent on."""

    halves: list[Sums]
    seconds: dict[str, float]

    def save(self, path: Path, batches: int) -> None:
        tensors = {
            f"{number}.{name}": tensor
            for number, half in enumerate(self.halves)
            for name, tensor in half.tensors().items()
        }
        temporary = path.with_name(path.name + ".new")
        facts = {"batches": str(batches), "seconds": json.dumps(self.seconds)}
        save_file(tensors, temporary, facts)
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path, size: int) -> tuple["Gathered", int]:
        with safe_open(path, "pt") as file:
            facts = file.metadata()
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        halves = [
            Sums.of({name[2:]: t for name, t in found.items() if name[0] == number}, size)
            for number in "01"
        ]
        return cls(halves, json.loads(facts["seconds"])), int(facts["batches"])


class Scene:
    """The molecule, its poses, and the images of a batch with unit noise, the same at each call."""

    def __init__(self, truth: Tensor, turns: Tensor, seed: int) -> None:
        self.size, self.turns, self.seed = len(truth), turns, seed
        self.spectrum = slices.to_spectrum(truth, PADDING)

    def batch(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """Rotations, images without noise, noise."""
        part = self.turns[BATCH * number : BATCH * (number + 1)]
        images = slices.images_of(self.spectrum, part, padding=PADDING, wide=False)
        generator = torch.Generator().manual_seed(1000 * self.seed + number)
        return part, images, torch.randn(images.shape, generator=generator)

    def sample(self, scale: float) -> Views:
        """The first images."""
        batches = range(min(SAMPLE, len(self.turns)) // BATCH)
        found = [self.batch(number) for number in batches]
        images = torch.cat([images + scale * noise for _, images, noise in found])
        return Views(images, torch.cat([part for part, _, _ in found]))


def gather(scene: Scene, saved: Path | None) -> Gathered:
    """Simulate and insert all images; batches belong to the half sets in turn."""
    size, count = scene.size, len(scene.turns) // BATCH
    found, start = Gathered([Sums.empty(size) for _ in range(2)], {}), 0
    if saved is not None and saved.exists():
        found, start = Gathered.load(saved, size)
    for number in range(start, count):
        half = found.halves[number % 2]
        turns, images, noise = timed(found.seconds, "simulation", lambda n=number: scene.batch(n))
        views = Views(images, turns)
        timed(found.seconds, "insertion", lambda v=views, h=half: h.images.insert(v))
        spectra = slices.to_slices(noise) / size
        cross = (spectra * (slices.to_slices(images) / size).conj()).real.sum(0)
        half.powers[0] += shell_sums(spectra.abs().square().sum(0), size)
        half.powers[1] += shell_sums(cross, size)
        slices.add_slices(spectra, turns, half.noise)
        if (number + 1) % SAVE_BATCHES == 0:
            print(f"{BATCH * (number + 1)} images", found.seconds, flush=True)
            if saved is not None:
                found.save(saved, number + 1)
    if saved is not None:
        found.save(saved, count)
    return found


def timed(seconds: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    """Call, and add the processor's seconds."""
    began = time.process_time()
    result = work()
    seconds[name] = seconds.get(name, 0.0) + time.process_time() - began
    return result


def solved(found: Gathered, scene: Scene, truth: Tensor, pixel: float, scale: float) -> Any:
    """Posteriors of all images and of half sets, compared."""
    seconds = dict(found.seconds)
    halves = [half.at(scale) for half in found.halves]
    views, both = scene.sample(scale), halves[0] + halves[1]
    whole = timed(seconds, "solution", lambda: fit(both, views=views))
    learned = {"noise": whole.noise, "prior": whole.prior}
    parts = [fit(half, **learned, definite=whole.posterior.definite) for half in halves]
    case = {"images": both.number, **curves(whole, parts, truth, pixel)}
    case["processor_seconds"] = {key: round(value, 1) for key, value in seconds.items()}
    return case


def curves(whole: Fit, halves: list[Fit], truth: Tensor, pixel: float) -> dict[str, Any]:
    """Correlations with the truth and between halves, and what the posterior says by itself."""
    first, second = (half.posterior.volume() for half in halves)
    ratio = whole.posterior.spectral_snr()
    half_ratio = halves[0].posterior.spectral_snr()
    found = {
        "FSC(all, truth)": shell_correlation(whole.posterior.volume(), truth),
        "FSC(half, truth)": shell_correlation(first, truth),
        "FSC(half, half)": shell_correlation(first, second),
        "a/(1+a)": ratio / (1 + ratio),
        "sqrt(a/(1+a))": (ratio / (1 + ratio)).sqrt(),
        "a/(1+a), half": half_ratio / (1 + half_ratio),
    }
    at = {
        "all, 0.5 against truth": resolution(found["FSC(all, truth)"], pixel, 0.5),
        "sqrt(a/(1+a)) of all, 0.5": resolution(found["sqrt(a/(1+a))"], pixel, 0.5),
        "half sets, 0.143": resolution(found["FSC(half, half)"], pixel, 0.143),
        "a/(1+a) of all, 0.143": resolution(found["a/(1+a)"], pixel, 0.143),
        "a/(1+a) of one half, 0.143": resolution(found["a/(1+a), half"], pixel, 0.143),
    }
    inner = slice(1, -1)
    against = {
        name: (found[name] - found["FSC(all, truth)"])[inner].abs().mean()
        for name in ("sqrt(a/(1+a))", "a/(1+a)")
    }
    above = (found["sqrt(a/(1+a))"] - found["FSC(half, half)"])[inner]
    return {
        "angstroms": {name: round(value, 3) for name, value in at.items()},
        "mean_gap": {name: round(float(gap), 4) for name, gap in against.items()},
        "sqrt_above_half_sets": {
            "mean": round(float(above.mean()), 4),
            "share_of_shells": round(float((above > -0.005).double().mean()), 3),
        },
        "curves": {name: [round(float(v), 4) for v in curve] for name, curve in found.items()},
    }


def auroc(unseen: Tensor, seen: Tensor) -> float:
    """How often an unseen coefficient has a larger variance than a seen one."""
    values = torch.cat([unseen, seen])
    ranks = values.argsort().argsort().double() + 1
    total = float(ranks[: len(unseen)].sum()) - len(unseen) * (len(unseen) + 1) / 2
    return total / (len(unseen) * len(seen))


def cone_case(found: Gathered, scene: Scene, scale: float) -> dict[str, Any]:
    """Beams within a cone: which coefficients the posterior knows to be unseen."""
    size = scene.size
    both = found.halves[0].at(scale) + found.halves[1].at(scale)
    posterior = fit(both, views=scene.sample(scale), prior=torch.ones(())).posterior
    axis = torch.fft.fftfreq(size, 1 / size)
    z, y, x = torch.meshgrid(axis, axis, axis[: size // 2 + 1].abs(), indexing="ij")
    radius = (z.square() + y.square() + x.square()).sqrt()
    angle = torch.rad2deg(torch.arcsin(z.abs() / radius.clamp(min=1e-9)))
    # A coefficient is unseen where no slice comes nearer than the reach of interpolation.
    inside = (shell_numbers(size) > 3) & (shell_numbers(size) < size // 2 - 1)
    distance = radius * torch.sin(torch.deg2rad(angle - CONE))
    unseen, seen = inside & (distance > 2), inside & (distance < 0)
    variance = posterior.variance
    return {
        "images": both.number,
        "auroc": round(auroc(variance[unseen], variance[seen]), 5),
        "median_variance_unseen": float(variance[unseen].median()),
        "median_variance_seen": float(variance[seen].median()),
        "slice": torch.fft.fftshift(variance[:, 0], dim=0).tolist(),
    }


def draw(cases: dict[str, Any], pixel: float, out: Path) -> None:
    """Figures: correlation curves; a central slice through the variance of the cone."""
    from matplotlib.figure import Figure

    from laconic.evaluation.report.figures import save_figure

    sheet = Figure(figsize=(12, 3.8), layout="constrained")
    for axes, name in zip(sheet.subplots(1, 3, sharey=True), CASES, strict=True):
        for label, values in cases[name]["curves"].items():
            where = [n / (2 * pixel * (len(values) - 1)) for n in range(len(values))]
            axes.plot(where, values, label=label, linewidth=1.3)
        axes.set(title=name, xlabel="1 / wavelength, 1 / angstrom", ylim=(-0.1, 1.05))
        for threshold in (0.143, 0.5):
            axes.axhline(threshold, color="0.7", linewidth=0.8)
    axes.legend(fontsize=7)
    save_figure(sheet, out.with_name("fsc"))
    sheet = Figure(figsize=(8, 4.6), layout="constrained")
    for axes, name in zip(sheet.subplots(1, 2), ("cone", "cone, medium noise"), strict=True):
        shown = axes.imshow(cases[name].pop("slice"), vmin=0, vmax=1, cmap="viridis")
        axes.set(title=name, xlabel="frequency x", ylabel="frequency z", yticks=[], xticks=[])
    sheet.colorbar(shown, ax=axes, label="variance, of the prior's 1")
    save_figure(sheet, out.with_name("cone"))


def targets(cases: dict[str, Any]) -> list[dict[str, Any]]:
    """The targets beside what was measured."""
    clean, medium, high = (cases[name] for name in CASES)
    fine = clean["angstroms"]["all, 0.5 against truth"]
    spent = clean["processor_seconds"]
    wall = round((spent["insertion"] + spent["solution"]) / 2, 1)
    name = "closed form: processor seconds of insertion and solution, over 2 cores"
    rows = [
        ("resolution without noise, 0.5 against truth, in angstroms", "<= 5.7", fine <= 5.7, fine),
        (name, "<= 60", wall <= 60, wall),
    ]
    for level, case in (("0.04", medium), ("0.01", high)):
        gap, above = case["mean_gap"]["sqrt(a/(1+a))"], case["sqrt_above_half_sets"]["mean"]
        rows += [
            (f"SNR {level}: sqrt(a/(1+a)) from FSC(all, truth), mean", "<= 0.05", gap <= 0.05, gap),
            (f"SNR {level}: sqrt(a/(1+a)) above FSC(half, half), mean", "> 0", above > 0, above),
        ]
        at = case["angstroms"]
        ratio = round(at["a/(1+a) of one half, 0.143"] / at["half sets, 0.143"], 3)
        name = f"SNR {level}: wavelength of a/(1+a) with N/2 over that of half sets with N"
        rows.append((name, "0.95 to 1.05", 0.95 <= ratio <= 1.05, ratio))
    for name in ("cone", "cone, medium noise"):
        value = cases[name]["auroc"]
        rows.append((f"missing {name}: AUROC of the variance", ">= 0.99", value >= 0.99, value))
    found = [dict(zip(("name", "target", "met", "ours"), row, strict=True)) for row in rows]
    return [{**row, "source": 5.82} if number == 0 else row for number, row in enumerate(found)]


def scenes(options: argparse.Namespace) -> tuple[Tensor, dict[str, Scene]]:
    """The molecule of standard deviation 1, and its scenes: all poses, and a cone of them."""
    size, pixel = options.box, options.pixel_size
    atoms = read_atoms(options.data / "cryo-em" / "groel_1oel.pdb.gz")
    places, weights = torch.from_numpy(atoms.places), torch.from_numpy(atoms.weights)
    truth = density(places, weights, size, pixel, 0.6 * pixel)
    truth = truth / truth.std()
    poses = {
        "all": rotations.uniform(options.images, torch.Generator().manual_seed(1)),
        "cone": rotations.cone(
            min(CONE_IMAGES, options.images), CONE, torch.Generator().manual_seed(2)
        ),
    }
    return truth, {name: Scene(truth, turns, n) for n, (name, turns) in enumerate(poses.items())}


def main() -> None:
    """Simulate, reconstruct, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("LACONIC_DATA"))
    parser.add_argument("--images", type=int, default=40000)
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--pixel-size", type=float, default=2.8)
    parser.add_argument("--saved", type=Path, help="what was inserted so far, without suffix")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    options = parser.parse_args()
    if options.data is None:
        parser.error("set LACONIC_DATA, or give --data")
    started = time.time()
    truth, placed = scenes(options)
    pixel, cases = options.pixel_size, {}
    probe = placed["all"].batch(0)[1]
    scales = {
        name: (float(probe.var()) / snr) ** 0.5 if snr else 0.0 for name, snr in CASES.items()
    }
    for name, scene in placed.items():
        saved = options.saved and options.saved.with_suffix(f".{name}")
        found = gather(scene, saved)
        if name == "all":
            for case, scale in scales.items():
                cases[case] = solved(found, scene, truth, pixel, scale)
                print(case, cases[case]["angstroms"], cases[case]["processor_seconds"], flush=True)
        else:
            cases["cone"] = cone_case(found, scene, 0.0)
            cases["cone, medium noise"] = cone_case(found, scene, scales["medium noise"])
    draw(cases, pixel, options.out)
    run = describe_run(
        "python experiments/imaging/known-poses/run.py",
        started,
        HERE.parents[2],
        images=options.images,
        box=options.box,
        pixel_size=pixel,
    )
    document = {
        "title": "Imaging: known poses",
        "run": run,
        "targets": targets(cases),
        "cases": cases,
    }
    options.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
