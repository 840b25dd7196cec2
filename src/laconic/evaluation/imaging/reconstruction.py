"""A volume from a STAR file: statistics of both half sets, posteriors, resolution.

The images are read once. Half sets are the file's own (rlnRandomSubset) or alternate; the
statistics of all images are the sum of theirs. What was inserted is kept in a file now and then,
so that an interrupted run goes on.
"""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from laconic.data.microscopy.particles import Particles
from laconic.errors import InputError
from laconic.evaluation.imaging.views import BATCH, views_of
from laconic.imaging.empirical import Fit, fit
from laconic.imaging.posterior import VolumePosterior
from laconic.imaging.slices import PADDING, largest_band
from laconic.imaging.statistics import Statistics, Views
from laconic.imaging.variational import KINDS, Descent, descend
from laconic.metrics.fourier_shells import resolution, shell_correlation

SAVE_SECONDS = 60.0
BYTES_PER_PLACE, BYTES_PER_SUM = 60, 6
"""Memory for each place of the padded grid: two half sets and the transforms of a solution; the
statistics of each set more."""
NOISE_IMAGES = 1024
"""Images that the noise is learned from."""
POSTERIORS = ("closed-form", *KINDS)
Tick = Callable[[int, int], None]


@dataclass(frozen=True)
class Settings:
    """How to reconstruct.

    Attributes:
        finest: wavelength in angstroms below which nothing is used; None: all that pixels show.
        invert: the files' particles are black.
        correct_transfer: use the contrast transfer function where its parameters are known.
        prior: "learned" for each shell, or "unit": variance 1, as in the source.
        padding: times the size: the grid that images are inserted into.
        posterior: "closed-form"; or by stochastic gradients as in the source, "gaussian" or
            "delta" (all of it at its mode, MAP).
        epochs: passes through the images, of gradients.
    """

    finest: float | None = None
    invert: bool = False
    correct_transfer: bool = True
    prior: str = "learned"
    padding: int = PADDING
    posterior: str = "closed-form"
    epochs: int = 30

    def __post_init__(self) -> None:
        if self.posterior not in POSTERIORS:
            raise InputError(f"posterior: '{self.posterior}' is not one of {', '.join(POSTERIORS)}")
        if self.epochs < 1:
            raise InputError(f"epochs: {self.epochs} is less than 1")
        if self.finest is not None and self.posterior != "closed-form":
            raise InputError("finest: gradients use all frequencies; leave it out")
        if self.prior not in ("learned", "unit"):
            raise InputError(f"prior: '{self.prior}' is not one of learned, unit")


@dataclass(frozen=True)
class Reconstruction:
    """A volume and how far it can be believed.

    Attributes:
        whole: the posterior of all images, with the noise and the prior of each shell.
        halves: volumes of the two half sets, each (size, size, size).
        correlation: (size // 2 + 1,): between the halves, shell by shell.
        pixel_size: in angstroms.
        images: how many there were.
    """

    whole: Fit
    halves: tuple[Tensor, Tensor]
    correlation: Tensor
    pixel_size: float
    images: int

    @property
    def half_resolution(self) -> float:
        """Wavelength in angstroms at which the halves' correlation falls below 0.143."""
        return resolution(self.correlation, self.pixel_size, 0.143)

    @property
    def posterior_resolution(self) -> float:
        """Wavelength at which a / (1 + a) of (5.19) falls below 0.143, from all images."""
        ratio = self.whole.posterior.spectral_snr()
        return resolution(ratio / (1 + ratio), self.pixel_size, 0.143)


