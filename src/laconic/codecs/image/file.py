"""A lossy file: what it says about itself, read without a model, and its decoding."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, final

from PIL import Image

from laconic.codecs.base import Codec, Content, Decoding, FileInfo
from laconic.codecs.image.alpha import decode_alpha
from laconic.codecs.image.header import QUALITY_STEPS, ImageHeader
from laconic.codecs.image.metadata import METADATA, NONE, Info, Metadata, read_metadata
from laconic.codecs.image.picture import Colour, Picture, describe, put_together
from laconic.container import LacFile
from laconic.errors import CorruptFileError
from laconic.progress import Progress

if TYPE_CHECKING:
    from laconic.codecs.image.decoder import Runtime

LATENTS, ALPHA, PROFILE = "latents", "alpha", "icc"
"""Names of the sections: one of latents for each tile, and one of each other kind at most."""

MODES: Final = {Colour.RGB: "RGB", Colour.GREY: "L", Colour.BILEVEL: "1"}


@dataclass(frozen=True)
class LevelInfo:
    """One level of the ladder, all tiles together.

    Attributes:
        coder: name of its coder.
        settings: the coder's parameters.
        ideal_bits: KL(posterior || prior) that the encoder paid for.
        theory_bits: the coder's own expectation for it.
        bits: bits written.
        parts: bits written, by part, each rounded to a byte.
    """

    coder: str
    settings: dict[str, int]
    ideal_bits: int
    theory_bits: int
    bits: int
    parts: dict[str, int]


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

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `laconic info --json` prints them."""
        return asdict(self) | {"bpp": self.bpp, "pictures": 1}


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

    file: LacFile
    header: ImageHeader
    profile: bytes
    metadata: Metadata

    @classmethod
    def open(cls, file: LacFile) -> Self:
        """Read the header, and check that the sections are those that it names."""
        header = ImageHeader.read(file.header)
        tiles = len(file.named(LATENTS))
        if tiles != header.plan.count:
            raise CorruptFileError(
                f"the file has {tiles} tiles, its header says {header.plan.count}"
            )
        file.optional(ALPHA, header.alpha)
        profile = file.optional(PROFILE, header.profile)
        record = file.optional(METADATA, header.metadata)
        metadata = read_metadata(record, 1)[0] if header.metadata else NONE
        return cls(file, header, profile, metadata)

    @property
    def content(self) -> Content:
        """One picture."""
        return Content.PICTURE

    def attachments(self) -> Info:
        """What `Image.info` of the decoded picture will have; no pixel is decoded for it."""
        return describe(self.profile, self.metadata)

    def describe(self) -> ImageInfo:
        """Everything that the file says about itself."""
        header, levels = self.header, []
        for coder, cost in zip(header.coders, header.costs, strict=True):
            parts = {name: 8 * size for name, size in cost.part_bytes.items()}
            level = LevelInfo(
                coder.id,
                dict(coder.config),
                cost.ideal_bits,
                cost.theory_bits,
                sum(parts.values()),
                parts,
            )
            levels.append(level)
        return ImageInfo(
            file_bits=8 * self.file.size_bytes,
            ideal_bits=sum(level.ideal_bits for level in levels),
            theory_bits=sum(level.theory_bits for level in levels),
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
            levels=tuple(levels),
        )

    def decode(self, how: Decoding) -> Iterator[tuple[str, Image.Image]]:
        """Decode the picture, without a name."""
        from laconic.codecs.image.decoder import Runtime

        runtime = Runtime.of(how.model(self.header.model), how.dtype, how.threads)
        return iter([("", self.render(runtime, how.progress))])

    def render(self, runtime: "Runtime", progress: Progress) -> Image.Image:
        """Decode the picture with the model that wrote it."""
        from laconic.codecs.image.decoder import decode_tiles

        header, alpha = self.header, None
        pixels = decode_tiles(header, self.file.named(LATENTS), runtime, progress)
        if header.alpha:
            plane = self.file.only(ALPHA)
            alpha = decode_alpha(plane, header.plan.height, header.plan.width)
        colour = Colour(header.colour)
        return put_together(
            Picture(pixels, colour, alpha, self.profile, header.reduced, self.metadata)
        )

    def _mode(self) -> str:
        if self.header.alpha:
            return "RGBA" if self.header.colour == Colour.RGB else "LA"
        return MODES[Colour(self.header.colour)]
