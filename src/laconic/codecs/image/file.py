"""A lossy file: what it says about itself, read without a model, and its decoding."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, final

from PIL import Image

from laconic.codecs.base import Codec, Content, Crop, Decoding, FileInfo
from laconic.codecs.image.alpha import CONSTANT, decode_alpha
from laconic.codecs.image.header import QUALITY_STEPS, TASTE_STEPS, TUNES, ImageHeader, Totals
from laconic.codecs.image.metadata import METADATA, NONE, Info, Metadata, read_metadata
from laconic.codecs.image.picture import Colour, Picture, describe, put_together
from laconic.codecs.image.tiles import Tile
from laconic.container import LacFile, Section
from laconic.errors import CorruptFileError
from laconic.progress import Progress

if TYPE_CHECKING:
    from laconic.codecs.image.decoder import Runtime

LATENTS, ALPHA, PROFILE = "latents", "alpha", "icc"
"""Names of the sections: one of latents for each tile and layer, and one of each other kind at
most."""

READ_AHEAD_BYTES: Final = 12
"""A level is shown once so many bytes after its own have arrived."""
MODES: Final = {Colour.RGB: "RGB", Colour.GREY: "L", Colour.BILEVEL: "1"}


@dataclass(frozen=True)
class LevelInfo:
    """One level of the ladder, all tiles together.

    Attributes:
        coder: name of its coder.
        settings: the coder's parameters.
        ideal_bits: KL(posterior || prior) that the encoder paid for; None where the file has only
            the sum of all levels.
        theory_bits: the coder's own expectation for it; None as above.
        bits: bits written, rounded to bytes.
        parts: bits written, by part, each rounded to a byte; empty where the file has no costs of
            levels.
        prefix_bytes: bytes of the file, from its start, that show this level and those above it.
    """

    coder: str
    settings: dict[str, int]
    ideal_bits: int | None
    theory_bits: int | None
    bits: int
    parts: dict[str, int]
    prefix_bytes: int


@dataclass(frozen=True, kw_only=True)
class ImageInfo(FileInfo):
    """A lossy file in numbers.

    Attributes:
        ideal_bits: KL that the encoder paid for, all levels.
        theory_bits: the coders' own expectation for it, all levels.
        coder: names of the coders, joined by "+" where levels differ.
        model: name of the model.
        width: columns.
        height: rows.
        mode: "RGB", "L" or "1", with "A" where there is alpha.
        fingerprint: of the model's weights, hexadecimal.
        quality: 1 to 100.
        seed: of the shared randomness.
        tiles: number of tiles.
        reduced: whether the input had 16 bits a sample.
        levels: top first.
        tune: what the picture was made for, "psnr", "balanced", "ms-ssim" or a number from 0 to 1
            between them; None for a model without taste.
    """

    ideal_bits: int
    theory_bits: int
    coder: str
    model: str
    width: int
    height: int
    mode: str
    fingerprint: str
    quality: float
    seed: int
    tiles: int
    reduced: bool
    levels: tuple[LevelInfo, ...]
    tune: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `laconic info --json` prints them."""
        return asdict(self) | {"bpp": self.bpp, "pictures": 1}


class PartialPictureWarning(UserWarning):
    """Part of a picture is lost; what is left is shown."""


