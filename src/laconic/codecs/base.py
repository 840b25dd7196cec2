"""What every codec of .lac files does, and the table of them.

A file is unpacked and checked once (`open_file`). The codec that it names reads its own header: the
result is an opened file, an instance of that codec. It describes itself without a model, and it
decodes its items: one picture, the pictures of an archive, or the tensors of a network.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Self

from laconic.container import FieldReader, FieldWriter, LacFile, StoredFile, unpack
from laconic.deep_image import DeepImage
from laconic.errors import InputError, UnsupportedFileError
from laconic.limits import MAX_PIXELS
from laconic.progress import Progress, silent

if TYPE_CHECKING:
    from PIL import Image

    from laconic.coding.relative_entropy.base import RelativeEntropyCoder
    from laconic.models.base import LatentVariableModel

FINGERPRINT_BYTES: Final = 8
"""Of the SHA-256 of a model's weights, as files have it."""

MAX_SETTINGS: Final = 32
"""Parameters of a coder."""


class ModelId(NamedTuple):
    """Which model wrote a file.

    Attributes:
        name: of the model.
        fingerprint: 8 bytes that identify its weights.
    """

    name: str
    fingerprint: bytes

    @classmethod
    def of(cls, name: str, fingerprint: bytes) -> Self:
        """The identity as files have it; a longer fingerprint is shortened."""
        if len(fingerprint) < FINGERPRINT_BYTES:
            raise ValueError(f"a fingerprint has at least {FINGERPRINT_BYTES} bytes")
        return cls(name, fingerprint[:FINGERPRINT_BYTES])

    def __str__(self) -> str:
        return f"{self.name!r} ({self.fingerprint.hex()})"

    def write(self, writer: FieldWriter) -> None:
        """Write the two fields of a header."""
        writer.word(self.name)
        writer.raw(self.fingerprint)

    @classmethod
    def read(cls, reader: FieldReader) -> Self:
        """Read the two fields of a header."""
        return cls(reader.word("the model's name"), reader.raw(FINGERPRINT_BYTES))

    def check(self, other: "ModelId") -> None:
        """Raise `UnsupportedFileError` where `other` has other weights than this file's model."""
        if other.fingerprint != self.fingerprint:
            raise UnsupportedFileError(
                f"the file was written with the model {self}, this is {other}; decode it with the "
                "model that wrote it"
            )


@dataclass(frozen=True)
class CoderSetting:
    """A relative entropy coder by its permanent name, with its integer parameters."""

    id: str
    config: Mapping[str, int]

    @classmethod
    def of(cls, coder: "RelativeEntropyCoder") -> Self:
        """The setting of a coder."""
        return cls(coder.id, coder.config())

    def make(self) -> "RelativeEntropyCoder":
        """The coder.

        Raises:
            UnsupportedFileError: this laconic lacks it, or one of its parameters.
        """
        from laconic.coding.relative_entropy import CODERS

        if self.id not in CODERS:
            raise UnsupportedFileError(
                f"the file needs the coder {self.id!r}, which this laconic lacks; update it"
            )
        return CODERS[self.id].from_config(self.config)

    def write(self, writer: FieldWriter) -> None:
        """Write the fields: name, number of parameters, (name, value) in order.

        Raises:
            InputError: the coder has more parameters than a reader accepts.
        """
        if len(self.config) > MAX_SETTINGS:
            raise InputError(
                f"the coder {self.id!r} has {len(self.config)} parameters, a file holds "
                f"{MAX_SETTINGS}"
            )
        writer.word(self.id)
        writer.integer(len(self.config))
        for key in sorted(self.config):
            writer.word(key)
            writer.integer(self.config[key])

    @classmethod
    def read(cls, reader: FieldReader) -> Self:
        """Read the fields."""
        name, config = reader.word("a coder's name"), {}
        for _ in range(reader.integer(MAX_SETTINGS, "the number of a coder's parameters")):
            key = reader.word("a coder's parameter")
            config[key] = reader.integer(what=key)
        return cls(name, config)


@dataclass(frozen=True)
class LoadedModel:
    """A model with its identity.

    Attributes:
        model: ready for inference, in float32.
        name: short name, written into files.
        fingerprint: at least 8 bytes that identify its weights.
    """

    model: "LatentVariableModel"
    name: str
    fingerprint: bytes

    @property
    def id(self) -> ModelId:
        """Its identity, as files have it."""
        return ModelId.of(self.name, self.fingerprint)


def no_model(written: ModelId) -> LoadedModel:
    """Raise `UnsupportedFileError`: no model can be loaded."""
    raise UnsupportedFileError(f"the file needs the model {written.name!r}, and none is given")


