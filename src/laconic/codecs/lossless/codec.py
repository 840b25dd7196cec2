"""The lossless codec: pictures <-> .lac files, exactly, one alone or many as an archive.

A `GroupCoder`, which the codec is given, turns samples into bits; `codecs.lossless.bundles` gathers
equal pictures for it, cuts large ones into tiles, and checks what it decodes. Pictures that take
fewer bytes without the model are coded by the methods of `codecs.lossless.direct`.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from laconic.codecs.base import Content, ModelId
from laconic.codecs.image.metadata import Metadata
from laconic.codecs.image.tiles import MAX_SIDE
from laconic.codecs.lossless.bundles import Common, WrittenBundle, write_bundle
from laconic.codecs.lossless.chosen_bundles import BundleWriter
from laconic.codecs.lossless.core import GroupCoder, Tick, TileCounter
from laconic.codecs.lossless.direct import MODEL
from laconic.codecs.lossless.direct.choice import EFFORT, check_effort
from laconic.codecs.lossless.file import LosslessFile, pack_file
from laconic.codecs.lossless.header import MAX_PICTURES, LosslessHeader
from laconic.codecs.lossless.names import check_names
from laconic.codecs.lossless.note import Note
from laconic.codecs.lossless.picture import ExactPicture, Given, Shown, take_apart
from laconic.errors import InputError
from laconic.limits import MAX_PIXELS
from laconic.progress import Progress, silent

Picture = Given
Source = tuple[str, Callable[[], Picture]]
"""A picture's name, and how to read it; it is read twice."""


@dataclass(frozen=True)
class Core:
    """A model as the lossless codec uses it.

    Attributes:
        coder: codes groups of pictures with it.
        model_name: its name, written into files.
        fingerprint: at least 8 bytes that identify its weights; the first 8 are written into files.
    """

    coder: GroupCoder
    model_name: str
    fingerprint: bytes

    def __post_init__(self) -> None:
        ModelId.of(self.model_name, self.fingerprint)

    @property
    def model_id(self) -> ModelId:
        """The model's identity, as files have it."""
        return ModelId.of(self.model_name, self.fingerprint)


class SkippedWarning(UserWarning):
    """A picture is left out of an archive."""


