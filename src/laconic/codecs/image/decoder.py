"""Bits to latents to pixels: the receiver of lossy files, and how a network is run."""

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Normal

from laconic.codecs.base import LoadedModel
from laconic.codecs.image.header import QUALITY_STEPS, TASTE_STEPS, ImageHeader
from laconic.codecs.image.tiles import Canvas, Tile
from laconic.coding.queue.stream import QueueDecoder
from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy.base import RelativeEntropyCoder
from laconic.container import Section
from laconic.distributions.rated import RatedNormal
from laconic.errors import ConfigError, CorruptFileError, LaconicError
from laconic.models.base import Context, LatentVariableModel, NormalLadder, Prior, PriorWalk
from laconic.models.walk import walk
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

    def context(self, height: int, width: int, step: int, taste: int | None = None) -> Context:
        """What both sides know of a tile before its first bit.

        Args:
            height: rows of the tile.
            width: columns of the tile.
            step: of the quality, 0 to `QUALITY_STEPS`.
            taste: 0 to `TASTE_STEPS`; None: halfway.
        """
        share = 0.5 if taste is None else taste / TASTE_STEPS
        where = self.dtype, self.device
        return self.model.context((height, width), step, QUALITY_STEPS, *where, taste=share)


def picture_model(model: LatentVariableModel, name: str) -> NormalLadder:
    """The model, if lossy files can be written with it; raises `ConfigError` otherwise."""
    if not (isinstance(model, NormalLadder) and model.shows_pictures):
        raise ConfigError(
            f"the model {name!r} shows no pictures of its own: it is for lossless "
            "compression (--lossless) or for the laboratory"
        )
    return model


@dataclass(frozen=True)
class Shown:
    """A picture, and how much of its file it shows.

    Attributes:
        pixels: `(height, width, 3)`.
        levels: levels that were decoded of every tile; the others are the prior's means.
    """

    pixels: NDArray[np.uint8]
    levels: int


class LevelReader:
    """Reads the levels of one tile; a level that is lost, and all below it, become prior means.

    Args:
        coders: one per level; level k uses the substream `shared.child(k)`.
        layers: of the tile, each with its number of levels.
        shared: randomness that the sender had too.
        most: levels that are read at most.
    """

    def __init__(
        self,
        coders: Sequence[RelativeEntropyCoder],
        layers: Sequence[tuple[Section, int]],
        shared: SharedRandomness,
        most: int | None = None,
    ) -> None:
        self._coders, self._shared = coders, shared
        self._places = [(section, level == 0) for section, size in layers for level in range(size)]
        self._most = len(coders) if most is None else most
        self._stream = QueueDecoder(b"")
        self.levels = 0
        """Levels read so far."""

    def __call__(self, level: int, prior: Normal) -> Tensor:
        """The latent of `level`; called once per level, top first."""
        draw = self._read(level, prior) if self.levels == level < self._most else None
        if draw is None:
            return prior.loc
        self.levels += 1
        return draw

    def _read(self, level: int, prior: Normal) -> Tensor | None:
        """The level's draw; None if it is lost.

        Raises:
            CorruptFileError: the section is whole, and its bytes are not those of the coder.
        """
        section, is_first = self._places[level]
        if is_first:
            self._stream = QueueDecoder(section.data)
        try:
            draw = self._coders[level].decode(
                to_coder(prior), self._stream, self._shared.child(level)
            )
        except LaconicError:
            if section.whole:
                raise
            return None
        return draw if section.whole or self._stream.is_certain else None


def decode_latents(
    exact_prior: Prior, levels: int, context: Context, read: Callable[[int, Normal], Tensor]
) -> list[Tensor]:
    """Read what the sender wrote; floats decide values, never how many bits are read.

    Args:
        exact_prior: what `model.exact_prior()` returned.
        levels: of the ladder.
        context: of the picture.
        read: level and its prior -> the latent: a `LevelReader`.
    """
    draws = walk(PriorWalk(levels, exact_prior, context), read)
    return [draw.to(context.log_beta) for draw in draws]


