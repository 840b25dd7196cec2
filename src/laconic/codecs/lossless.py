"""The lossless codec: pictures <-> .lac files, exactly, one alone or many as an archive.

What turns samples into bits is a `GroupCoder` that the codec is given; `codecs.bundles` gathers
equal pictures for it, cuts large ones into tiles, and checks what comes back.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from numpy.typing import NDArray
from PIL import Image

from laconic.codecs.bundles import Common, WrittenBundle, read_bundle, write_bundle
from laconic.codecs.chains import ChainCoder
from laconic.codecs.exact_picture import ExactPicture, put_together, take_apart
from laconic.codecs.groups import GroupCoder
from laconic.codecs.header import FINGERPRINT_BYTES
from laconic.codecs.lossless_file import LosslessFile, pack_file, refuse_archive
from laconic.codecs.lossless_header import MAX_PICTURES, LosslessHeader
from laconic.codecs.names import check_names
from laconic.codecs.tiles import MAX_PIXELS, MAX_SIDE
from laconic.errors import CorruptFileError, InputError, UnsupportedFileError
from laconic.models.base import LatentVariableModel

Progress = Callable[[int, int], None]
Picture = Image.Image | NDArray[Any]
Source = tuple[str, Callable[[], Picture]]
"""A picture's name, and how to read it; it is read twice."""


def make_coder(model: LatentVariableModel, threads: int | None = None) -> GroupCoder:
    """What codes groups with a model.

    Args:
        model: a lossless model.
        threads: parts of a batch that are handled side by side; None: as many as torch has.

    Raises:
        ConfigError: it is a model for lossy compression.
    """
    return ChainCoder(model.exact_ladder(), threads=threads)