class Crop(NamedTuple):
    """A part of a picture, in the pixels of the decoded file.

    Attributes:
        x: columns to the left of it.
        y: rows above it.
        width: columns.
        height: rows.
    """

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def of(cls, values: Sequence[int]) -> Self:
        """From four numbers; raises `InputError` where they are no part of any picture."""
        if len(values) != 4 or min(values[:2]) < 0 or min(values[2:]) < 1:
            said = ",".join(map(str, values))
            raise InputError(f"crop is {said}, give x,y,width,height: from 0 on, sizes from 1 on")
        return cls(*values)

    def check(self, width: int, height: int) -> Self:
        """The same; raises `InputError` where it is not inside a picture of this size."""
        if self.x + self.width > width or self.y + self.height > height:
            raise InputError(
                f"the crop {self.width} x {self.height} at {self.x}, {self.y} is not inside the "
                f"picture of {width} x {height} pixels"
            )
        return self


@dataclass(frozen=True)
class Decoding:
    """How a file is decoded.

    Attributes:
        load: gives the model that a file names; called when it is needed.
        dtype: precision of lossy networks, "float32", "bfloat16" or "float64".
        threads: at most so many are used; None: as many as torch has.
        progress: called with the parts done and the parts in all.
        crop: the part that is wanted of a file of one picture; None: all of it.
        max_pixels: pictures, or parts of them, that have more are refused.
    """

    load: Callable[[ModelId], LoadedModel] = no_model
    dtype: str = "float32"
    threads: int | None = None
    progress: Progress = silent
    crop: Crop | None = None
    max_pixels: int = MAX_PIXELS

    def check_size(self, width: int, height: int) -> None:
        """Refuse a picture of this size, or the crop of it, before memory is taken for it.

        Raises:
            UnsupportedFileError: it has more than `max_pixels` pixels.
            InputError: the crop is not inside the picture.
        """
        if self.crop is not None:
            _, _, width, height = self.crop.check(width, height)
        check_pixels(width, height, self.max_pixels)

    def model(self, written: ModelId) -> LoadedModel:
        """The model that wrote a file.

        Raises:
            UnsupportedFileError: it cannot be loaded, or the model of that name is another one.
        """
        loaded = self.load(written)
        written.check(loaded.id)
        return loaded


def check_pixels(width: int, height: int, most: int) -> None:
    """Raise `UnsupportedFileError` where a picture has more than `most` pixels."""
    if width * height > most:
        raise UnsupportedFileError(
            f"{width} x {height} pixels are more than the limit of {most}; if you trust the file, "
            "raise it by --max-pixels or max_pixels="
        )


class Content(Enum):
    """What a file holds, in words, and what decodes it."""

    PICTURE = ("one picture", "decode it with `laconic decompress FILE` or laconic.decompress")
    ARCHIVE = (
        "an archive of pictures",
        "unpack it with `laconic decompress FILE -o FOLDER` or laconic.unarchive",
    )
    NETWORK = (
        "the weights of a network",
        "expand it with `laconic expand FILE -o WEIGHTS.safetensors` or laconic.expand",
    )
    MAP = (
        "a map of densities",
        "decode it with `laconic decompress FILE -o MAP.mrc` or laconic.decompress_map",
    )

    def __init__(self, words: str, advice: str) -> None:
        self.words, self.advice = words, advice


