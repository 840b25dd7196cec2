"""Latents to pixels: the decoder of lossy files, and how a network is run."""

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from laconic.codecs.base import LoadedModel
from laconic.codecs.image.header import QUALITY_STEPS, ImageHeader
from laconic.codecs.image.latents import decode_latents
from laconic.codecs.image.tiles import Canvas, Tile
from laconic.coding.queue.stream import QueueDecoder
from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy.base import RelativeEntropyCoder
from laconic.errors import ConfigError, CorruptFileError
from laconic.models.base import Context, LatentVariableModel, NormalLadder
from laconic.progress import Progress
from laconic.threads import each, using

DTYPES: Final = ("float32", "bfloat16", "float64")
TILES_AT_ONCE: Final = 2
"""Tiles that are decoded side by side: each takes as much memory as the networks do."""


class Runtime:
    """A model at one precision.

    Args:
        model: the model; it is put into evaluation mode.
        dtype: "float32"; "bfloat16": autocast, latents stay float32; "float64": a copied model.
        threads: as `laconic.threads` uses them; None: as many as torch has.
    """

    def __init__(
        self, model: NormalLadder, dtype: str = "float32", threads: int | None = None
    ) -> None:
        if dtype not in DTYPES:
            raise ConfigError(f"dtype is {dtype!r}, choose one of {', '.join(DTYPES)}")
        if threads is not None and threads < 1:
            raise ConfigError(f"threads is {threads}, give 1 or more")
        self.model = copy.deepcopy(model).double() if dtype == "float64" else model
        self.model.eval()
        self.exact_prior = model.exact_prior()
        self.dtype = torch.float64 if dtype == "float64" else torch.float32
        self.autocast = dtype == "bfloat16"
        self.threads = threads
        tensors = [*model.parameters(), *model.buffers()]
        self.device = tensors[0].device if tensors else torch.device("cpu")

    @classmethod
    def of(cls, loaded: LoadedModel, dtype: str, threads: int | None) -> Self:
        """A model that is loaded; raises `ConfigError` where it is not one of pictures."""
        return cls(picture_model(loaded.model, loaded.name), dtype, threads)

    @contextlib.contextmanager
    def running(self, alone: bool = True) -> Iterator[None]:
        """Inference mode, with this precision and these threads; all is restored afterwards.

        Args:
            alone: no other work runs at the same time, see `laconic.threads.using`.
        """
        precision = torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast)
        with using(self.threads, alone), torch.inference_mode(), precision:
            yield

    def context(self, height: int, width: int, step: int) -> Context:
        """What both sides know of a tile before its first bit, at one quality step."""
        return self.model.context((height, width), step, QUALITY_STEPS, self.dtype, self.device)


def picture_model(model: LatentVariableModel, name: str) -> NormalLadder:
    """The model, if lossy files can be written with it; raises `ConfigError` otherwise."""
    if not (isinstance(model, NormalLadder) and model.shows_pictures):
        raise ConfigError(
            f"the model {name!r} shows no pictures of its own: it is for lossless "
            "compression (--lossless) or for the laboratory"
        )
    return model


def decode_tiles(
    header: ImageHeader, streams: Sequence[bytes], runtime: Runtime, progress: Progress
) -> NDArray[np.uint8]:
    """Decode the tiles of a file and join them.

    Args:
        header: of the file.
        streams: the bytes of each tile.
        runtime: the model that wrote the file.
        progress: called with tiles done and tiles in all.

    Returns:
        Pixels `(height, width, 3)`.

    Raises:
        CorruptFileError: the file is damaged.
        UnsupportedFileError: it needs another coder.
    """
    if len(header.coders) != runtime.model.levels:
        raise CorruptFileError(
            f"the file has {len(header.coders)} levels, its model {runtime.model.levels}"
        )
    coders = [coder.make() for coder in header.coders]
    canvas = Canvas(header.plan)
    tiles = list(zip(header.plan, streams, strict=True))
    alone = len(tiles) == 1

    def read(index: int) -> NDArray[np.float32]:
        with runtime.running(alone):
            return _read_tile(*tiles[index], coders, header, index, runtime)

    with using(runtime.threads, alone):
        for first in range(0, len(tiles), TILES_AT_ONCE):
            some = range(first, min(first + TILES_AT_ONCE, len(tiles)))
            for index, values in zip(some, each(read, some), strict=True):
                canvas.add(tiles[index][0], values)
                progress(index + 1, len(tiles))
    return canvas.pixels


def _read_tile(
    tile: Tile,
    data: bytes,
    coders: Sequence[RelativeEntropyCoder],
    header: ImageHeader,
    index: int,
    runtime: Runtime,
) -> NDArray[np.float32]:
    context = runtime.context(tile.height, tile.width, header.quality_step)
    shared = SharedRandomness(header.seed).child(index)
    stream = QueueDecoder(data)
    latents = decode_latents(runtime.exact_prior, coders, context, stream, shared)
    shown: Tensor = runtime.model.likelihood(latents, context).mean
    picture = shown[0, :, : tile.height, : tile.width].permute(1, 2, 0).float()
    values: NDArray[np.float32] = picture.cpu().numpy()
    if not np.isfinite(values).all():
        raise CorruptFileError("the file decodes to NaN or infinite pixels; it is damaged")
    return values.clip(0, 1)