class LosslessCodec:
    """Writes and reads pictures exactly with one model.

    Args:
        coder: what codes groups of pictures with the model.
        model_name: the model's name, written into files.
        fingerprint: at least 8 bytes that identify its weights; the first 8 are written into files.
        progress: called with tiles done and tiles in all.
    """

    def __init__(
        self,
        coder: GroupCoder,
        model_name: str,
        fingerprint: bytes,
        progress: Progress | None = None,
    ) -> None:
        self.coder = coder
        self.model_name = model_name
        self.fingerprint = fingerprint[:FINGERPRINT_BYTES]
        if len(self.fingerprint) != FINGERPRINT_BYTES:
            raise ValueError(f"a fingerprint has at least {FINGERPRINT_BYTES} bytes")
        self.progress: Progress = progress or (lambda done, total: None)

    def encode(self, image: Picture) -> bytes:
        """Write one picture.

        Args:
            image: a Pillow image; or an array, `(h, w)` or `(h, w, 1)`: bool, uint8 or uint16,
                `(h, w, 2 to 4)`: uint8.

        Raises:
            InputError: the image cannot be kept exactly.
        """
        picture = take_apart(image)
        _check_size(picture)
        common = Common.of(picture)
        counter = _Counter(self.progress, common.grid.count)
        number = 0 if picture.profile else None
        written = write_bundle(self.coder, [picture], common, number, counter.add)
        return self._pack([written], None, [picture.profile] if picture.profile else [])

    def archive(self, sources: Sequence[Source]) -> bytes:
        """Write pictures, each with its name, into one file.

        Those of one size and kind follow each other, in the order they are given in.

        Raises:
            InputError: an image cannot be kept exactly, or a name cannot be a path in a folder.
        """
        if not sources:
            raise InputError("there are no pictures to archive")
        if len(sources) > MAX_PICTURES:
            raise InputError(f"an archive holds up to {MAX_PICTURES} pictures; make several")
        check_names([name for name, _ in sources])
        alike: dict[Common, list[Source]] = {}
        for source in sources:
            alike.setdefault(Common.of(_read(source)), []).append(source)
        profiles = list(dict.fromkeys(common.profile for common in alike if common.profile))
        tiles = sum(common.grid.count * len(group) for common, group in alike.items())
        counter = _Counter(self.progress, tiles)
        written, names = [], []
        for common, group in alike.items():
            number = profiles.index(common.profile) if common.profile else None
            for first in range(0, len(group), common.pictures):
                part = group[first : first + common.pictures]
                pictures = [_read_again(source, common) for source in part]
                written.append(write_bundle(self.coder, pictures, common, number, counter.add))
                names += [name for name, _ in part]
        return self._pack(written, names, profiles)

    def decode(self, file: LosslessFile) -> Image.Image:
        """Read the picture of a file that is no archive.

        Raises:
            CorruptFileError: the file is damaged.
            UnsupportedFileError: it needs another model or a newer laconic, or is an archive.
        """
        if file.is_archive:
            raise refuse_archive(file.pictures)
        self._check_model(file)
        return next(image for _, image in self._read_all(file))

    def unarchive(self, file: LosslessFile) -> Iterator[tuple[str, Image.Image]]:
        """Read the pictures of an archive one by one, with their names.

        Of a truncated file those before the cut are read; then a `CorruptFileError` says how many.

        Raises:
            CorruptFileError: the file is damaged.
            UnsupportedFileError: it needs another model, or is no archive.
        """
        if not file.is_archive:
            raise UnsupportedFileError(
                "the file is no archive but one picture; laconic.decompress reads it"
            )
        self._check_model(file)
        return self._read_all(file)

    def _pack(
        self,
        written: Sequence[WrittenBundle],
        names: Sequence[str] | None,
        profiles: Sequence[bytes],
    ) -> bytes:
        """The file; `names` is None where it is no archive."""
        bundles = [part.bundle for part in written]
        header = LosslessHeader(
            model=self.model_name,
            fingerprint=self.fingerprint,
            pictures=None if names is None else len(names),
            profiles=bool(profiles),
            ideal_bits=round(sum(part.costs.ideal_bits for part in written)),
            net_bits=round(sum(part.costs.net_bits for part in written)),
            single=bundles[0] if names is None else None,
        )
        pixels = [part.data for part in written]
        return pack_file(header, [] if names is None else bundles, names or [], profiles, pixels)

    def _read_all(self, file: LosslessFile) -> Iterator[tuple[str, Image.Image]]:
        """Every picture with its name, "" where it has none; after a cut, what is missing."""
        total = sum(bundle.pictures * bundle.grid.count for bundle in file.bundles)
        counter = _Counter(self.progress, total)
        done = unchecked = 0
        for bundle, data in file.parts():
            profile = b"" if bundle.profile is None else file.profiles[bundle.profile]
            for picture, good in read_bundle(self.coder, bundle, data, profile, counter.add):
                yield file.names[done] if file.names else "", put_together(picture)
                done += 1
                unchecked += not good
            if len(data) < bundle.size:
                break
        if file.missing_bytes:
            doubt = f", the last {unchecked} without a checksum" if unchecked else ""
            raise CorruptFileError(
                f"the file is truncated: {done} of {file.pictures} pictures recovered{doubt}"
            )

    def _check_model(self, file: LosslessFile) -> None:
        header = file.header
        if header.fingerprint != self.fingerprint:
            raise UnsupportedFileError(
                f"the file was written with the model {header.model!r} "
                f"({header.fingerprint.hex()}), this is {self.model_name!r} "
                f"({self.fingerprint.hex()}); decode it with the model that wrote it"
            )


class _Counter:
    """Counts tiles for a progress bar."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def add(self, count: int) -> None:
        self.done += count
        self.progress(self.done, self.total)


def _read(source: Source) -> ExactPicture:
    """Read a picture; an error tells which."""
    name, load = source
    try:
        picture = take_apart(load())
        _check_size(picture)
    except InputError as error:
        if name in str(error):
            raise
        raise InputError(f"{name}: {error}") from error
    return picture


def _read_again(source: Source, common: Common) -> ExactPicture:
    picture = _read(source)
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
