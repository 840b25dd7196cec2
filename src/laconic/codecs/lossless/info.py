"""What a lossless file says about itself, read without a model."""

from dataclasses import asdict, dataclass
from typing import Any

from laconic.codecs.lossless.direct import METHODS, MODEL
from laconic.codecs.lossless.file import LosslessFile, is_lossless
from laconic.codecs.lossless.header import CODEC, Bundle
from laconic.errors import UnsupportedFileError


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


@dataclass(frozen=True)
class LosslessInfo:
    """A lossless file in numbers; None where a number means nothing.

    Attributes:
        file_bits: bits on disk, everything included.
        ideal_bits: negative evidence lower bound of all pictures under the model.
        theory_bits: what the coder's integers make of it, initial bits left out.
        codec: name of the codec.
        coder: None; lossless files name none.
        model: name of the model; None where no picture needs one.
        fingerprint: of the model's weights, hexadecimal; None without a model.
        pictures: how many.
        archive: whether they have names.
        width: columns, None for an archive.
        height: rows, None for an archive.
        mode: as Pillow calls it, None for an archive.
        samples: numbers that all pictures are made of, alpha included.
        start_bits: latents that were encoded without borrowed bits.
        chain_bits: everything else that was encoded of pixels.
        alpha_bits: alpha planes that are coded by themselves.
        direct_bits: pictures that are coded without the model.
        sections: bits by section; "header" is everything that no section holds.
        kinds: in the order of the file.
        quality: the requested one, 1 to 100, where the file is lossless although a lossy one was.
        note: why it is lossless then.
    """

    file_bits: int
    ideal_bits: int
    theory_bits: int
    codec: str
    coder: None
    model: str | None
    fingerprint: str | None
    pictures: int
    archive: bool
    width: int | None
    height: int | None
    mode: str | None
    samples: int
    start_bits: int
    chain_bits: int
    alpha_bits: int
    direct_bits: int
    sections: dict[str, int]
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


def describe_lossless(data: bytes) -> LosslessInfo:
    """Everything a lossless file says about itself; no model is needed."""
    file = LosslessFile.open(data)
    header, bundles = file.header, file.bundles
    groups = [group for bundle in bundles for group in bundle.groups]
    single = header.single
    start = sum(group.start for group in groups)
    return LosslessInfo(
        file_bits=8 * len(data),
        ideal_bits=header.ideal_bits,
        theory_bits=header.net_bits,
        codec=CODEC,
        coder=None,
        model=header.model,
        fingerprint=header.fingerprint.hex() or None,
        pictures=file.pictures,
        archive=file.is_archive,
        width=single.grid.width if single else None,
        height=single.grid.height if single else None,
        mode=single.mode if single else None,
        samples=sum(bundle.samples for bundle in bundles),
        start_bits=8 * start,
        chain_bits=8 * (sum(group.size for group in groups) - start),
        alpha_bits=8 * sum(sum(bundle.alphas) for bundle in bundles),
        direct_bits=8 * sum(sum(bundle.sizes) for bundle in bundles),
        sections={name: 8 * size for name, size in file.sections.items()},
        kinds=tuple(map(_describe_bundle, bundles)),
        quality=header.note.quality if header.note else None,
        note=str(header.note) if header.note else None,
    )


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


def list_pictures(data: bytes) -> list[PictureInfo]:
    """The pictures of an archive, in the order of the file; no model is needed.

    Raises:
        CorruptFileError: the file is damaged.
        UnsupportedFileError: it is no archive.
    """
    if not is_lossless(data) or not (file := LosslessFile.open(data)).is_archive:
        raise UnsupportedFileError("the file is no archive, so that there are no names to list")
    bundles = [bundle for bundle in file.bundles for _ in range(bundle.pictures)]
    return [
        PictureInfo(name, one.grid.width, one.grid.height, one.mode, one.orientation)
        for name, one in zip(file.names, bundles, strict=True)
    ]


def _describe_bundle(bundle: Bundle) -> KindInfo:
    return KindInfo(
        pictures=bundle.pictures,
        width=bundle.grid.width,
        height=bundle.grid.height,
        mode=bundle.mode,
        orientation=bundle.orientation,
        tiles=bundle.grid.count,
        chains=sum(len(group.chains) for group in bundle.groups),
        bits=8 * bundle.size,
        method=_name_method(bundle.method),
    )


def _name_method(number: int) -> str:
    if number == MODEL:
        return "model"
    return METHODS[number].name if number in METHODS else f"method {number}"