@final
@dataclass(frozen=True)
class ImageFile(Codec):
    """A lossy file, opened.

    Attributes:
        file: its sections.
        header: the codec's own header.
        profile: colour profile, deflated, or empty.
        metadata: EXIF data, XMP data and dots per inch, where there are any.
    """

    id: ClassVar[str] = "image"
    rescuable: ClassVar[bool] = True

    file: LacFile
    header: ImageHeader
    profile: bytes
    metadata: Metadata

    @classmethod
    def open(cls, file: LacFile) -> Self:
        """Read the header, and check that the sections are those that it names."""
        header = ImageHeader.read(file.header)
        found = sum(section.name == LATENTS for section in file.sections)
        expected = header.plan.count * len(header.layer_sizes)
        if found != expected:
            raise CorruptFileError(
                f"the file has {found} sections of latents, its header says {expected}"
            )
        file.optional(ALPHA, header.alpha)
        profile = file.optional(PROFILE, header.profile)
        record = file.optional(METADATA, header.metadata)
        has_metadata = header.metadata and file.is_whole(METADATA)
        metadata = read_metadata(record, 1)[0] if has_metadata else NONE
        return cls(file, header, profile if file.is_whole(PROFILE) else b"", metadata)

    @property
    def content(self) -> Content:
        """One picture."""
        return Content.PICTURE

    def picture_sizes(self) -> set[tuple[int, int]]:
        """Width and height of the picture."""
        return {(self.header.plan.width, self.header.plan.height)}

    def attachments(self) -> Info:
        """What `Image.info` of the decoded picture will have; no pixel is decoded for it."""
        return describe(self.profile, self.metadata)

    def describe(self) -> ImageInfo:
        """Everything that the file says about itself."""
        header, levels = self.header, self._describe_levels()
        return ImageInfo(
            file_bits=8 * self.file.size_bytes,
            ideal_bits=header.ideal_bits,
            theory_bits=header.theory_bits,
            codec=self.id,
            coder="+".join(dict.fromkeys(level.coder for level in levels)),
            model=header.model.name,
            fingerprint=header.model.fingerprint.hex(),
            width=header.plan.width,
            height=header.plan.height,
            mode=self._mode(),
            quality=round(1 + 99 * header.quality_step / QUALITY_STEPS, 3),
            seed=header.seed,
            tiles=header.plan.count,
            reduced=header.reduced,
            sections=self.file.section_bits(),
            levels=levels,
            tune=_tune(header.taste),
        )

    def _describe_levels(self) -> tuple[LevelInfo, ...]:
        """What the file says of each level."""
        header, found = self.header, []
        sizes = self._level_bytes()
        for level, prefix in enumerate(self._prefix_bytes(sizes)):
            coder, cost = header.coders[level], None
            if not isinstance(header.costs, Totals):
                cost = header.costs[level]
            parts = cost.part_bytes if cost else {}
            one = LevelInfo(
                coder.id,
                dict(coder.config),
                cost.ideal_bits if cost else None,
                cost.theory_bits if cost else None,
                8 * sizes[level],
                {name: 8 * size for name, size in parts.items()},
                prefix,
            )
            found.append(one)
        return tuple(found)

    def _level_bytes(self) -> list[int]:
        """The bytes of each level, all tiles together."""
        header = self.header
        if not isinstance(header.costs, Totals):
            return [sum(cost.part_bytes.values()) for cost in header.costs]
        tiles, inner = header.plan.count, iter(header.costs.level_bytes)
        stored = [section.size for section in self.latents()]
        sizes: list[int] = []
        for layer, levels in enumerate(header.layer_sizes):
            first = [next(inner) for _ in range(levels - 1)]
            whole = sum(stored[layer * tiles : (layer + 1) * tiles])
            sizes += [*first, max(0, whole - sum(first))]
        return sizes

    def _prefix_bytes(self, sizes: Sequence[int]) -> list[int]:
        """For each level the bytes from the file's start with which it can be shown.

        Within a layer of a picture of one tile they follow from the sizes of levels, which are
        rounded; all tiles of a layer end with it.
        """
        file, header = self.file, self.header
        start = file.overhead_bytes + len(file.header)
        ends, tiles = [], header.plan.count
        for section in file.sections:
            start += section.size
            if section.name == LATENTS:
                ends.append(start)
        stored = [section.size for section in self.latents()]
        prefixes: list[int] = []
        for layer, count in enumerate(header.layer_sizes):
            end = ends[(layer + 1) * tiles - 1]
            first = len(prefixes)
            for level in range(count):
                read = sum(sizes[first : first + level + 1]) + READ_AHEAD_BYTES
                is_inside = tiles == 1 and level < count - 1
                prefixes.append(min(end, end - stored[layer] + read) if is_inside else end)
        return prefixes

    def decode(self, how: Decoding) -> Iterator[tuple[str, Image.Image]]:
        """Decode the picture, without a name."""
        from laconic.codecs.image.decoder import Runtime

        how.check_size(self.header.plan.width, self.header.plan.height)
        runtime = Runtime.of(how.model(self.header.model), how.dtype, how.threads)
        return iter([("", self.render(runtime, how.progress, crop=how.crop))])

    def preview(self, how: Decoding, reduction: float) -> Image.Image:
        """The picture from the top levels alone, as many as a small version of it needs."""
        from laconic.codecs.image.decoder import Runtime

        how.check_size(self.header.plan.width, self.header.plan.height)
        runtime = Runtime.of(how.model(self.header.model), how.dtype, how.threads)
        return self.render(runtime, how.progress, runtime.model.preview_levels(reduction))

    def render(
        self,
        runtime: "Runtime",
        progress: Progress,
        most: int | None = None,
        crop: Crop | None = None,
    ) -> Image.Image:
        """Decode the picture with the model that wrote it.

        Args:
            runtime: the model.
            progress: called with tiles done and tiles in all.
            most: levels that are decoded at most; None: all.
            crop: the part that is wanted, tiles outside it are not decoded; None: all.

        Raises:
            InputError: the crop is not inside the picture.
        """
        from laconic.codecs.image.decoder import TileReader, decode_tiles

        header, alpha, area = self.header, None, self.header.plan.whole
        if crop is not None:
            x, y, width, height = crop.check(area.width, area.height)
            area = Tile(y, y + height, x, x + width)
        reader = TileReader(header, self.latents(), runtime, most)
        shown = decode_tiles(reader, progress, area)
        if header.alpha:
            opaque = bytes([CONSTANT, 255])
            plane = self.file.only(ALPHA) if self.file.is_whole(ALPHA) else opaque
            whole = decode_alpha(plane, header.plan.height, header.plan.width)
            alpha = whole[area.within(header.plan.whole)].copy()
        if lost := self._lost(shown.levels, most):
            warnings.warn(f"the file is not whole: {lost}", PartialPictureWarning, stacklevel=2)
        colour = Colour(header.colour)
        return put_together(
            Picture(shown.pixels, colour, alpha, self.profile, header.reduced, self.metadata)
        )

    def latents(self) -> list[Section]:
        """The sections of latents: those of all tiles, layer by layer."""
        return [section for section in self.file.sections if section.name == LATENTS]

    def _lost(self, levels: int, most: int | None) -> str:
        """What is missing, in words; "" if nothing is."""
        total, words = len(self.header.coders), []
        if levels < (total if most is None else min(most, total)):
            words.append(f"{levels} of {total} levels of detail are shown")
        names = {ALPHA: "transparency", PROFILE: "colour profile", METADATA: "metadata"}
        for name, word in names.items():
            if not self.file.is_whole(name):
                words.append(f"the {word} is lost")
        return ", ".join(words)

    def _mode(self) -> str:
        if self.header.alpha:
            return "RGBA" if self.header.colour == Colour.RGB else "LA"
        return MODES[Colour(self.header.colour)]


def _tune(taste: int | None) -> str | None:
    """The name of a taste, or its number from 0 to 1."""
    if taste is None:
        return None
    names = {step: name for name, step in TUNES.items()}
    return names.get(taste, f"{taste / TASTE_STEPS:g}")
