"""STAR files of particles: where the images are, and how they were taken.

Files of RELION 3.1 and later are read (a block of optics groups, one of particles), those of RELION
3.0 (one block), and what pyem makes of cryoSPARC's. Values are kept as RELION defines them:
angles (rot, tilt, psi) in degrees, origins in angstroms, which move a particle to the centre.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from laconic.data.microscopy.maps import open_stack
from laconic.errors import InputError, MissingPackageError

if TYPE_CHECKING:
    from pandas import DataFrame

Numbers = NDArray[np.float64]
ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
ORIGINS = ("rlnOriginXAngst", "rlnOriginYAngst")
DEFOCUS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
MICROSCOPE = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")


@dataclass(frozen=True)
class Optics:
    """What the contrast transfer function of each particle depends on.

    Attributes:
        defocus: (particles, 3): along the two axes in angstroms, angle of the first in degrees.
        voltage: (particles,), in kV.
        aberration: (particles,): spherical, in mm.
        amplitude: (particles,): amplitude contrast, in [0, 1].
        phase: (particles,): shift by a phase plate, in degrees.
    """

    defocus: Numbers
    voltage: Numbers
    aberration: Numbers
    amplitude: Numbers
    phase: Numbers


@dataclass(frozen=True)
class Particles:
    """The particles of a STAR file; their images are read on request.

    Attributes:
        stacks: paths of MRC stacks.
        stack: (particles,): number of the stack of each.
        index: (particles,): place in it, from 0.
        size: of the images, in pixels.
        pixel_size: in angstroms.
        angles: (particles, 3): rot, tilt, psi in degrees; None: the file names none.
        origins: (particles, 2): x, y in angstroms, RELION's sign.
        optics: None: the file names no defocus.
        half: (particles,): 1 or 2, the random half set; None: the file names none.
    """

    stacks: tuple[Path, ...]
    stack: NDArray[np.int64]
    index: NDArray[np.int64]
    size: int
    pixel_size: float
    angles: Numbers | None
    origins: Numbers
    optics: Optics | None
    half: NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.stack)

    def images(self, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        """Images of some particles: (chosen, size, size), as the file has them.

        Raises:
            InputError: one is not finite.
        """
        out = np.empty((len(chosen), self.size, self.size), np.float32)
        for number in np.unique(self.stack[chosen]):
            data = open_stack(self.stacks[number])
            for place in np.flatnonzero(self.stack[chosen] == number):
                out[place] = data[self.index[chosen[place]]]
        if not np.isfinite(out).all():
            bad = int(chosen[~np.isfinite(out).all((1, 2))][0])
            raise InputError(
                f"{self.stacks[self.stack[bad]]}: image {self.index[bad] + 1} holds numbers that "
                "are not finite"
            )
        return out

    def batches(self, chosen: NDArray[np.int64], number: int) -> Iterator[NDArray[np.int64]]:
        """The chosen particles in parts of at most `number`."""
        for start in range(0, len(chosen), number):
            yield chosen[start : start + number]


def _is_place(text: str) -> bool:
    """Whether a text is the number of an image in a stack, from 1; a stack has below 2^31."""
    decimal = text.isascii() and text.isdecimal() and len(text.lstrip("0")) < 11
    return decimal and 1 <= int(text) < 1 << 31


def read_particles(path: Path, pixel_size: float | None = None) -> Particles:
    """The particles of a STAR file; stacks are looked for beside it, then as the file says.

    Args:
        path: of the STAR file.
        pixel_size: in angstroms, where the file names none.

    Raises:
        InputError: the file or a stack is missing or damaged, the pixel size or a column is
            missing, boxes differ, or a number is not finite.
        MissingPackageError: starfile is not installed.
    """
    table = _table(path)
    names = _column(table, "rlnImageName", path)
    if names is None:
        raise InputError(f"{path}: it has no column rlnImageName")
    parts = [str(name).partition("@") for name in names]
    if not all(at and _is_place(number) for number, at, _ in parts):
        raise InputError(f"{path}: rlnImageName must look like 000001@stack.mrcs")
    unique = {name: number for number, name in enumerate(dict.fromkeys(p[2] for p in parts))}
    stacks = tuple(_find(path, name) for name in unique)
    stack = np.array([unique[p[2]] for p in parts], np.int64)
    index = np.array([int(p[0]) - 1 for p in parts], np.int64)
    size = _check_stacks(path, stacks, stack, index)
    found = pixel_size or _pixel_size(table, path)
    origins = _columns(table, ORIGINS, path)
    if origins is None:
        pixels = _columns(table, ("rlnOriginX", "rlnOriginY"), path)
        origins = np.zeros((len(stack), 2)) if pixels is None else pixels * found
    halves = _column(table, "rlnRandomSubset", path)
    return Particles(
        stacks=stacks,
        stack=stack,
        index=index,
        size=size,
        pixel_size=found,
        angles=_columns(table, ANGLES, path),
        origins=origins,
        optics=_optics(table, path),
        half=None if halves is None else halves.astype(np.int64),
    )


def star_text(stack: str, particles: Particles) -> str:
    """A STAR file of RELION 3.1: one optics group, and the particles of one stack.

    Args:
        stack: the name of the stack's file, as the STAR file is to have it.
        particles: what the columns hold.
    """
    from pandas import DataFrame

    optics = {
        "rlnOpticsGroup": [1],
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnImagePixelSize": [particles.pixel_size],
        "rlnImageSize": [particles.size],
        "rlnImageDimensionality": [2],
    }
    columns: dict[str, Any] = {
        "rlnImageName": [f"{number + 1:06d}@{stack}" for number in particles.index],
        "rlnOpticsGroup": np.ones(len(particles), np.int64),
    }
    if particles.angles is not None:
        columns |= dict(zip(ANGLES, particles.angles.T, strict=True))
    columns |= dict(zip(ORIGINS, particles.origins.T, strict=True))
    if particles.optics is not None:
        shared = particles.optics
        columns |= dict(zip(DEFOCUS, shared.defocus.T, strict=True))
        columns["rlnPhaseShift"] = shared.phase
        values = (shared.voltage, shared.aberration, shared.amplitude)
        for name, value in zip(MICROSCOPE, values, strict=True):
            optics[name] = [value[0]]
    if particles.half is not None:
        columns["rlnRandomSubset"] = particles.half
    text: str = _starfile().to_string(
        {"optics": DataFrame(optics), "particles": DataFrame(columns)}
    )
    return text


def star_with_poses(
    path: Path, out: Path, particles: Particles, extra: dict[str, NDArray[Any]]
) -> str:
    """A STAR file with other poses, and all that it held besides.

    Args:
        path: of the file.
        out: where the text will lie: stacks are named as seen from there.
        particles: of the file, with the new angles and origins.
        extra: further columns, by name.
    """
    blocks = _starfile().read(path, always_dict=True)
    name = "particles" if "particles" in blocks else _block_with_images(blocks, path)
    table = blocks[name].drop(columns=["rlnOriginX", "rlnOriginY"], errors="ignore")
    folder = out.resolve().parent
    stacks = [os.path.relpath(stack.resolve(), folder) for stack in particles.stacks]
    pairs = zip(particles.index, particles.stack, strict=True)
    table["rlnImageName"] = [f"{index + 1:06d}@{stacks[stack]}" for index, stack in pairs]
    if particles.angles is not None:
        for column, values in zip(ANGLES, particles.angles.T, strict=True):
            table[column] = values
    for column, values in zip(ORIGINS, particles.origins.T, strict=True):
        table[column] = values
    for column, values in extra.items():
        table[column] = values
    text: str = _starfile().to_string(blocks | {name: table})
    return text


def _block_with_images(blocks: dict[str, Any], path: Path) -> str:
    """The name of the one block of particles, in files of RELION 3.0."""
    with_images = [
        name for name, block in blocks.items() if "rlnImageName" in getattr(block, "columns", ())
    ]
    if len(with_images) != 1:
        raise InputError(f"{path}: it has no block of particles (rlnImageName)")
    return with_images[0]


def _starfile() -> Any:
    try:
        import starfile
    except ImportError as error:
        raise MissingPackageError("STAR files need", "starfile", "cryoem") from error
    return starfile


def _table(path: Path) -> "DataFrame":
    """The block of particles, with the columns of their optics group beside them."""
    try:
        blocks = _starfile().read(path, always_dict=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file") from error
    except Exception as error:  # The parser fails in every way on other files.
        raise InputError(f"{path}: not a readable STAR file ({error})") from error
    tables = {name: block for name, block in blocks.items() if hasattr(block, "columns")}
    for name, block in tables.items():
        if not block.columns.is_unique:
            twice = block.columns[block.columns.duplicated()][0]
            raise InputError(f"{path}: its block {name or 'data_'} has the column {twice} twice")
    particles = tables.get("particles")
    if particles is None:
        particles = tables[_block_with_images(tables, path)]
    if len(particles) == 0:
        raise InputError(f"{path}: its block of particles is empty")
    optics = blocks.get("optics")
    if optics is None or "rlnOpticsGroup" not in particles.columns:
        return particles
    if not hasattr(optics, "columns"):
        from pandas import DataFrame

        optics = DataFrame([optics])
    return _join(path, particles, optics)


def _join(path: Path, particles: "DataFrame", optics: "DataFrame") -> "DataFrame":
    """The particles, with the columns of their optics group beside them."""
    group = "rlnOpticsGroup"
    if group not in optics.columns:
        raise InputError(f"{path}: its block of optics has no column {group}")
    kept = [c for c in optics.columns if c == group or c not in particles.columns]
    try:
        return particles.merge(optics[kept], on=group, how="left", validate="many_to_one")
    except ValueError as error:  # A group occurs twice, or is text in one block alone.
        raise InputError(f"{path}: {group} does not join particles and optics ({error})") from error


def _column(table: "DataFrame", name: str, path: Path) -> NDArray[Any] | None:
    if name not in table.columns:
        return None
    values: NDArray[Any] = table[name].to_numpy()
    if values.dtype.kind in "fiu" and not np.isfinite(values).all():
        raise InputError(f"{path}: column {name} holds numbers that are missing or not finite")
    return values


def _columns(table: "DataFrame", names: tuple[str, ...], path: Path) -> Numbers | None:
    """Columns of numbers, all or none of which must be there."""
    found = [_column(table, name, path) for name in names]
    if all(column is None for column in found):
        return None
    for name, column in zip(names, found, strict=True):
        if column is None:
            raise InputError(f"{path}: it has no column {name}")
        if column.dtype.kind not in "fiu":
            raise InputError(f"{path}: column {name} holds text where numbers should be")
    return np.stack([np.asarray(column, np.float64) for column in found], -1)


def _optics(table: "DataFrame", path: Path) -> Optics | None:
    defocus = _columns(table, DEFOCUS, path)
    if defocus is None:
        return None
    microscope = _columns(table, MICROSCOPE, path)
    if microscope is None:
        raise InputError(f"{path}: it names a defocus but no {', '.join(MICROSCOPE)}")
    phase = _columns(table, ("rlnPhaseShift",), path)
    phase = np.zeros((len(defocus), 1)) if phase is None else phase
    voltage, aberration, amplitude = microscope.T
    return Optics(defocus, voltage, aberration, amplitude, phase[:, 0])


def _pixel_size(table: "DataFrame", path: Path) -> float:
    """The one pixel size of all particles, in angstroms."""
    new = _columns(table, ("rlnImagePixelSize",), path)
    sizes = None if new is None else new[:, 0]
    if sizes is None:
        old = _columns(table, ("rlnDetectorPixelSize", "rlnMagnification"), path)
        sizes = None if old is None else 1e4 * old[:, 0] / old[:, 1]
    if sizes is None:
        raise InputError(
            f"{path}: it names no pixel size (rlnImagePixelSize); give one in angstroms "
            "(--pixel-size)"
        )
    if np.ptp(sizes) > 1e-4 * sizes[0] or not sizes[0] > 0:
        raise InputError(f"{path}: pixel sizes from {sizes.min():g} to {sizes.max():g} angstroms")
    return float(sizes[0])


def _find(path: Path, name: str) -> Path:
    """A stack's file."""
    for place in (path.parent / name, Path(name), path.parent / Path(name).name):
        if place.is_file():
            return place
    raise InputError(f"{path}: the stack {name} is missing")


def _check_stacks(
    path: Path, stacks: tuple[Path, ...], stack: NDArray[np.int64], index: NDArray[np.int64]
) -> int:
    """The size of all images."""
    size = 0
    for number, name in enumerate(stacks):
        images = open_stack(name)
        if images.shape[1] != images.shape[2]:
            raise InputError(
                f"{name}: images of {images.shape[2]} x {images.shape[1]} pixels; "
                "boxes must be squares"
            )
        if size and images.shape[1] != size:
            raise InputError(
                f"{name}: images of {images.shape[1]} pixels, where those of "
                f"{stacks[0]} have {size}"
            )
        size = images.shape[1]
        last = int(index[stack == number].max())
        if last >= len(images):
            raise InputError(f"{path}: image {last + 1} of {name}, which has {len(images)}")
    return size
