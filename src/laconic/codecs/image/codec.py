"""The lossy image codec: pictures <-> .lac files, with a model that it is given."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from laconic.codecs.base import CoderSetting, ModelId
from laconic.codecs.image.alpha import encode_alpha
from laconic.codecs.image.decoder import Runtime, picture_model
from laconic.codecs.image.encoder import LAYER_BYTES, LayerWriter, Sender, encode_latents
from laconic.codecs.image.file import ALPHA, LATENTS, PROFILE, ImageFile
from laconic.codecs.image.file_size import SizeCurve, largest_below
from laconic.codecs.image.header import (
    DEFAULT_TUNE,
    QUALITY_STEPS,
    TUNES,
    ImageHeader,
    LevelCost,
    Totals,
)
from laconic.codecs.image.metadata import METADATA, write_metadata
from laconic.codecs.image.picture import Picture, take_apart
from laconic.codecs.image.refinement import THOROUGH, effort_steps
from laconic.codecs.image.tiles import MAX_SIDE, Tile, plan_tiles
from laconic.coding.random import SharedRandomness
from laconic.coding.relative_entropy import DEFAULT_CODER, ladder_coders
from laconic.coding.relative_entropy.base import Receipt
from laconic.container import Section, pack
from laconic.errors import InputError, UnreachableTargetError
from laconic.limits import MAX_PIXELS
from laconic.models.base import LatentVariableModel
from laconic.progress import Progress, silent

SEED = 0
SIZES: Final = SizeCurve(QUALITY_STEPS, math.log(20) / 1000, math.log, QUALITY_STEPS // 2)
"""File sizes grow nearly exponentially with the quality step."""

SHORT: Final = 0.1
"""A file this much below the requested size is reported in a warning."""


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
        tune: what the picture is made for, of models that have taste: a name of `TUNES`; None: the
            default.
        effort: 0 (one pass of the encoder) to 9 (a smaller file of the same quality); see
            `codecs.image.refinement`. `progress` then counts its steps, too.
        level_costs: whether files say what each level cost, part by part, and not only all of them
            together; this takes some 55 bytes.

    Raises:
        InputError: `tune` is no such name, the model has no taste, or `effort` is not 0 to 9.
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
        tune: str | None = None,
        effort: int = 0,
        level_costs: bool = False,
    ) -> None:
        self.model_id = ModelId.of(model_name, fingerprint)
        self.progress = progress or silent
        ladder = picture_model(model, model_name)
        self.taste = taste_step(ladder, model_name, tune)
        self.steps, self.level_costs = effort_steps(effort), level_costs
        self.coders = ladder_coders(coder, ladder.levels)
        if effort >= THOROUGH:
            self.coders = [one.thorough() for one in self.coders]
        self.runtime = Runtime(ladder, dtype, threads)

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
        return self._write(picture, _extra_sections(picture), step, seed, self.steps)

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
            return self._write(picture, extra, step, seed, self.steps)

        curve = SIZES
        if self.steps:  # Refined files are somewhat smaller: most of the search goes without.
            plain = largest_below(
                lambda step: self._write(picture, extra, step, seed, 0), bpp * pixels, SIZES
            )
            curve = replace(SIZES, start=plain.step if plain else 0)
        found = largest_below(write, bpp * pixels, curve)
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
        file = ImageFile.read(data)
        file.header.model.check(self.model_id)
        return file.render(self.runtime, self.progress)

    def _write(
        self, picture: Picture, extra: Sequence[Section], step: int, seed: int, refinement: int
    ) -> bytes:
        """The whole file at one quality step, with so many steps of refinement."""
        plan = plan_tiles(picture.height, picture.width, self.runtime.model.stride)
        shared, least_bytes = SharedRandomness(seed), LAYER_BYTES if plan.count == 1 else 0
        layers: tuple[int, ...] = ()
        streams, receipts = [], []
        with self.runtime.running():
            for index, tile in enumerate(plan):
                writer, before = LayerWriter(layers, least_bytes), index * (refinement + 1)
                sender = self._look(picture, tile, step)

                def tick(done: int, _: int, before: int = before) -> None:
                    self.progress(before + done, plan.count * (refinement + 1))

                if refinement:
                    sender = sender.refine(self.runtime.model, self.taste, refinement, tick)
                receipts.append(self._write_tile(sender, shared.child(index), writer))
                streams.append(writer.finish())
                layers = writer.sizes
                tick(refinement + 1, 0)
        costs = _add_costs(receipts)
        header = ImageHeader(
            model=self.model_id,
            plan=plan,
            colour=picture.colour,
            alpha=picture.alpha is not None,
            profile=bool(picture.profile),
            reduced=picture.reduced,
            quality_step=step,
            seed=seed,
            coders=tuple(map(CoderSetting.of, self.coders)),
            costs=costs if self.level_costs else _add_levels(costs, layers),
            metadata=bool(picture.metadata),
            taste=self.taste,
            layers=layers if len(layers) > 1 else (),
        )
        latents = [Section(LATENTS, data) for layer in zip(*streams, strict=True) for data in layer]
        # What else the picture needs follows the first layer, with which it can be shown.
        return pack(
            ImageFile.id, header.write(), [*latents[: plan.count], *extra, *latents[plan.count :]]
        )

    def _look(self, picture: Picture, tile: Tile, step: int) -> Sender:
        """What the encoder says of a tile."""
        pixels = picture.pixels[tile.top : tile.bottom, tile.left : tile.right]
        context = self.runtime.context(tile.height, tile.width, step, self.taste)
        below, right = context.shape[0] - tile.height, context.shape[1] - tile.width
        padded = np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="symmetric")
        x = torch.from_numpy(padded).to(context.log_beta).permute(2, 0, 1)[None] / 255
        return Sender(x, context, self.runtime.model.encode(x, context))

    def _write_tile(
        self, sender: Sender, shared: SharedRandomness, writer: LayerWriter
    ) -> list[Receipt]:
        model, prior = self.runtime.model, self.runtime.exact_prior
        where = sender.features, sender.context, writer.stream, shared
        _, receipts = encode_latents(model, prior, self.coders, *where)
        return receipts


class SmallFileWarning(UserWarning):
    """The finest file takes fewer bits than were requested."""


def is_short(data: bytes, bpp: float, pixels: int) -> bool:
    """Whether a file takes clearly fewer bits per pixel than were requested."""
    return 8 * len(data) < bpp * pixels * (1 - SHORT)


def warn_if_short(data: bytes, bpp: float, pixels: int) -> None:
    """Warn that the finest file takes fewer bits than were requested."""
    if is_short(data, bpp, pixels):
        warnings.warn(
            f"the finest file takes {8 * len(data) / pixels:.3g} bits per pixel, fewer than the "
            f"requested {bpp:.3g}",
            SmallFileWarning,
            stacklevel=4,
        )


def quality_step(quality: float) -> int:
    """Quality 1 to 100 to the integer 0 to 1000 that files carry."""
    if not 1 <= quality <= 100:
        raise InputError(f"quality is {quality}, give a number from 1 to 100")
    return round((quality - 1) / 99 * QUALITY_STEPS)


def taste_step(model: LatentVariableModel, name: str, tune: str | None) -> int | None:
    """The taste that files carry; None for models without taste.

    Args:
        model: the model.
        name: of the model, for messages.
        tune: a name of `TUNES`; None: the default.

    Raises:
        InputError: `tune` is no such name, or the model has no taste.
    """
    if tune is not None and tune not in TUNES:
        raise InputError(f"tune is {tune!r}, choose one of {', '.join(TUNES)}")
    if model.has_taste:
        return TUNES[tune or DEFAULT_TUNE]
    if tune is not None:
        raise InputError(
            f"the model {name!r} makes one kind of picture: leave out tune, or choose another model"
        )
    return None


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


def _add_levels(costs: Sequence[LevelCost], layers: Sequence[int]) -> Totals:
    """The short record; the last level of a layer ends with its section."""
    last = set(np.cumsum(layers) - 1)
    inner = [cost for level, cost in enumerate(costs) if level not in last]
    return Totals(
        sum(cost.ideal_bits for cost in costs),
        sum(cost.theory_bits for cost in costs),
        tuple(sum(cost.part_bytes.values()) for cost in inner),
    )


def _add(total: dict[str, float], parts: Mapping[str, float]) -> None:
    for name, bits in parts.items():
        total[name] = total.get(name, 0.0) + bits
