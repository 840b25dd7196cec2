"""Files of simulated images: poses, shifts and optics drawn or read, images streamed.

Source: Ullrich 5.6: 40,000 projections, with all poses or with beams within a cone.
"""

import gzip
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from laconic.data.microscopy.maps import map_bytes, stack_bytes
from laconic.data.microscopy.particles import Optics, Particles, read_particles, star_text
from laconic.data.microscopy.structures import read_atoms
from laconic.errors import InputError
from laconic.evaluation.imaging.views import rotations_of, shifts_of
from laconic.imaging import rotations, slices
from laconic.imaging.simulation import density, simulate
from laconic.imaging.transfer import contrast_transfer

BATCH = 64
PROBES = 200
"""Images by which the variance of all is estimated."""
VOLTAGE, ABERRATION, AMPLITUDE = 300.0, 2.0, 0.07
"""Of the microscope, in kV, mm and 1, where a Frealign file gives the defocus alone."""
Tick = Callable[[int, int], None]


@dataclass(frozen=True)
class Request:
    """What to simulate.

    Attributes:
        box: size of the images in pixels.
        pixel_size: in angstroms.
        number: of images.
        snr: variance of the images over that of the noise; None: no noise.
        seed: of all random numbers.
        poses: "uniform", "cone", or a file.
        cone: half angle in degrees.
        shifts: largest shift in angstroms.
        ctf: a file with the defocus of each image; None: no CTF.
        atom_width: standard deviation in angstroms; None: 0.6 pixels.
    """

    box: int
    pixel_size: float
    number: int
    snr: float | None = None
    seed: int = 1
    poses: str = "uniform"
    cone: float = 15.0
    shifts: float = 0.0
    ctf: Path | None = None
    atom_width: float | None = None

    def __post_init__(self) -> None:
        for name in ("box", "pixel_size", "number", "snr", "atom_width"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(f"{name.replace('_', '-')}: {value:g} is not a positive number")
        if not (math.isfinite(self.shifts) and self.shifts >= 0):
            raise InputError(f"shifts: {self.shifts:g} is negative or not finite")


@dataclass(frozen=True)
class Simulated:
    """What was simulated; the stack is computed while it is read.

    Attributes:
        stack: the pieces of an MRC file.
        map_bytes: an MRC file of the density.
        particles: poses, origins and optics.
        noise: standard deviation.
    """

    stack: Iterator[bytes]
    map_bytes: bytes
    particles: Particles
    noise: float

    def star(self, stack: Path, star: Path) -> str:
        """The STAR file that names the stack, as seen from where it will lie."""
        return star_text(os.path.relpath(stack, star.parent), self.particles)


def run(model: Path, request: Request, tick: Tick = lambda done, total: None) -> Simulated:
    """Read a model and prepare its images.

    Args:
        model: a PDB or mmCIF file.
        request: what to simulate.
        tick: called with the images made and all.

    Raises:
        InputError: the model cannot be read or does not fit the box, or a file has too few rows.
    """
    generator = torch.Generator().manual_seed(request.seed)
    volume = _density(model, request)
    particles = _draw(request, generator)
    scene = _Scene(slices.to_spectrum(volume), particles)
    noise = 0.0
    if request.snr is not None:
        probes = scene.images(slice(0, min(PROBES, request.number)), 0.0, generator)
        noise = math.sqrt(float(probes.var()) / request.snr)

    def images() -> Iterator[NDArray[np.float32]]:
        for start in range(0, request.number, BATCH):
            part = slice(start, min(start + BATCH, request.number))
            yield scene.images(part, noise, generator).numpy()
            tick(part.stop, request.number)

    return Simulated(
        stack_bytes(images(), request.number, request.box, request.pixel_size),
        map_bytes(volume.numpy(), request.pixel_size),
        particles,
        noise,
    )


def _density(model: Path, request: Request) -> Tensor:
    """The volume of a file's atoms."""
    atoms = read_atoms(model)
    return density(
        torch.from_numpy(atoms.places),
        torch.from_numpy(atoms.weights),
        request.box,
        request.pixel_size,
        request.atom_width or 0.6 * request.pixel_size,
    )


class _Scene:
    """A volume and all poses of its images."""

    def __init__(self, spectrum: Tensor, particles: Particles) -> None:
        self._spectrum, self._particles = spectrum, particles
        self._rotations = rotations_of(particles)
        self._shifts = shifts_of(particles)

    def images(self, part: slice, noise: float, generator: torch.Generator) -> Tensor:
        """Some images: (images, size, size)."""
        transfer = _transfer(self._particles, part, len(self._spectrum))
        return simulate(
            self._spectrum, self._rotations[part], self._shifts[part], transfer, noise, generator
        )


def _draw(request: Request, generator: torch.Generator) -> Particles:
    """Poses, origins and optics of all images."""
    number = request.number
    if request.poses == "uniform":
        angles = rotations.to_angles(rotations.uniform(number, generator)).numpy()
    elif request.poses == "cone":
        angles = rotations.to_angles(rotations.cone(number, request.cone, generator)).numpy()
    else:
        angles = _repeat(_read(Path(request.poses)).angles, number, request.poses, "poses")
    draws = torch.rand(number, 2, generator=generator, dtype=torch.float64)
    optics = None
    if request.ctf is not None:
        read = _read(request.ctf).optics
        if read is None:
            raise InputError(f"{request.ctf}: it names no defocus")
        fields = (read.defocus, read.voltage, read.aberration, read.amplitude, read.phase)
        optics = Optics(*(_repeat(field, number, str(request.ctf), "optics") for field in fields))
    return Particles(
        stacks=(),
        stack=np.zeros(number, np.int64),
        index=np.arange(number),
        size=request.box,
        pixel_size=request.pixel_size,
        angles=angles,
        origins=(request.shifts * (2 * draws - 1)).numpy(),
        optics=optics,
        half=np.arange(number) % 2 + 1,
    )


def _transfer(particles: Particles, part: slice, box: int) -> Tensor | None:
    """The CTF of some images in the padded box; its pixels are those of the images."""
    optics = particles.optics
    if optics is None:
        return None
    columns = (optics.defocus, optics.voltage, optics.aberration, optics.amplitude, optics.phase)
    values = [torch.from_numpy(column[part]).float() for column in columns]
    return contrast_transfer(box, particles.pixel_size, *values)


def _repeat(
    values: NDArray[np.float64] | None, number: int, name: str, what: str
) -> NDArray[np.float64]:
    """As many rows as images: those of the file, over and over."""
    if values is None or len(values) == 0:
        raise InputError(f"{name}: it names no {what}")
    return values[np.arange(number) % len(values)]


@dataclass(frozen=True)
class _Table:
    angles: NDArray[np.float64] | None
    optics: Optics | None


def _read(path: Path) -> _Table:
    """Poses and optics of a STAR file, or of a Frealign parameter file (.par)."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; or give uniform or cone")
    if ".par" not in path.suffixes:
        particles = read_particles(path)
        return _Table(particles.angles, particles.optics)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt") as file:
        lines = [line for line in file if line.strip() and not line.startswith("C")]
    try:
        table = np.array([[float(word) for word in line.split()] for line in lines])
        phi, theta, psi, first, second, axis = table[:, [1, 2, 3, 7, 8, 9]].T
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: not a Frealign parameter file") from error
    count = len(table)
    optics = Optics(
        np.stack([first, second, axis], -1),
        np.full(count, VOLTAGE),
        np.full(count, ABERRATION),
        np.full(count, AMPLITUDE),
        np.zeros(count),
    )
    return _Table(np.stack([phi, theta, psi], -1), optics)