class LosslessCodec:
    """Writes and reads pictures exactly, with one model and without.

    Args:
        core: the model, or a function that loads it and that is called when it is needed.
        progress: called with tiles done and tiles in all.
        effort: 0 (fastest) to 9 (smallest): which methods of `laconic.codecs.lossless.direct` are
            tried beside the model, see there; None: none, the model codes all pictures that it
            can.
        choose: the model that suits pictures, instead of `core`; called with the first ones that a
            model is tried on.

    Raises:
        InputError: the effort is none of these.
    """

    def __init__(
        self,
        core: Core | Callable[[], Core],
        progress: Progress | None = None,
        effort: int | None = None,
        choose: Callable[[Sequence[ExactPicture]], Core] | None = None,
    ) -> None:
        self._given, self._choose = core, choose
        self.progress = progress or silent
        self.effort = None if effort is None else check_effort(effort)

    @cached_property
    def core(self) -> Core:
        """The model, loaded on first use."""
        return self._given if isinstance(self._given, Core) else self._given()

    def _coder_for(self, pictures: Sequence[ExactPicture]) -> GroupCoder:
        """The coder of the file's model, which the first pictures choose."""
        if self._choose is not None and "core" not in self.__dict__:
            self.core = self._choose(pictures)
        return self.core.coder

    def encode(self, image: Picture, strip: bool = False, note: Note | None = None) -> bytes:
        """Write one picture.

        Args:
            image: a Pillow image, or a `DeepImage`; or an array, `(h, w)` or `(h, w, 1)`: bool,
                uint8 or uint16, `(h, w, 2 to 4)`: uint8 or uint16.
            strip: leave out EXIF and XMP data and dots per inch; the orientation stays.
            note: why the file is lossless, where a lossy one was requested.

        Raises:
            InputError: the image cannot be kept exactly.
        """
        picture = take_apart(image, strip)
        del image  # It may take more memory than all that follows.
        return self.encode_picture(picture, note)

    def encode_picture(self, picture: ExactPicture, note: Note | None = None) -> bytes:
        """Write one picture that has been taken apart.

        Raises:
            InputError: it is too large, or the model cannot express it.
        """
        _check_size(picture)
        common = Common.of(picture)
        counter = TileCounter(self.progress, common.grid.count)
        number = 0 if picture.profile else None
        parts = self._write([picture], common, number, counter.add)
        profiles = [picture.profile] if picture.profile else []
        parts_only = [written for written, _ in parts]
        return self._pack(parts_only, None, profiles, [picture.metadata], note)

    def archive(
        self, sources: Sequence[Source], strip: bool = False, skip_bad: bool = False
    ) -> bytes:
        """Write pictures, each with its name, into one file.

        Those of one size and kind follow each other, in the order they are given in.

        Args:
            sources: names, and how to read each picture.
            strip: leave out EXIF and XMP data and dots per inch.
            skip_bad: leave out pictures that cannot be read or kept exactly, each with a
                `SkippedWarning`.

        Raises:
            InputError: images cannot be kept exactly, all of which are named; or a name cannot be
                a path in a folder.
        """
        if not sources:
            raise InputError("there are no pictures to archive")
        if len(sources) > MAX_PICTURES:
            raise InputError(f"an archive holds up to {MAX_PICTURES} pictures; make several")
        check_names([name for name, _ in sources])
        alike: dict[Common, list[Source]] = {}
        faults = []
        for source in sources:
            try:
                alike.setdefault(Common.of(_read(source, strip=True)), []).append(source)
            except InputError as error:
                faults.append(error)
        _settle_faults(faults, len(sources), skip_bad)
        profiles = list(dict.fromkeys(common.profile for common in alike if common.profile))
        tiles = sum(common.grid.count * len(group) for common, group in alike.items())
        counter = TileCounter(self.progress, tiles)
        written, names, metadata = [], [], []
        for common, group in alike.items():
            number = profiles.index(common.profile) if common.profile else None
            for first in range(0, len(group), common.pictures):
                part = group[first : first + common.pictures]
                pictures = [_read_again(source, common, strip) for source in part]
                for bundle, numbers in self._write(pictures, common, number, counter.add):
                    written.append(bundle)
                    names += [part[k][0] for k in numbers]
                    metadata += [pictures[k].metadata for k in numbers]
        return self._pack(written, names, profiles, metadata)

    def decode(self, file: LosslessFile) -> Shown:
        """Read the picture of a file that is no archive.

        Raises:
            CorruptFileError: the file is damaged.
            UnsupportedFileError: it needs another model or a newer laconic, or is an archive.
        """
        file.expect(Content.PICTURE)
        return next(image for _, image in self._read(file))

    def unarchive(self, file: LosslessFile) -> Iterator[tuple[str, Shown]]:
        """Read the pictures of an archive one by one, with their names.

        Of a truncated file those before the cut are read; then a `CorruptFileError` says how many.

        Raises:
            CorruptFileError: the file is damaged.
            UnsupportedFileError: it needs another model, or is no archive.
        """
        file.expect(Content.ARCHIVE)
        return self._read(file)

    def _read(self, file: LosslessFile) -> Iterator[tuple[str, Shown]]:
        """Every picture with its name, decoded with the codec's own model."""
        if file.header.model is None:
            return file.render(None, self.progress)
        file.header.model.check(self.core.model_id)
        return file.render(self.core.coder, self.progress)

    def _write(
        self,
        pictures: Sequence[ExactPicture],
        common: Common,
        profile: int | None,
        tick: Tick,
    ) -> list[tuple[WrittenBundle, Sequence[int]]]:
        """Bundles of pictures that have `common` in common, each with their numbers."""
        if self.effort is None and not common.kind.is_deep(common.alpha):
            whole = write_bundle(self._coder_for(pictures), pictures, common, profile, tick)
            return [(whole, range(len(pictures)))]
        effort = EFFORT if self.effort is None else self.effort
        return BundleWriter(self._coder_for, effort).write(pictures, common, profile, tick)

    def _pack(
        self,
        written: Sequence[WrittenBundle],
        names: Sequence[str] | None,
        profiles: Sequence[bytes],
        metadata: Sequence[Metadata],
        note: Note | None = None,
    ) -> bytes:
        """The file; `names` is None where it is no archive."""
        bundles = [part.bundle for part in written]
        needs_model = any(bundle.method == MODEL for bundle in bundles)
        header = LosslessHeader(
            model=self.core.model_id if needs_model else None,
            pictures=None if names is None else len(names),
            profiles=bool(profiles),
            ideal_bits=round(sum(part.costs.ideal_bits for part in written)),
            net_bits=round(sum(part.costs.net_bits for part in written)),
            single=bundles[0] if names is None else None,
            metadata=any(metadata),
            note=note,
        )
        pixels = [piece for part in written for piece in part.pieces]
        listed = [] if names is None else bundles
        return pack_file(header, listed, names or [], profiles, metadata, pixels)


def _settle_faults(faults: Sequence[InputError], count: int, skip_bad: bool) -> None:
    """Refuse with the faults of all pictures, or warn of each."""
    if skip_bad and len(faults) < count:
        for fault in faults:
            warnings.warn(f"left out: {fault}", SkippedWarning, stacklevel=4)
    elif len(faults) == 1:
        raise faults[0]
    elif faults:
        said = "; ".join(map(str, faults))
        raise InputError(f"{len(faults)} of {count} pictures cannot be archived: {said}")


def _read(source: Source, strip: bool) -> ExactPicture:
    """Read a picture; an error names it."""
    name, load = source
    try:
        picture = take_apart(load(), strip)
        _check_size(picture)
    except InputError as error:
        if error.names(name):
            raise
        raise InputError(f"{name}: {error}") from error
    return picture


def _read_again(source: Source, common: Common, strip: bool) -> ExactPicture:
    picture = _read(source, strip)
    if Common.of(picture) != common:
        raise InputError(f"{source[0]} has changed while it was being archived")
    return picture


def _check_size(picture: ExactPicture) -> None:
    height, width = picture.pixels.shape[:2]
    if max(height, width) > MAX_SIDE or height * width > MAX_PIXELS:
        raise InputError(
            f"{width} x {height} pixels are too many: sides go up to {MAX_SIDE}, their product to "
            f"{MAX_PIXELS}; cut the image into parts"
        )
