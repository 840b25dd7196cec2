"""Where the bits of a lossless file went: the code length of every sample.

Pixels that an autoregressive model or least squares codes have lengths of their own, those of the
coder's integers. Other methods give a tile a number of bytes, which are spread evenly over it; so
are those of an alpha plane beside the model.
"""

from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray

from laconic.codecs.image.bits import LevelBits
from laconic.codecs.image.tiles import Tile
from laconic.codecs.lossless.bundles import read_group
from laconic.codecs.lossless.chains.bits_back import ChainCoder
from laconic.codecs.lossless.chains.pixels import PixelCodec, to_steps
from laconic.codecs.lossless.chains.stacks import GroupShape, IntegerWalk
from laconic.codecs.lossless.core import Samples, TileCounter
from laconic.codecs.lossless.direct import METHODS, MODEL
from laconic.codecs.lossless.file import LosslessFile
from laconic.codecs.lossless.header import Bundle, split_tiles
from laconic.container import Span
from laconic.errors import UnsupportedFileError
from laconic.models.exact import ExactLadder
from laconic.progress import Progress, silent

Ladder = ExactLadder | None


def bits_map(
    file: LosslessFile, ladder: Ladder, threads: int | None = None, progress: Progress = silent
) -> tuple[LevelBits, ...]:
    """The bits of every pixel of a lossless picture.

    Args:
        file: of one picture.
        ladder: the model in integers that wrote it; None where the file needs none.
        threads: that decode side by side; None: as many as torch has.
        progress: called with tiles done and tiles in all.

    Returns:
        One map for each colour, then one for an alpha plane beside the model; of least squares one
        for each channel, of converted colours those of chroma, luma and chroma. A single map, of
        tiles, where another method codes the picture.

    Raises:
        CorruptFileError: the file is damaged.
        UnsupportedFileError: it is an archive, or its model has latents.
    """
    bundle, data = file.only_picture()
    if bundle.method != MODEL:
        return _of_samples(bundle, data) or (_of_tiles(bundle),)
    assert ladder is not None, "a file without a model holds no picture that needs one"
    if ladder.levels:
        raise UnsupportedFileError(
            "the file's model has latents, whose bits belong to no pixel; its bits have no map"
        )
    found = _of_pixels(bundle, data, ladder, threads, progress)
    grid = bundle.grid
    alpha = [np.full((1, 1), 8 * size, np.float32) for size in bundle.alphas]
    return (*found, *(LevelBits(one, (grid.height, grid.width)) for one in alpha))


def _of_samples(bundle: Bundle, data: Span) -> tuple[LevelBits, ...]:
    """The bits of every sample, channel by channel; none where the method does not say them."""
    method, grid = METHODS.get(bundle.method), bundle.grid
    if method is None or bundle.kind.bits != 8:
        return ()
    channels = bundle.kind.colours + bool(bundle.alphas)
    found = np.empty((channels, grid.height, grid.width), np.float32)
    ends = [0, *accumulate(bundle.sizes)]
    for number, tile in enumerate(grid):
        part = data[ends[number] : ends[number + 1]]
        density = method.bits(part, tile.height, tile.width, channels)
        if density is None:
            return ()
        place = (slice(tile.top, tile.bottom), slice(tile.left, tile.right))
        found[:, *place] = density.transpose(2, 0, 1)
    return tuple(LevelBits(one, (1, 1)) for one in found)


def _of_tiles(bundle: Bundle) -> LevelBits:
    """The bytes of every tile, spread over it."""
    density = np.empty((bundle.grid.height, bundle.grid.width), np.float32)
    for tile, size in zip(bundle.grid, bundle.sizes, strict=True):
        here = density[tile.top : tile.bottom, tile.left : tile.right]
        here[:] = 8 * size / here.size
    return LevelBits(density, (1, 1))


def _of_pixels(
    bundle: Bundle, data: Span, ladder: ExactLadder, threads: int | None, progress: Progress
) -> list[LevelBits]:
    """The code lengths of all pixels, colour by colour."""
    grid, kind, start = bundle.grid, bundle.kind, sum(bundle.alphas)
    bits = np.empty((kind.colours, grid.height, grid.width), np.float32)
    coder, tick = ChainCoder(ladder, threads=threads), TileCounter(progress, grid.count).add
    for group, tiles in split_tiles(grid, bundle.groups):
        part = data[start : start + group.size]
        start += group.size
        items = read_group(coder, group, part, tiles[0], kind, tick)
        for tile, item in zip(tiles, items, strict=True):
            place = (slice(tile.top, tile.bottom), slice(tile.left, tile.right))
            bits[:, *place] = _lengths(ladder, item, tile, kind.bits)
    return [LevelBits(one, (1, 1)) for one in bits]


def _lengths(ladder: ExactLadder, pixels: Samples, tile: Tile, bits: int) -> NDArray[np.float64]:
    """Code lengths of a tile's samples in bits, `(colours, height, width)`."""
    shape = GroupShape.of(pixels[None])
    with torch.inference_mode():
        likelihood = IntegerWalk(ladder, 1, shape).likelihood()
        (parameters,) = likelihood.given(torch.from_numpy(to_steps(pixels[None])))
    order = np.concatenate(likelihood.waves())
    samples = pixels.reshape(-1, shape.colours)[order].astype(np.int64)
    found = np.empty((tile.height * tile.width, shape.colours))
    found[order] = PixelCodec(parameters, bits).code_lengths(samples)
    return found.T.reshape(shape.colours, tile.height, tile.width)
