"""The codec of maps: densities to .lac files, as exactly as what is known of them requires."""

import math
from typing import Final

import numpy as np

from laconic.codecs.volume import noise
from laconic.codecs.volume.blocks import to_matrix, to_steps
from laconic.codecs.volume.file import (
    BLOCKS,
    EDGES,
    MOST_VOXELS,
    MRC,
    STEEPEST,
    MapHeader,
    VolumeFile,
    check_size,
    write_mrc,
)
from laconic.coding.queue.stream import QueueEncoder
from laconic.coding.relative_entropy.standardise import DoubleArray
from laconic.coding.tensors import quantised
from laconic.container import Section, pack
from laconic.errors import CorruptFileError, InputError
from laconic.map_file import MapFile
from laconic.progress import Progress, silent

QUALITY: Final = 50.0
COARSEST: Final = 0.1
FINEST: Final = 0.001
"""Losses of correlation with the truth at quality 1 and 100."""


def loss_of(quality: float) -> float:
    """The loss of correlation with the truth, in any shell, that a quality allows.

    Args:
        quality: 1 to 100; 50 is 0.01.

    Raises:
        InputError: it is outside of them.
    """
    if not 1 <= quality <= 100:
        raise InputError(f"quality is {quality:g}, give a number from 1 to 100")
    return COARSEST * float((FINEST / COARSEST) ** ((quality - 1) / 99))


def encode(
    given: MapFile, share: DoubleArray, quality: float = QUALITY, progress: Progress = silent
) -> bytes:
    """Write a .lac file of a map.

    Args:
        given: the map.
        share: of truth in the power of each shell, (size // 2 + 1,), from
            `noise.share_from_variance` or `noise.share_from_halves`.
        quality: 1 to 100 (`loss_of`).
        progress: called with the sizes of blocks tried and those in all.

    Raises:
        InputError: the map is too large, or all its voxels are equal.
    """
    size, loss = len(given.density), loss_of(quality)
    if size < 2 or size**3 > MOST_VOXELS:
        raise InputError(f"a map of {size} voxels along an edge cannot be kept: give 2 to 1290")
    variances = noise.noise_variances(given.density, share, loss)
    steps = np.clip(to_steps(variances), -STEEPEST, STEEPEST)
    bits = round(noise.ideal_bits(given.density, variances))
    mrc = Section(MRC, write_mrc(given.header, given.extended))
    files = []
    for number, block in enumerate(EDGES):
        progress(number, len(EDGES))
        data = _write_blocks(to_matrix(given.density, steps, block))
        header = MapHeader(size, block, round(10**6 * loss), bits, steps)
        _check(header, len(data))
        files.append(pack(VolumeFile.id, header.write(), [mrc, Section(BLOCKS, data)]))
    return min(files, key=len)


def _write_blocks(matrix: DoubleArray) -> bytes:
    """The rounded numbers as a stream."""
    if float(np.abs(matrix).max()) > quantised.LARGEST:
        raise InputError("the map has numbers that are too large beside its noise")
    stream = QueueEncoder()
    quantised.write(stream, quantised.quantise_dependently(matrix, 1.0)[0], quantised.Contexts())
    return stream.finish()


def _check(header: MapHeader, size_bytes: int) -> None:
    """Refuse what a reader would refuse."""
    try:
        check_size(math.prod(header.shape), size_bytes)
    except CorruptFileError as error:
        raise InputError("the map holds next to nothing; raise the quality") from error
