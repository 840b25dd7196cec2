"""The lossy image codec: pictures <-> .lac files, with a model that it is given."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from laconic.codecs.image.alpha import decode_alpha, encode_alpha
from laconic.codecs.image.file_size import SizeCurve, largest_below
from laconic.codecs.image.header import (
    CODEC,
    FINGERPRINT_BYTES,
    QUALITY_STEPS,
    CoderSetting,
    ImageHeader,
    LevelCost,
)
from laconic.codecs.image.latents import decode_latents, encode_latents
from laconic.codecs.image.metadata import METADATA, write_metadata
from laconic.codecs.image.picture import Colour, Picture, put_together, take_apart
from laconic.codecs.image.tiles import MAX_PIXELS, MAX_SIDE, Canvas, Tile, plan_tiles
from laconic.codecs.info import PROFILE, open_image_file, read_attachments
from laconic.codecs.runtime import Runtime
from laconic.coding.queue.stream import QueueDecoder, QueueEncoder
from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy import CODERS, DEFAULT_CODER, ladder_coders
from laconic.coding.relative_entropy.base import Receipt, RelativeEntropyCoder
from laconic.container import Container, Section, pack
from laconic.errors import (
    ConfigError,
    CorruptFileError,
    InputError,
    UnreachableTargetError,
    UnsupportedFileError,
)
from laconic.models.base import Context, LatentVariableModel, NormalLadder
from laconic.progress import Progress, silent
from laconic.threads import each, using

SEED = 0
SIZES: Final = SizeCurve(QUALITY_STEPS, math.log(20) / 1000, math.log, QUALITY_STEPS // 2)
"""File sizes grow nearly exponentially with the quality step."""

SHORT: Final = 0.1
"""A file this much below the requested size causes a warning."""

TILES_AT_ONCE: Final = 2
"""Tiles that are decoded side by side: each takes as much memory as the networks do."""
LATENTS, ALPHA = "latents", "alpha"


class ImageCodec:
    """Writes and reads images with one model.

    Args:
        model: a ladder of latents.
        model_name: its name, written into files.
        fingerprint: at least 8 bytes that identify its weights; the first 8 are written into files.
        coder: a name that `ladder_coders` knows; reading follows the file instead.
        dtype: precision of the networks, "float32", "bfloat16" or "float64".
        threads: at most so many are used; None: as many as torch has.
        progress: called with tiles done and tiles in all, as each is coded.
    """

    def __init__(
        self,
        model: LatentVariableModel,
        model_name: str,
        fingerprint: bytes,
        coder: str = DEFAULT_CODER,
        dtype: str = "float32",
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        if not (isinstance(model, NormalLadder) and model.shows_pictures):
            raise ConfigError(
                f"the model {model_name!r} shows no pictures of its own: it is for lossless "
                "compression (--lossless) or for the laboratory"
            )
        self.progress: Progress = progress or silent
        self.model_name = model_name
        self.fingerprint = fingerprint[:FINGERPRINT_BYTES]
        if len(self.fingerprint) != FINGERPRINT_BYTES:
            raise ValueError(f"a fingerprint has at least {FINGERPRINT_BYTES} bytes")
        self.coders = ladder_coders(coder, model.levels)
        self.runtime = Runtime(model, dtype, threads)

    def encode(
        self,
        image: Image.Image | NDArray[Any],
        quality: float = 50,
        bpp: float | None = None,
        seed: int = SEED,
        strip: bool = False,
    ) -> bytes:
        """Write an image.

        Args:
            image: a Pillow image, or an array `(h, w)` or `(h, w, 1 to 4)`, uint8 or uint16.
            quality: 1 (smallest file) to 100 (best picture), when `bpp` is None.
            bpp: bits per pixel of the whole file; the largest file not above it is taken, the
                finest one where that takes fewer.
            seed: of the shared randomness, below 2^64.
            strip: leave out EXIF and XMP data and dots per inch.

        Raises:
            InputError: the image cannot be coded or the request is impossible.
            UnreachableTargetError: even the coarsest file takes more than `bpp`.
        """
        picture = take_apart(image, strip)
        if bpp is None:
            return self.encode_picture(picture, quality_step(quality), seed)
        data = self.search(picture, bpp, seed)
        warn_if_short(data, bpp, picture.height * picture.width)
        return data

    def encode_picture(self, picture: Picture, step: int, seed: int = SEED) -> bytes:
        """Write an image that has been taken apart, at one of the steps that `quality_step` gives.

        Raises:
            InputError: the image is too large.
        """
        _check_size(picture)
        return self._write(picture, _extra_sections(picture), step, seed)

    def search(self, picture: Picture, bpp: float, seed: int = SEED) -> bytes:
        """The largest file of at most so many bits per pixel; the finest one may take fewer.

        Raises:
            InputError: the image is too large, or `bpp` is no positive number.
            UnreachableTargetError: even the coarsest file takes more.
        """
        _check_size(picture)
        if not (math.isfinite(bpp) and bpp > 0):
            raise InputError(f"bpp is {bpp}, give a number above 0")
        pixels, extra = picture.height * picture.width, _extra_sections(picture)

        def write(step: int) -> bytes:
            return self._write(picture, extra, step, seed)

        found = largest_below(write, bpp * pixels, SIZES)
        if found is None:
            raise UnreachableTargetError(
                f"{bpp:.3g} bits per pixel cannot be reached for this image: the smallest file "
                f"of this model takes {8 * len(write(0)) / pixels:.3g}"
            )
        return found.data

    def decode(self, data: bytes) -> Image.Image:
        """Read an image.

        Raises:
            CorruptFileError: the file is damaged.
            UnsupportedFileError: it needs another model, another coder or a newer laconic.
        """
        container, header = open_image_file(data)
        self._check_model(header)
        streams = container.named(LATENTS)
        if len(streams) != header.plan.count:
            raise CorruptFileError(
                f"the file has {len(streams)} tiles, its header says {header.plan.count}"
            )
        alpha = _read_alpha(container, header)
        profile, metadata = read_attachments(container, header)
        coders = _find_coders(header.coders)
        canvas = Canvas(header.plan)
        tiles = list(zip(header.plan, streams, strict=True))
        alone = len(tiles) == 1

        def read(index: int) -> NDArray[np.float32]:
            with self.runtime.running(alone):
                return self._read_tile(*tiles[index], coders, header, index)

        with using(self.runtime.threads, alone):
            for first in range(0, len(tiles), TILES_AT_ONCE):
                some = range(first, min(first + TILES_AT_ONCE, len(tiles)))
                for index, values in zip(some, each(read, some), strict=True):
                    canvas.add(tiles[index][0], values)
                    self.progress(index + 1, len(tiles))
        colour = Colour(header.colour)
        return put_together(
            Picture(canvas.pixels, colour, alpha, profile, header.reduced, metadata)
        )

    def _write(self, picture: Picture, extra: Sequence[Section], step: int, seed: int) -> bytes:
        """The whole file at one quality step."""
        plan = plan_tiles(picture.height, picture.width, self.runtime.model.stride)
        shared = SharedRandomness(seed)
        sections, receipts = [], []
        with self.runtime.running():
            for index, tile in enumerate(plan):
                pixels = picture.pixels[tile.top : tile.bottom, tile.left : tile.right]
                stream, costs = self._write_tile(pixels, step, shared.child(index))
                sections.append(Section(LATENTS, stream))
                receipts.append(costs)
                self.progress(index + 1, plan.count)
        header = ImageHeader(
            model=self.model_name,
            fingerprint=self.fingerprint,
            plan=plan,
            colour=picture.colour,
            alpha=picture.alpha is not None,
            profile=bool(picture.profile),
            reduced=picture.reduced,
            quality_step=step,
            seed=seed,
            coders=tuple(CoderSetting(coder.id, coder.config()) for coder in self.coders),
            costs=_add_costs(receipts),
            metadata=bool(picture.metadata),
        )
        return pack(CODEC, header.write(), [*sections, *extra])

    def _write_tile(
        self, pixels: NDArray[np.uint8], step: int, shared: SharedRandomness
    ) -> tuple[bytes, list[Receipt]]:
        context = self._context(pixels.shape[0], pixels.shape[1], step)
        below, right = context.shape[0] - pixels.shape[0], context.shape[1] - pixels.shape[1]
        padded = np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="symmetric")
        x = torch.from_numpy(padded).to(context.log_beta).permute(2, 0, 1)[None] / 255
        stream = QueueEncoder()
        model, prior = self.runtime.model, self.runtime.exact_prior
        _, receipts = encode_latents(model, prior, self.coders, x, context, stream, shared)
        return stream.finish(), receipts

    def _read_tile(
        self,
        tile: Tile,
        data: bytes,
        coders: Sequence[RelativeEntropyCoder],
        header: ImageHeader,
        index: int,
    ) -> NDArray[np.float32]:
        context = self._context(tile.height, tile.width, header.quality_step)
        shared = SharedRandomness(header.seed).child(index)
        stream = QueueDecoder(data)
        latents = decode_latents(self.runtime.exact_prior, coders, context, stream, shared)
        shown: Tensor = self.runtime.model.likelihood(latents, context).mean
        picture = shown[0, :, : tile.height, : tile.width].permute(1, 2, 0).float()
        values: NDArray[np.float32] = picture.cpu().numpy()
        if not np.isfinite(values).all():
            raise CorruptFileError("the file decodes to values that are no numbers; it is damaged")
        return values.clip(0, 1)

    def _context(self, height: int, width: int, step: int) -> Context:
        runtime = self.runtime
        return runtime.model.context(
            (height, width), step, QUALITY_STEPS, runtime.dtype, runtime.device
        )

    def _check_model(self, header: ImageHeader) -> None:
        if header.fingerprint != self.fingerprint:
            raise UnsupportedFileError(
                f"the file was written with the model {header.model!r} "
                f"({header.fingerprint.hex()}), this is {self.model_name!r} "
                f"({self.fingerprint.hex()}); decode it with the model that wrote it"
            )
        if len(header.coders) != self.runtime.model.levels:
            raise CorruptFileError(
                f"the file has {len(header.coders)} levels, its model {self.runtime.model.levels}"
            )


class SmallFileWarning(UserWarning):
    """The finest file takes fewer bits than requested."""


def is_short(data: bytes, bpp: float, pixels: int) -> bool:
    """Whether a file takes fewer bits per pixel than requested, beyond what steps allow."""
    return 8 * len(data) < bpp * pixels * (1 - SHORT)


def warn_if_short(data: bytes, bpp: float, pixels: int) -> None:
    """Warn that the finest file takes fewer bits than requested."""
    if is_short(data, bpp, pixels):
        warnings.warn(
            f"the finest file takes {8 * len(data) / pixels:.3g} bits per pixel, fewer than the "
            f"{bpp:.3g} requested",
            SmallFileWarning,
            stacklevel=4,
        )


def quality_step(quality: float) -> int:
    """Quality 1 to 100 to the integer 0 to 1000 that files carry."""
    if not 1 <= quality <= 100:
        raise InputError(f"quality is {quality}, give a number from 1 to 100")
    return round((quality - 1) / 99 * QUALITY_STEPS)


def _check_size(picture: Picture) -> None:
    if max(picture.height, picture.width) > MAX_SIDE or picture.height * picture.width > MAX_PIXELS:
        raise InputError(
            f"{picture.width} x {picture.height} pixels are too many: sides go up to {MAX_SIDE}, "
            f"their product to {MAX_PIXELS}; cut the image into parts"
        )


def _extra_sections(picture: Picture) -> list[Section]:
    sections = []
    if picture.alpha is not None:
        sections.append(Section(ALPHA, encode_alpha(picture.alpha)))
    if picture.profile:
        sections.append(Section(PROFILE, picture.profile))
    if picture.metadata:
        sections.append(Section(METADATA, write_metadata([picture.metadata])))
    return sections


def _read_alpha(container: Container, header: ImageHeader) -> NDArray[np.uint8] | None:
    alphas = container.named(ALPHA)
    if len(alphas) != header.alpha:
        raise CorruptFileError("the file's sections do not match its header")
    return decode_alpha(alphas[0], header.plan.height, header.plan.width) if alphas else None


def _find_coders(settings: Sequence[CoderSetting]) -> list[RelativeEntropyCoder]:
    coders: list[RelativeEntropyCoder] = []
    for setting in settings:
        if setting.id not in CODERS:
            raise UnsupportedFileError(
                f"the file needs the coder {setting.id!r}, which this laconic lacks; update it"
            )
        coders.append(CODERS[setting.id].from_config(setting.config))
    return coders


def _add_costs(tiles: Sequence[Sequence[Receipt]]) -> tuple[LevelCost, ...]:
    """Sum over tiles, level by level, rounded to whole bits and bytes."""
    costs = []
    for receipts in zip(*tiles, strict=True):
        parts: dict[str, float] = {}
        for receipt in receipts:
            _add(parts, receipt.parts)
        costs.append(
            LevelCost(
                round(sum(receipt.ideal_bits for receipt in receipts)),
                round(sum(receipt.theory_bits for receipt in receipts)),
                {name: round(bits / 8) for name, bits in parts.items()},
            )
        )
    return tuple(costs)


def _add(total: dict[str, float], parts: Mapping[str, float]) -> None:
    for name, bits in parts.items():
        total[name] = total.get(name, 0.0) + bits
