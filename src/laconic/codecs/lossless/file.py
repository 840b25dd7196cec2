"""A lossless file taken apart: everything but the pixels, read without a model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from laconic.codecs.deflated import deflate, inflate
from laconic.codecs.image.metadata import (
    METADATA,
    NONE,
    Info,
    Metadata,
    read_metadata,
    write_metadata,
)
from laconic.codecs.lossless.direct.base import MODEL
from laconic.codecs.lossless.header import (
    CODEC,
    MAX_BUNDLES,
    Bundle,
    LosslessHeader,
    read_bundles,
    write_bundles,
)
from laconic.codecs.lossless.names import read_names, write_names
from laconic.codecs.lossless.picture import describe
from laconic.container import Container, FieldReader, FieldWriter, Section, pack, unpack
from laconic.errors import CorruptFileError, InputError, UnsupportedFileError

MANIFEST, PROFILES, PIXELS = "manifest", "icc", "pixels"
MAX_MANIFEST_BYTES: Final = 1 << 28
MAX_PROFILE_BYTES: Final = 1 << 26
SECTION_BYTES: Final = 1 << 20
"""A section of pixels ends with the bundle that brings it to this size."""


@dataclass(frozen=True)
class LosslessFile:
    """What a lossless file holds.

    Attributes:
        header: the codec's own header.
        bundles: what pictures there are and how their bytes follow each other.
        names: of the pictures; empty where the file is no archive.
        profiles: colour profiles that bundles refer to.
        metadata: of the pictures; empty where none has any.
        pixels: the bytes of all bundles, or those before the cut.
        missing_bytes: that a truncated file lacks.
        sections: bytes by section; "header" is everything that no section holds.
    """

    header: LosslessHeader
    bundles: tuple[Bundle, ...]
    names: tuple[str, ...]
    profiles: tuple[bytes, ...]
    metadata: tuple[Metadata, ...]
    pixels: bytes
    missing_bytes: int
    sections: dict[str, int]

    @property
    def is_archive(self) -> bool:
        """Whether the pictures have names, however many there are."""
        return self.header.pictures is not None

    @property
    def pictures(self) -> int:
        """How many there are, or were before the cut."""
        return 1 if self.header.pictures is None else self.header.pictures

    @classmethod
    def open(cls, data: bytes, partial: bool = False) -> "LosslessFile":
        """Check a file and read everything but its pixels.

        Args:
            data: the whole file.
            partial: take a truncated archive for what there is.

        Raises:
            CorruptFileError: the file is damaged, or truncated before its pixels.
            UnsupportedFileError: it holds no lossless pictures, or is newer than this laconic.
        """
        container = unpack(data, partial)
        if container.codec != CODEC:
            raise UnsupportedFileError(
                f"the file holds no lossless pictures, its codec is {container.codec!r}"
            )
        header = LosslessHeader.read(container.header)
        if container.missing_bytes:
            _check_front(container, header)
        names: Sequence[str] = ()
        bundles: tuple[Bundle, ...] = ()
        if header.pictures is not None:
            bundles, names = _read_manifest(container, header.pictures)
        elif header.single is not None:
            bundles = (header.single,)
        profiles = _read_profiles(container, header)
        metadata = _read_metadata(container, header)
        pixels = b"".join(container.named(PIXELS))
        if sum(bundle.size for bundle in bundles) - len(pixels) != container.missing_bytes:
            raise CorruptFileError("the file's sections do not match its list of pictures")
        if header.model is None and any(bundle.method == MODEL for bundle in bundles):
            raise CorruptFileError("the file names no model, and one of its pictures needs one")
        used = [bundle.profile for bundle in bundles if bundle.profile is not None]
        if used and max(used) >= len(profiles):
            raise CorruptFileError("a picture refers to a colour profile that is not there")
        sections = {"header": container.overhead_bytes + len(container.header)}
        for section in container.sections:
            sections[section.name] = sections.get(section.name, 0) + len(section.data)
        missing = container.missing_bytes
        return cls(header, bundles, tuple(names), profiles, metadata, pixels, missing, sections)

    def describe_single(self) -> Info:
        """What `Image.info` has of the picture of a file that is no archive."""
        if self.header.single is None:
            raise refuse_archive(self.pictures)
        bundle = self.header.single
        profile = b"" if bundle.profile is None else self.profiles[bundle.profile]
        metadata = self.metadata[0] if self.metadata else NONE
        return describe(profile, bundle.orientation, metadata)

    def parts(self) -> Iterator[tuple[Bundle, bytes]]:
        """Every bundle with its bytes; fewer than its `size` where the file is cut."""
        start = 0
        for bundle in self.bundles:
            yield bundle, self.pixels[start : start + bundle.size]
            start += bundle.size


def pack_file(
    header: LosslessHeader,
    bundles: Sequence[Bundle],
    names: Sequence[str],
    profiles: Sequence[bytes],
    metadata: Sequence[Metadata],
    pixels: Sequence[bytes],
) -> bytes:
    """Write a lossless file.

    Args:
        header: the codec's own header.
        bundles: of an archive, else empty.
        names: of an archive, else empty.
        profiles: that bundles refer to.
        metadata: of each picture, in the order of the bundles; the header says whether to write it.
        pixels: the bytes of each bundle.

    Raises:
        InputError: the list of pictures or the profiles are too large.
    """
    sections = []
    if header.pictures is not None:
        fields = FieldWriter()
        write_bundles(bundles, fields)
        write_names(names, fields)
        plain = fields.finish()
        listed = deflate(plain, MAX_MANIFEST_BYTES, "its list", "make several files")
        sections.append(Section(MANIFEST, listed))
        if len(bundles) > MAX_BUNDLES:
            raise InputError(f"more than {MAX_BUNDLES} sizes and kinds; make several archives")
    if profiles:
        fields = FieldWriter()
        fields.integer(len(profiles))
        for profile in profiles:
            fields.integer(len(profile))
            fields.raw(profile)
        plain = fields.finish()
        packed = deflate(plain, MAX_PROFILE_BYTES, "colour profiles", "make several files")
        sections.append(Section(PROFILES, packed))
    if header.metadata:
        sections.append(Section(METADATA, write_metadata(metadata)))
    sections += [Section(PIXELS, part) for part in _gather(pixels)]
    return pack(CODEC, header.write(), sections)


def _gather(pixels: Sequence[bytes]) -> Iterator[bytes]:
    """Bundles joined to sections."""
    gathered, size = [], 0
    for part in pixels:
        gathered.append(part)
        size += len(part)
        if size >= SECTION_BYTES:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)


def is_lossless(data: bytes) -> bool:
    """Whether a file, which must not be damaged, holds lossless pictures."""
    return unpack(data).codec == CODEC


def refuse_archive(pictures: int) -> UnsupportedFileError:
    """What to raise if one picture is requested and the file is an archive."""
    return UnsupportedFileError(
        f"the file is an archive of {pictures} pictures; unpack it with `laconic decompress FILE "
        "-o FOLDER` or laconic.unarchive"
    )


def _check_front(container: Container, header: LosslessHeader) -> None:
    """Raise `CorruptFileError` where too little of a truncated file is there."""
    whole = {section.name for section in container.sections if section.whole}
    if header.pictures is None:
        raise CorruptFileError("the file is truncated, and its only picture is not whole")
    needed = {MANIFEST} | ({PROFILES} if header.profiles else set())
    if not needed | ({METADATA} if header.metadata else set()) <= whole:
        raise CorruptFileError(
            f"the file is truncated before its pixels: none of {header.pictures} pictures is left"
        )


def _read_manifest(container: Container, pictures: int) -> tuple[tuple[Bundle, ...], Sequence[str]]:
    data = _only(container, MANIFEST)
    fields = FieldReader(inflate(data, MAX_MANIFEST_BYTES, "list of pictures"), "the list")
    bundles = read_bundles(fields, pictures)
    names = read_names(fields, pictures)
    fields.finish()
    return bundles, names


def _read_profiles(container: Container, header: LosslessHeader) -> tuple[bytes, ...]:
    if not header.profiles:
        return ()
    data = _only(container, PROFILES)
    fields = FieldReader(inflate(data, MAX_PROFILE_BYTES, "colour profiles"), "the profiles")
    count = fields.integer(MAX_PROFILE_BYTES, "the number of profiles")
    profiles = tuple(
        fields.raw(fields.integer(what="the length of a profile")) for _ in range(count)
    )
    fields.finish()
    return profiles


def _read_metadata(container: Container, header: LosslessHeader) -> tuple[Metadata, ...]:
    if not header.metadata:
        return ()
    count = 1 if header.pictures is None else header.pictures
    return read_metadata(_only(container, METADATA), count)


def _only(container: Container, name: str) -> bytes:
    found = container.named(name)
    if len(found) != 1:
        raise CorruptFileError(f"the file has {len(found)} sections {name!r}, not one")
    return found[0]
