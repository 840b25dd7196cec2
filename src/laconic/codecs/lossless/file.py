"""A lossless file: everything but its pixels, read without a model, and its decoding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final, Self, final

from laconic.codecs.base import Codec, Content, Crop, Decoding
from laconic.codecs.deflated import deflate, inflate
from laconic.codecs.image.metadata import (
    METADATA,
    NONE,
    Info,
    Metadata,
    read_metadata,
    write_metadata,
)
from laconic.codecs.image.tiles import Tile
from laconic.codecs.lossless.bundles import read_bundle
from laconic.codecs.lossless.core import GroupCoder, TileCounter
from laconic.codecs.lossless.crops import read_crop
from laconic.codecs.lossless.direct.base import MODEL
from laconic.codecs.lossless.header import (
    MAX_BUNDLES,
    Bundle,
    LosslessHeader,
    read_bundles,
    write_bundles,
)
from laconic.codecs.lossless.info import KindInfo, LosslessInfo, PictureInfo
from laconic.codecs.lossless.names import read_names, write_names
from laconic.codecs.lossless.picture import Shown, describe, put_together
from laconic.container import FieldReader, FieldWriter, LacFile, Section, Span, pack
from laconic.errors import CorruptFileError, InputError
from laconic.progress import Progress

if TYPE_CHECKING:
    from laconic.models.base import LatentVariableModel

MANIFEST, PROFILES, PIXELS = "manifest", "icc", "pixels"
MAX_MANIFEST_BYTES: Final = 1 << 28
MAX_PROFILE_BYTES: Final = 1 << 26
SECTION_BYTES: Final = 1 << 20
"""A section of pixels ends with the piece of a bundle that brings it to this size."""


def make_coder(model: "LatentVariableModel", threads: int | None = None) -> GroupCoder:
    """The coder of groups of pictures that uses a model.

    Args:
        model: a lossless model.
        threads: parts of a batch that are coded side by side; None: as many as torch has.

    Raises:
        ConfigError: it is a model for lossy compression.
    """
    from laconic.codecs.lossless.chains.bits_back import ChainCoder

    return ChainCoder(model.exact_ladder(), threads=threads)


@final
@dataclass(frozen=True)
class LosslessFile(Codec):
    """A lossless file, opened: one picture, or an archive of pictures with names.

    Attributes:
        file: its sections.
        header: the codec's own header.
        bundles: what pictures there are and how their bytes follow each other.
        names: of the pictures; empty where the file is no archive.
        profiles: colour profiles that bundles refer to.
        metadata: of the pictures; empty where none has any.
        pixels: the bytes of all bundles, or those before the cut.
    """

    id: ClassVar[str] = "lossless"
    truncatable: ClassVar[bool] = True

    file: LacFile
    header: LosslessHeader
    bundles: tuple[Bundle, ...]
    names: tuple[str, ...]
    profiles: tuple[bytes, ...]
    metadata: tuple[Metadata, ...]
    pixels: Span

    @classmethod
    def open(cls, file: LacFile) -> Self:
        """Read everything but the pixels; a truncated archive may end within its pixels."""
        header = LosslessHeader.read(file.header)
        if file.missing_bytes:
            _check_front(file, header)
        names: Sequence[str] = ()
        bundles: tuple[Bundle, ...] = ()
        if header.pictures is not None:
            bundles, names = _read_manifest(file, header.pictures)
        elif header.single is not None:
            bundles = (header.single,)
        profiles = _read_profiles(file, header)
        metadata: tuple[Metadata, ...] = ()
        if header.metadata:
            count = 1 if header.pictures is None else header.pictures
            metadata = read_metadata(file.only(METADATA), count)
        pixels = Span([section for section in file.sections if section.name == PIXELS])
        if sum(bundle.size for bundle in bundles) - len(pixels) != file.missing_bytes:
            raise CorruptFileError("the file's sections do not match its list of pictures")
        if header.model is None and any(bundle.method == MODEL for bundle in bundles):
            raise CorruptFileError("the file names no model, and one of its pictures needs one")
        used = [bundle.profile for bundle in bundles if bundle.profile is not None]
        if used and max(used) >= len(profiles):
            raise CorruptFileError("a picture refers to a colour profile that is not there")
        return cls(file, header, bundles, tuple(names), profiles, metadata, pixels)

    @property
    def content(self) -> Content:
        """An archive where the pictures have names, however many there are."""
        return Content.PICTURE if self.header.pictures is None else Content.ARCHIVE

    def picture_sizes(self) -> set[tuple[int, int]]:
        """Width and height of every picture."""
        return {(bundle.grid.width, bundle.grid.height) for bundle in self.bundles}

    @property
    def words(self) -> str:
        """What the file holds, for messages."""
        if self.content is Content.PICTURE:
            return self.content.words
        return f"an archive of {self.pictures} pictures"

    @property
    def is_exact(self) -> bool:
        """Whether lossless coding was requested, rather than chosen in place of a lossy file."""
        return self.header.note is None

    @property
    def pictures(self) -> int:
        """How many there are, or were before the cut."""
        return 1 if self.header.pictures is None else self.header.pictures

    def attachments(self) -> Info:
        """What `Image.info` has of the only picture; no pixel is decoded for it."""
        self.expect(Content.PICTURE)
        (bundle,) = self.bundles
        profile = b"" if bundle.profile is None else self.profiles[bundle.profile]
        metadata = self.metadata[0] if self.metadata else NONE
        return describe(profile, bundle.orientation, metadata)

    def list_pictures(self) -> list[PictureInfo]:
        """The pictures of an archive, in the order of the file.

        Raises:
            UnsupportedFileError: it is no archive.
        """
        self.expect(Content.ARCHIVE)
        bundles = [bundle for bundle in self.bundles for _ in range(bundle.pictures)]
        return [
            PictureInfo(name, one.grid.width, one.grid.height, one.mode, one.orientation)
            for name, one in zip(self.names, bundles, strict=True)
        ]

    def describe(self) -> LosslessInfo:
        """Everything that the file says about itself."""
        header, bundles, single = self.header, self.bundles, self.header.single
        groups = [group for bundle in bundles for group in bundle.groups]
        start = sum(group.start for group in groups)
        return LosslessInfo(
            file_bits=8 * self.file.size_bytes,
            ideal_bits=header.ideal_bits,
            theory_bits=header.net_bits,
            codec=self.id,
            model=header.model.name if header.model else None,
            fingerprint=header.model.fingerprint.hex() if header.model else None,
            pictures=self.pictures,
            archive=self.content is Content.ARCHIVE,
            width=single.grid.width if single else None,
            height=single.grid.height if single else None,
            mode=single.mode if single else None,
            samples=sum(bundle.samples for bundle in bundles),
            start_bits=8 * start,
            chain_bits=8 * (sum(group.size for group in groups) - start),
            alpha_bits=8 * sum(sum(bundle.alphas) for bundle in bundles),
            direct_bits=8 * sum(sum(bundle.sizes) for bundle in bundles),
            sections=self.file.section_bits(),
            kinds=tuple(map(KindInfo.of, bundles)),
            quality=header.note.quality if header.note else None,
            note=str(header.note) if header.note else None,
        )

    def decode(self, how: Decoding) -> Iterator[tuple[str, Shown]]:
        """Decode the pictures one by one, each with its name, "" where the file is no archive.

        Of a truncated archive the pictures before the cut are decoded; then a `CorruptFileError`
        says how many.
        """
        for size in self.picture_sizes():
            how.check_size(*size)
        coder = None
        if self.header.model is not None:
            coder = make_coder(how.model(self.header.model).model, how.threads)
        if how.crop is not None:
            return iter([("", self.render_crop(coder, how.crop, how.progress))])
        return self.render(coder, how.progress)

    def render_crop(self, coder: GroupCoder | None, crop: Crop, progress: Progress) -> Shown:
        """Decode a part of the only picture; its checksum, which covers all, is not compared.

        Raises:
            InputError: the crop is not inside the picture.
            UnsupportedFileError: the file is an archive.
        """
        self.expect(Content.PICTURE)
        (bundle,) = self.bundles
        x, y, width, height = crop.check(bundle.grid.width, bundle.grid.height)
        profile = b"" if bundle.profile is None else self.profiles[bundle.profile]
        area = Tile(y, y + height, x, x + width)
        picture = read_crop(coder, bundle, self.pixels, profile, area, progress)
        if self.metadata:
            picture = replace(picture, metadata=self.metadata[0])
        return put_together(picture)

    def render(self, coder: GroupCoder | None, progress: Progress) -> Iterator[tuple[str, Shown]]:
        """Decode the pictures with the model that wrote them, None where none is needed."""
        total = sum(bundle.pictures * bundle.grid.count for bundle in self.bundles)
        counter = TileCounter(progress, total)
        done = unchecked = 0
        for bundle, data in self._parts():
            profile = b"" if bundle.profile is None else self.profiles[bundle.profile]
            for picture, good in read_bundle(coder, bundle, data, profile, counter.add):
                if self.metadata:
                    picture = replace(picture, metadata=self.metadata[done])
                yield self.names[done] if self.names else "", put_together(picture)
                done += 1
                unchecked += not good
            if len(data) < bundle.size:
                break
        if self.file.missing_bytes:
            doubt = f", the last {unchecked} without a checksum" if unchecked else ""
            raise CorruptFileError(
                f"the file is truncated: {done} of {self.pictures} pictures recovered{doubt}"
            )

    def only_picture(self) -> tuple[Bundle, Span]:
        """The bundle of the only picture, and its bytes.

        Raises:
            UnsupportedFileError: the file is an archive.
        """
        self.expect(Content.PICTURE)
        (part,) = self._parts()
        return part

    def _parts(self) -> Iterator[tuple[Bundle, Span]]:
        """Every bundle with its bytes; fewer than its `size` where the file is cut."""
        start = 0
        for bundle in self.bundles:
            yield bundle, self.pixels.part(start, start + bundle.size)
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
        pixels: the bytes of all bundles; a section begins where a piece does.

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
    return pack(LosslessFile.id, header.write(), sections)


def _gather(pixels: Sequence[bytes]) -> Iterator[bytes]:
    """Pieces joined to sections."""
    gathered, size = [], 0
    for part in pixels:
        gathered.append(part)
        size += len(part)
        if size >= SECTION_BYTES:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)


def _check_front(file: LacFile, header: LosslessHeader) -> None:
    """Raise `CorruptFileError` where too little of a truncated file is there."""
    whole = {section.name for section in file.sections if section.whole}
    if header.pictures is None:
        raise CorruptFileError("the file is truncated, and its only picture is not whole")
    needed = {MANIFEST} | ({PROFILES} if header.profiles else set())
    if not needed | ({METADATA} if header.metadata else set()) <= whole:
        raise CorruptFileError(
            f"the file is truncated before its pixels: none of {header.pictures} pictures is left"
        )


def _read_manifest(file: LacFile, pictures: int) -> tuple[tuple[Bundle, ...], Sequence[str]]:
    data = file.only(MANIFEST)
    fields = FieldReader(inflate(data, MAX_MANIFEST_BYTES, "list of pictures"), "the list")
    bundles = read_bundles(fields, pictures)
    names = read_names(fields, pictures)
    fields.finish()
    return bundles, names


def _read_profiles(file: LacFile, header: LosslessHeader) -> tuple[bytes, ...]:
    if not header.profiles:
        return ()
    data = file.only(PROFILES)
    fields = FieldReader(inflate(data, MAX_PROFILE_BYTES, "colour profiles"), "the profiles")
    count = fields.integer(MAX_BUNDLES, "the number of profiles")
    profiles = tuple(
        fields.raw(fields.integer(what="the length of a profile")) for _ in range(count)
    )
    fields.finish()
    return profiles
