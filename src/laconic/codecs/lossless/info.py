"""What lossless files say about themselves, as dataclasses."""

from dataclasses import asdict, dataclass
from typing import Any, Self

from laconic.codecs.base import FileInfo
from laconic.codecs.lossless.direct import METHODS, MODEL
from laconic.codecs.lossless.header import Bundle


@dataclass(frozen=True)
class KindInfo:
    """Pictures of one size and kind that follow each other.

    Attributes:
        pictures: how many.
        width: columns.
        height: rows.
        mode: as Pillow calls it.
        orientation: EXIF's number, 1 for upright.
        tiles: of each.
        chains: of all.
        bits: that they take.
        method: what codes them: "model", or the name of a method that needs none.
    """

    pictures: int
    width: int
    height: int
    mode: str
    orientation: int
    tiles: int
    chains: int
    bits: int
    method: str = "model"

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """The numbers of a bundle."""
        number = bundle.method
        method = METHODS[number].name if number in METHODS else f"method {number}"
        return cls(
            pictures=bundle.pictures,
            width=bundle.grid.width,
            height=bundle.grid.height,
            mode=bundle.mode,
            orientation=bundle.orientation,
            tiles=bundle.grid.count,
            chains=sum(len(group.chains) for group in bundle.groups),
            bits=8 * bundle.size,
            method="model" if number == MODEL else method,
        )


@dataclass(frozen=True, kw_only=True)
class LosslessInfo(FileInfo):
    """A lossless file in numbers; None where a number has no meaning.

    Attributes:
        ideal_bits: negative evidence lower bound of all pictures under the model.
        theory_bits: what the coder's integers make of it, initial bits left out.
        coder: None; lossless files name none.
        model: name of the model; None where no picture needs one.
        fingerprint: of the model's weights, hexadecimal; None without a model.
        pictures: how many.
        archive: whether they have names.
        width: columns, None for an archive; likewise height and mode.
        samples: numbers that all pictures are made of, alpha included.
        start_bits: latents that are coded without borrowed bits.
        chain_bits: everything else that codes pixels.
        alpha_bits: alpha planes that are coded by themselves.
        direct_bits: pictures that are coded without the model.
        kinds: in the order of the file.
        quality: that was requested, 1 to 100, where the file is lossless instead of lossy.
        note: why it is lossless then.
    """

    ideal_bits: int
    theory_bits: int
    fingerprint: str | None
    pictures: int
    archive: bool
    samples: int
    start_bits: int
    chain_bits: int
    alpha_bits: int
    direct_bits: int
    kinds: tuple[KindInfo, ...]
    quality: float | None = None
    note: str | None = None

    @property
    def bits_per_sample(self) -> float | None:
        """Bits on disk per number, often called bits per dimension; None without pictures."""
        return self.file_bits / self.samples if self.samples else None

    @property
    def bpp(self) -> float | None:
        """Bits on disk per pixel; None without pictures."""
        pixels = sum(kind.pictures * kind.width * kind.height for kind in self.kinds)
        return self.file_bits / pixels if pixels else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `laconic info --json` prints them."""
        return asdict(self) | {"bpp": self.bpp, "bits_per_sample": self.bits_per_sample}


@dataclass(frozen=True)
class PictureInfo:
    """A picture of an archive.

    Attributes:
        name: a path in the folder that was archived.
        width: columns.
        height: rows.
        mode: as Pillow calls it.
        orientation: EXIF's number, 1 for upright.
    """

    name: str
    width: int
    height: int
    mode: str
    orientation: int
