"""What a .lac file says about itself, read without a model."""

from dataclasses import asdict, dataclass
from typing import Any, Final

from laconic.codecs.image.header import CODEC, QUALITY_STEPS, ImageHeader
from laconic.codecs.image.metadata import METADATA, NONE, Info, Metadata, read_metadata
from laconic.codecs.image.picture import Colour
from laconic.codecs.image.picture import describe as describe_info
from laconic.codecs.lossless.file import LosslessFile, is_lossless
from laconic.codecs.lossless.info import LosslessInfo, describe_lossless
from laconic.container import Container, unpack
from laconic.errors import CorruptFileError, UnsupportedFileError

PROFILE: Final = "icc"
"""Name of the section of the colour profile."""


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


@dataclass(frozen=True)
class FileInfo:
    """A lossy .lac image file in numbers.

    Attributes:
        file_bits: bits on disk, everything included.
        ideal_bits: KL that the encoder paid for, all levels.
        theory_bits: the coders' own expectation for it, all levels.
        codec: name of the codec.
        coder: names of the coders, joined by "+" where levels differ.
        model: name of the model.
        fingerprint: of the model's weights, hexadecimal.
        width: columns.
        height: rows.
        mode: "RGB", "L" or "1", with "A" where there is alpha.
        quality: 1 to 100.
        seed: of the shared randomness.
        tiles: number of tiles.
        reduced: whether the input had 16 bits a sample.
        sections: bits by section; "header" is everything that no section holds.
        levels: top first.
    """

    file_bits: int
    ideal_bits: int
    theory_bits: int
    codec: str
    coder: str
    model: str
    fingerprint: str
    width: int
    height: int
    mode: str
    quality: float
    seed: int
    tiles: int
    reduced: bool
    sections: dict[str, int]
    levels: tuple[LevelInfo, ...]

    @property
    def bpp(self) -> float:
        """Bits on disk per pixel."""
        return self.file_bits / (self.width * self.height)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `laconic info --json` prints them."""
        return asdict(self) | {"bpp": self.bpp, "pictures": 1}


def open_image_file(data: bytes) -> tuple[Container, ImageHeader]:
    """Check a file and read its header.

    Raises:
        CorruptFileError: the file is damaged.
        UnsupportedFileError: it holds no image, or is newer than this laconic.
    """
    container = unpack(data)
    if container.codec != CODEC:
        raise UnsupportedFileError(f"the file holds no image, its codec is {container.codec!r}")
    return container, ImageHeader.read(container.header)


def read_attachments(container: Container, header: ImageHeader) -> tuple[bytes, Metadata]:
    """The colour profile, deflated, and the metadata of a lossy file; both may be empty."""
    profiles, records = container.named(PROFILE), container.named(METADATA)
    if len(profiles) != header.profile or len(records) != header.metadata:
        raise CorruptFileError("the file's sections do not match its header")
    metadata = read_metadata(records[0], 1)[0] if records else NONE
    return profiles[0] if profiles else b"", metadata


def describe_attachments(data: bytes) -> Info:
    """What `Image.info` of the decoded picture will have; no pixel is decoded for it.

    Args:
        data: a whole file of one picture, lossy or lossless.

    Raises:
        FileError: the file is damaged, or holds no picture or several.
    """
    if is_lossless(data):
        return LosslessFile.open(data).describe_single()
    return describe_info(*read_attachments(*open_image_file(data)))


def is_asked_exactly(data: bytes) -> bool:
    """Whether a file holds a picture that must stay as it is: lossless, and asked to be so."""
    if not is_lossless(data):
        return False
    return LosslessFile.open(data).header.note is None


def describe_any(data: bytes) -> FileInfo | LosslessInfo:
    """Everything a lossy or lossless file says about itself."""
    return describe_lossless(data) if is_lossless(data) else describe(data)


def describe(data: bytes) -> FileInfo:
    """Everything a lossy file says about itself; no model is needed and no pixel is decoded."""
    container, header = open_image_file(data)
    sections = {"header": 8 * (container.overhead_bytes + len(container.header))}
    for section in container.sections:
        sections[section.name] = sections.get(section.name, 0) + 8 * len(section.data)
    levels = []
    for coder, cost in zip(header.coders, header.costs, strict=True):
        parts = {name: 8 * size for name, size in cost.part_bytes.items()}
        bits = sum(parts.values())
        level = LevelInfo(
            coder.id, dict(coder.config), cost.ideal_bits, cost.theory_bits, bits, parts
        )
        levels.append(level)
    return FileInfo(
        file_bits=8 * len(data),
        ideal_bits=sum(level.ideal_bits for level in levels),
        theory_bits=sum(level.theory_bits for level in levels),
        codec=container.codec,
        coder="+".join(dict.fromkeys(level.coder for level in levels)),
        model=header.model,
        fingerprint=header.fingerprint.hex(),
        width=header.plan.width,
        height=header.plan.height,
        mode=_mode(header),
        quality=round(1 + 99 * header.quality_step / QUALITY_STEPS, 3),
        seed=header.seed,
        tiles=header.plan.count,
        reduced=header.reduced,
        sections=sections,
        levels=tuple(levels),
    )


def _mode(header: ImageHeader) -> str:
    if header.colour == Colour.RGB:
        return "RGBA" if header.alpha else "RGB"
    if header.alpha:
        return "LA"
    return "L" if header.colour == Colour.GREY else "1"