def to_coder(distribution: Normal) -> Normal:
    """On the CPU, where coders work; floats as float32, whatever the network computes in."""
    if isinstance(distribution, RatedNormal):
        exact = (distribution.loc, distribution.scale, distribution.rates)
        return RatedNormal(*(part.cpu() for part in exact))
    loc = distribution.loc.to("cpu", torch.float32)
    scale = distribution.scale.to("cpu", torch.float32)
    return Normal(loc, scale, validate_args=False)


Watch = Callable[[Tile, int, Normal, Tensor], None]
"""Called with a tile, a level, its prior and its latent, as they are read."""


class TileReader:
    """Reads tiles of a file, each by itself.

    Args:
        header: of the file.
        sections: the latents of all tiles, layer by layer.
        runtime: the model that wrote the file.
        most: levels that are read at most; None: all.
        watch: sees every latent, maybe on several threads at once; None: nothing does.

    Raises:
        CorruptFileError: the file has other levels than the model.
        UnsupportedFileError: it needs another coder.
    """

    def __init__(
        self,
        header: ImageHeader,
        sections: Sequence[Section],
        runtime: Runtime,
        most: int | None = None,
        watch: Watch | None = None,
    ) -> None:
        if len(header.coders) != runtime.model.levels:
            raise CorruptFileError(
                f"the file has {len(header.coders)} levels, its model {runtime.model.levels}"
            )
        self.header, self.runtime = header, runtime
        self._sections, self._most, self._watch = sections, most, watch
        self._coders = [coder.make() for coder in header.coders]
        self._count, self._root = header.plan.count, SharedRandomness(header.seed)

    @property
    def alone(self) -> bool:
        """Whether the image is a single tile."""
        return self._count == 1

    def latents(self, index: int, tile: Tile) -> tuple[list[Tensor], int]:
        """The latents of tile `index`, top first, and how many of them were read."""
        own = zip(self._sections[index :: self._count], self.header.layer_sizes, strict=True)
        levels = LevelReader(self._coders, list(own), self._root.child(index), self._most)

        def read(level: int, prior: Normal) -> Tensor:
            latent = levels(level, prior)
            if self._watch is not None:
                self._watch(tile, level, prior, latent)
            return latent

        runtime, context = self.runtime, self._context(tile)
        found = decode_latents(runtime.exact_prior, runtime.model.levels, context, read)
        return found, levels.levels

    def show(self, index: int, tile: Tile) -> tuple[NDArray[np.float32], int]:
        """The pixels of tile `index` in [0, 1], `(height, width, 3)`, and the levels read."""
        with self.runtime.running(self.alone):
            latents, levels = self.latents(index, tile)
            shown: Tensor = self.runtime.model.likelihood(latents, self._context(tile)).mean
            picture = shown[0, :, : tile.height, : tile.width].permute(1, 2, 0).float()
            values: NDArray[np.float32] = picture.cpu().numpy()
        if not np.isfinite(values).all():
            raise CorruptFileError("the file decodes to NaN or infinite pixels; it is damaged")
        return values.clip(0, 1), levels

    def _context(self, tile: Tile) -> Context:
        header = self.header
        return self.runtime.context(tile.height, tile.width, header.quality_step, header.taste)


def decode_tiles(reader: TileReader, progress: Progress, area: Tile | None = None) -> Shown:
    """Decode the tiles of a file and join them.

    Args:
        reader: of the file.
        progress: called with tiles done and tiles in all.
        area: the part of the image that is wanted, tiles outside it are not read; None: all.

    Raises:
        CorruptFileError: the file is damaged.
    """
    plan = reader.header.plan
    canvas, wanted = Canvas(plan, area), plan.touching(area or plan.whole)
    found = []
    with using(reader.runtime.threads, reader.alone):
        for first in range(0, len(wanted), TILES_AT_ONCE):
            some = wanted[first : first + TILES_AT_ONCE]
            shown = each(lambda one: reader.show(*one), some)
            for done, ((_, tile), (values, levels)) in enumerate(zip(some, shown, strict=True), 1):
                canvas.add(tile, values)
                found.append(levels)
                progress(first + done, len(wanted))
    return Shown(canvas.finish(), min(found))