def reconstruct(
    particles: Particles,
    settings: Settings,
    saved: Path | None = None,
    tick: Tick = lambda done, total: None,
    descent_tick: Tick = lambda done, total: None,
) -> Reconstruction:
    """Reconstruct a volume from particles of known pose.

    Args:
        particles: with poses.
        settings: how.
        saved: a file for what was inserted so far; it is read if it is there, and removed at the
            end.
        tick: called with the images inserted and all.
        descent_tick: called with the batches of gradients done and all.

    Raises:
        InputError: no poses, fewer than two particles, images that cannot be read, or a saved file
            of other settings.
    """
    if len(particles) < 2:
        raise InputError("the STAR file has one particle; half sets take two or more")
    sets = half_sets(particles)
    halves = _insert(particles, settings, sets, saved, tick)
    sample = np.sort(np.concatenate([part[: NOISE_IMAGES // 2] for part in sets]))
    views = _join(_views(particles, sample, settings))
    prior = torch.ones(()) if settings.prior == "unit" else None
    whole = fit(halves[0] + halves[1], views=views, prior=prior)
    if settings.posterior != "closed-form":
        whole = _descended(particles, settings, whole, descent_tick)
    definite = whole.posterior.definite
    first, second = (
        fit(half, noise=whole.noise, prior=whole.prior, definite=definite).posterior.volume()
        for half in halves
    )
    if saved is not None:
        saved.unlink(missing_ok=True)
    return Reconstruction(
        whole,
        (first, second),
        shell_correlation(first, second),
        particles.pixel_size,
        len(particles),
    )


def _descended(particles: Particles, settings: Settings, closed: Fit, tick: Tick) -> Fit:
    """The posterior by gradients; a delta posterior takes the closed form's prior."""

    def views(numbers: Tensor) -> Views:
        return _join(_views(particles, numbers.numpy(), settings))

    learns = settings.prior == "learned" and settings.posterior == "gaussian"
    return descend(
        views,
        len(particles),
        particles.size,
        kind=settings.posterior,
        prior=None if learns else closed.prior,
        how=Descent(epochs=settings.epochs, padding=settings.padding),
        progress=tick,
    ).fit


def half_sets(particles: Particles) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the particles of each half: the file's own sets, or every other particle.

    Raises:
        InputError: one of the file's sets is empty.
    """
    numbers = np.arange(len(particles))
    half = particles.half if particles.half is not None else numbers % 2 + 1
    first, second = numbers[half == 1], numbers[half == 2]
    if not (len(first) and len(second)):
        raise InputError("rlnRandomSubset: one of the half sets, 1 and 2, has no particle")
    return first, second


def check_memory(size: int, padding: int = PADDING, sums: int = 2) -> None:
    """Refuse a box whose reconstruction does not fit into the memory that is free.

    Args:
        size: of the box.
        padding: times the size.
        sums: sets of images whose statistics are held.

    Raises:
        InputError: how much it takes and how much there is.
    """
    needed = (BYTES_PER_PLACE + BYTES_PER_SUM * (sums - 2)) * (padding * size) ** 3
    free = free_memory()
    if free is not None and needed > free:
        raise InputError(
            f"a box of {size} pixels takes {needed / 2**30:.1f} GiB of memory, of which "
            f"{free / 2**30:.1f} are free; use a smaller box"
        )


def free_memory() -> int | None:
    """Bytes of memory that programs can still have; None where the system does not say."""
    try:
        with open("/proc/meminfo") as file:
            lines = dict(line.split(":", 1) for line in file)
        return 1024 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return None


def summary(found: Reconstruction) -> dict[str, Any]:
    """The figures of a reconstruction, for JSON; resolutions and pixels in angstroms."""
    return {
        "images": found.images,
        "pixel_size": found.pixel_size,
        "half_resolution": round(found.half_resolution, 3),
        "posterior_resolution": round(found.posterior_resolution, 3),
        "fsc": [round(float(value), 5) for value in found.correlation],
    }


def variance_map(posterior: VolumePosterior) -> NDArray[np.float32]:
    """The variances of all coefficients as a map, the zero frequency in the middle: (z, y, x)."""
    size = posterior.size
    half = posterior.variance
    opposite = half[:, :, 1 : (size - 1) // 2 + 1].flip(0, 1, 2)
    whole = torch.cat([half, torch.roll(opposite, (1, 1), (0, 1))], -1)
    shown: NDArray[np.float32] = torch.fft.fftshift(whole).numpy()
    return shown


def _views(particles: Particles, chosen: NDArray[np.int64], settings: Settings) -> "list[Views]":
    return list(
        views_of(
            particles,
            chosen,
            invert=settings.invert,
            correct_transfer=settings.correct_transfer,
        )
    )


def _insert(
    particles: Particles,
    settings: Settings,
    sets: tuple[NDArray[np.int64], NDArray[np.int64]],
    saved: Path | None,
    tick: Tick,
) -> list[Statistics]:
    """The statistics of both half sets."""
    size, total = particles.size, sum(len(part) for part in sets)
    band = None
    if settings.finest is not None:
        band = min(size * particles.pixel_size / settings.finest, largest_band(size))
    digest = _digest(particles, settings)
    halves, done = _resume(saved, digest, size, settings.padding)
    began = time.monotonic()
    for half, numbers in enumerate(sets):
        start = min(max(done - (len(sets[0]) if half else 0), 0), len(numbers))
        for part in particles.batches(numbers[start:], BATCH):
            batch = _views(particles, part, settings)
            for views in batch:
                halves[half].insert(views, band)
            done += len(part)
            tick(done, total)
            if saved is not None and time.monotonic() - began > SAVE_SECONDS:
                _save(saved, halves, done, digest)
                began = time.monotonic()
    return halves


def _digest(particles: Particles, settings: Settings) -> str:
    """What the statistics depend on, as a hash."""
    parts = [json.dumps(asdict(settings), sort_keys=True), str(particles.pixel_size)]
    parts += [f"{path.resolve()} {path.stat().st_mtime_ns}" for path in particles.stacks]
    digest = hashlib.sha256("\n".join(parts).encode())
    for array in (particles.angles, particles.origins, particles.stack, particles.index):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _save(path: Path, halves: list[Statistics], done: int, digest: str) -> None:
    tensors: dict[str, Tensor] = {}
    for number, half in enumerate(halves):
        tensors |= {
            f"{number}.data": torch.view_as_real(half.data),
            f"{number}.weight": half.weight,
            f"{number}.power": half.power,
            f"{number}.number": torch.tensor([half.number]),
        }
    temporary = path.with_name(path.name + ".new")
    save_file(tensors, temporary, {"done": str(done), "digest": digest})
    temporary.replace(path)


def _resume(
    path: Path | None, digest: str, size: int, padding: int
) -> tuple[list[Statistics], int]:
    """What was saved, or empty statistics."""
    if path is None or not path.exists():
        return [Statistics.empty(size, padding) for _ in range(2)], 0
    with safe_open(path, "pt") as file:
        facts = file.metadata() or {}
        if facts.get("digest") != digest:
            raise InputError(
                f"{path}: left by a run with other particles or settings; remove it to start again"
            )
        halves = [
            Statistics(
                torch.view_as_complex(file.get_tensor(f"{number}.data")),
                file.get_tensor(f"{number}.weight"),
                file.get_tensor(f"{number}.power"),
                int(file.get_tensor(f"{number}.number")),
                size,
            )
            for number in range(2)
        ]
    return halves, int(facts["done"])


def _join(batches: list[Views]) -> Views:
    """Several batches as one."""

    def joined(name: str) -> Tensor | None:
        parts = [getattr(views, name) for views in batches]
        return None if parts[0] is None else torch.cat(parts)

    images, rotations = joined("images"), joined("rotations")
    assert images is not None
    assert rotations is not None
    return Views(images, rotations, joined("shifts"), joined("transfer"))