@dataclass(frozen=True, kw_only=True)
class FileInfo:
    """What every file says about itself; None where a number has no meaning.

    Attributes:
        file_bits: bits on disk, everything included.
        ideal_bits: what an ideal coder takes under the model: a KL, or a negative ELBO.
        theory_bits: what the coder itself expects to take.
        codec: name of the codec.
        coder: name of the coder.
        model: name of the model.
        width: columns of a single picture.
        height: rows of a single picture.
        mode: of a single picture, as Pillow calls it.
        sections: bits by section; "header" is everything that no section holds.
    """

    file_bits: int
    ideal_bits: int | None = None
    theory_bits: int | None = None
    codec: str
    coder: str | None = None
    model: str | None = None
    width: int | None = None
    height: int | None = None
    mode: str | None = None
    sections: dict[str, int]

    @property
    def bpp(self) -> float | None:
        """Bits on disk per pixel; None without pixels."""
        return self.file_bits / (self.width * self.height) if self.width and self.height else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `laconic info --json` prints them."""
        return asdict(self)


class Codec(ABC):
    """One kind of .lac file. An instance is an opened file: its headers are read and checked.

    Attributes:
        id: permanent name, written into files.
        truncatable: whether the items before the cut of a truncated file can be decoded.
        rescuable: whether an item can be shown in part where its file is truncated or damaged.
    """

    id: ClassVar[str]
    truncatable: ClassVar[bool] = False
    rescuable: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def open(cls, file: LacFile) -> Self:
        """Read and check everything but the items.

        Raises:
            CorruptFileError: the codec's header or its lists are damaged.
            UnsupportedFileError: the file is newer than this laconic.
        """

    @property
    @abstractmethod
    def content(self) -> Content:
        """What the file holds."""

    @abstractmethod
    def describe(self) -> FileInfo:
        """What the file says about itself; no model is needed, and no item is decoded."""

    @abstractmethod
    def decode(self, how: Decoding) -> Iterator[tuple[str, Any]]:
        """Decode the items in order, each with its name; a single picture's name is "".

        The model is loaded and checked by this call, the items are decoded one by one.

        Returns:
            Pillow images, tensors of a network, or a map.

        Raises:
            CorruptFileError: the file is damaged; of a truncated file, after the items that are
                left.
            UnsupportedFileError: the file needs another model or a newer laconic.
        """

    def preview(self, how: Decoding, reduction: float) -> "Image.Image":
        """The picture of a file of one picture, as detailed as a small version of it needs.

        Args:
            how: how the file is decoded.
            reduction: the picture's size over that of the small version, at least 1.

        Returns:
            The picture in its own size; colour of 16 bits is rounded to 8.

        Raises:
            UnsupportedFileError: the file holds no single picture, or its model is missing.
        """
        self.expect(Content.PICTURE)
        found: Image.Image | DeepImage = next(image for _, image in self.decode(how))
        return found.to_eight_bits() if isinstance(found, DeepImage) else found

    @property
    def words(self) -> str:
        """What the file holds, for messages."""
        return self.content.words

    def picture_sizes(self) -> set[tuple[int, int]]:
        """Width and height of every picture."""
        return set()

    @property
    def is_exact(self) -> bool:
        """Whether a picture must be stored as it is: lossless coding of it was requested."""
        return False

    def attachments(self) -> dict[str | tuple[int, int], Any]:
        """What `Image.info` of a single picture will have; no pixel is decoded for it."""
        return {}

    def expect(self, content: Content) -> None:
        """Raise `UnsupportedFileError` where the file holds something else."""
        if self.content is not content:
            _, _, noun = content.words.partition(" ")
            raise UnsupportedFileError(
                f"the file holds {self.words}, no {noun}; {self.content.advice}"
            )

    @classmethod
    def read(cls, data: bytes, partial: bool = False, rescue: bool = False) -> Self:
        """Unpack, check and open the bytes of a file of this codec.

        Args:
            data: the whole file.
            partial: accept a truncated file, where the codec can decode its first items.
            rescue: accept a truncated or damaged file, where the codec can show its item in part.

        Raises:
            CorruptFileError: the file is damaged.
            UnsupportedFileError: it is a file of another codec, or newer than this laconic.
        """
        file = unpack(data, partial and cls.truncatable, rescue and cls.rescuable)
        if file.codec != cls.id:
            raise UnsupportedFileError(
                f"the file's codec is {file.codec!r}, not {cls.id!r}; "
                "`laconic info FILE` shows what it holds"
            )
        return cls.open(file)


CODECS: Final[Mapping[str, str]] = {
    "image": "laconic.codecs.image.file.ImageFile",
    "lossless": "laconic.codecs.lossless.file.LosslessFile",
    "network": "laconic.codecs.network.file.NetworkFile",
    "map": "laconic.codecs.volume.file.VolumeFile",
}
"""Every codec's class by the name that is written into files; imported when a file needs it."""


def find_codec(name: str) -> type[Codec]:
    """The class of a codec.

    Raises:
        UnsupportedFileError: this laconic has no such codec.
    """
    if name not in CODECS:
        raise UnsupportedFileError(
            f"the file's codec is {name!r}, which this laconic does not have; update laconic"
        )
    module, _, attribute = CODECS[name].rpartition(".")
    found: type[Codec] = getattr(import_module(module), attribute)
    return found


def open_file(
    data: bytes | StoredFile, partial: bool = False, rescue: bool = False, lazy: bool = False
) -> Codec:
    """Unpack and check a .lac file of any kind, once, and open it with the codec that it names.

    Args:
        data: the whole file.
        partial: accept a truncated file, where its codec can decode the first items.
        rescue: accept a truncated or damaged file, where its codec can show its item in part.
        lazy: leave the items' sections unread until they are needed; each is checked then. Not with
            `partial` or `rescue`.

    Raises:
        CorruptFileError: the file is damaged.
        UnsupportedFileError: it needs a codec that is not there, or a newer laconic.
    """
    file = unpack(data, partial, rescue, lazy)
    codec = find_codec(file.codec)
    if rescue and not codec.rescuable:
        file = unpack(data, partial)
    if not (codec.truncatable or (rescue and codec.rescuable)):
        file.check_whole()
    return codec.open(file)
