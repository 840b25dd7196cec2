"""MRC files: maps of densities, and stacks of images.

Maps become float32 arrays with axes (z, y, x), however the file orders them. Files of either byte
order and of modes 0, 1, 2, 6 and 12 are read, also compressed with gzip or bzip2.
"""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from laconic.errors import InputError, MissingPackageError
from laconic.map_file import TYPES, Array, MapFile


@dataclass(frozen=True)
class Map:
    """A density on a cubic grid.

    Attributes:
        density: (size, size, size), axes (z, y, x).
        pixel_size: in angstroms.
    """

    density: Array
    pixel_size: float


DAMAGE: Final = (ValueError, OSError, EOFError, OverflowError)
"""What mrcfile raises for a file that is not right."""


def load_mrcfile() -> Any:
    """The package that reads and writes MRC files.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import mrcfile
    except ImportError as error:
        raise MissingPackageError("MRC files need", "mrcfile", "cryoem") from error
    return mrcfile


def read_map(path: Path, pixel_size: float | None = None) -> Map:
    """A map from a file.

    Args:
        path: of an MRC file.
        pixel_size: in angstroms, where the file's own is missing or wrong.

    Raises:
        InputError: the file is missing, damaged, no cube, or has no pixel size.
        MissingPackageError: mrcfile is not installed.
    """
    found = read_map_file(path)
    pixel_size = found.pixel_size if pixel_size is None else pixel_size
    if pixel_size is None or not pixel_size > 0:
        raise InputError(f"{path}: it names no pixel size; give one in angstroms (--pixel-size)")
    return Map(found.density, float(pixel_size))


def read_map_file(path: Path) -> MapFile:
    """A map with its header.

    Args:
        path: of an MRC file.

    Raises:
        InputError: the file is missing or damaged, no cube, or holds numbers that are not finite.
        MissingPackageError: mrcfile is not installed.
    """
    data, header, extended = _read(path)
    if data.ndim != 3 or len(set(data.shape)) != 1:
        raise InputError(f"{path}: {' x '.join(map(str, data.shape))} voxels; a map must be a cube")
    if int(header.mode) not in TYPES:
        raise InputError(f"{path}: mode {int(header.mode)}; a map holds real numbers")
    kind = load_mrcfile().dtypes.HEADER_DTYPE.newbyteorder("<")
    plain = np.asarray(header).astype(kind).tobytes()
    found = MapFile.of(data, plain, extended)
    if not np.isfinite(found.density).all():
        raise InputError(f"{path}: it holds numbers that are not finite")
    return found


def map_bytes(density: Array, pixel_size: float) -> bytes:
    """An MRC file of a map: float32, axes (z, y, x).

    Args:
        density: (size, size, size).
        pixel_size: in angstroms.
    """
    header = _header(density.shape, pixel_size)
    header.ispg, header.mz, header.cella.z = 1, len(density), len(density) * pixel_size
    header.dmin, header.dmax, header.dmean = density.min(), density.max(), density.mean()
    header.rms = density.std()
    return bytes(header.tobytes()) + np.ascontiguousarray(density, "<f4").tobytes()


def stack_bytes(
    images: Iterable[Array], number: int, size: int, pixel_size: float
) -> Iterator[bytes]:
    """An MRC file of a stack of images, piece by piece; its header holds no statistics.

    Args:
        images: batches (images, size, size) of float32.
        number: of images in all.
        size: of the images.
        pixel_size: in angstroms.
    """
    header = _header((number, size, size), pixel_size)
    # Values in this order mean "not known" (MRC 2014).
    header.dmin, header.dmax, header.dmean, header.rms = 0, -1, -2, -1
    yield bytes(header.tobytes())
    for batch in images:
        yield np.ascontiguousarray(batch, "<f4").tobytes()


def _header(shape: tuple[int, ...], pixel_size: float) -> Any:
    """The header of a little-endian MRC 2014 file of float32, as a stack of images."""
    header = np.zeros((), load_mrcfile().dtypes.HEADER_DTYPE).view(np.recarray)
    header.nz, header.ny, header.nx = shape
    header.mx, header.my, header.mz, header.mode = shape[2], shape[1], 1, 2
    header.cella = (shape[2] * pixel_size, shape[1] * pixel_size, pixel_size)
    header.cellb = (90, 90, 90)
    header.mapc, header.mapr, header.maps = 1, 2, 3
    header.map, header.nversion = b"MAP ", 20140
    header.machst[:] = (0x44, 0x44, 0, 0)
    return header


def open_stack(path: Path) -> NDArray[Any]:
    """The images of a stack, read when they are used: (images, height, width), of the file's type.

    Raises:
        InputError: the file is missing or damaged.
        MissingPackageError: mrcfile is not installed.
    """
    mrcfile = load_mrcfile()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data = mrcfile.mmap(path, mode="r", permissive=False).data
        except FileNotFoundError as error:
            raise InputError(f"{path}: the stack of images is missing") from error
        except DAMAGE as error:
            raise InputError(f"{path}: not a complete MRC stack ({error})") from error
    if data is None or data.ndim not in (2, 3):
        raise InputError(f"{path}: it holds no images")
    images: NDArray[Any] = data if data.ndim == 3 else data[None]
    return images


def _read(path: Path) -> tuple[NDArray[Any], Any, bytes]:
    """The array of a file, its header, and what follows the header."""
    mrcfile = load_mrcfile()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with mrcfile.open(path, mode="r", permissive=False) as file:
                extended = np.asarray(file.extended_header).tobytes()
                return np.array(file.data), file.header.copy(), extended
        except FileNotFoundError as error:
            raise InputError(f"{path}: there is no such file") from error
        except DAMAGE as error:
            raise InputError(f"{path}: not a complete MRC file ({error})") from error
        except MemoryError as error:
            raise InputError(f"{path}: its header claims more than the memory holds") from error
