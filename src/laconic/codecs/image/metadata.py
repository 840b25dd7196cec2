"""What pictures say beside their pixels and colours: EXIF and XMP data, and dots per inch.

```
section  a zlib stream of one record per picture, in the order of the file
record   integer: its length; then for each kind that there is, kinds rising:
         integer: kind; integer: length; bytes
kinds    1 EXIF data without prefix; 2 an XMP packet; 3 two integers: dots per inch, across and
         down, in units of 1/10000
```

A reader passes over kinds that it does not know.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from PIL import Image

from laconic.codecs.deflated import deflate, inflate
from laconic.container import FieldReader, FieldWriter
from laconic.errors import CorruptFileError
from laconic.orientation import ORIENTATION_TAG, PREFIX

METADATA: Final = "metadata"
"""Name of the section."""
MAX_BYTES: Final = 1 << 28
"""Of all records of a file."""
EXIF, XMP, DPI = 1, 2, 3
DPI_UNITS: Final = 10_000
"""Of a dot per inch."""
MAX_DPI: Final = 1_000_000
XMP_KEYS: Final = ("xmp", "XML:com.adobe.xmp")
"""Where Pillow's readers put an XMP packet."""


Info: TypeAlias = dict[str | tuple[int, int], Any]
"""Of the type of `Image.info`."""


class DamagedMetadataWarning(UserWarning):
    """Metadata cannot be read and are left out."""


@dataclass(frozen=True)
class Metadata:
    """Metadata of a picture.

    Attributes:
        exif: a small TIFF file, without the prefix that JPEG files put before it; or empty.
        xmp: an XMP packet, usually UTF-8; or empty.
        dpi: dots per inch, across and down, in units of 1/10000; or None.
    """

    exif: bytes = b""
    xmp: bytes = b""
    dpi: tuple[int, int] | None = None

    def __bool__(self) -> bool:
        return bool(self.exif or self.xmp or self.dpi)

    @classmethod
    def of(cls, image: Image.Image) -> "Metadata":
        """What an image has in its `info`; a warning says what is damaged and left out."""
        xmp: Any = next((image.info[key] for key in XMP_KEYS if image.info.get(key)), b"")
        packet = xmp.encode() if isinstance(xmp, str) else xmp
        return cls(_read_exif(image), packet if isinstance(packet, bytes) else b"", _dpi(image))

    def entries(self) -> Info:
        """What an image of Pillow has in its `info`."""
        found: Info = {}
        if self.exif:
            found["exif"] = PREFIX + self.exif
        if self.xmp:
            found["xmp"] = self.xmp
        if self.dpi:
            found["dpi"] = tuple(value / DPI_UNITS for value in self.dpi)
        return found

    def write(self) -> bytes:
        """The record, without its length."""
        writer = FieldWriter()
        kinds = {EXIF: self.exif, XMP: self.xmp, DPI: b""}
        if self.dpi:
            numbers = FieldWriter()
            for value in self.dpi:
                numbers.integer(value)
            kinds[DPI] = numbers.finish()
        for kind, data in kinds.items():
            if data:
                writer.integer(kind)
                writer.integer(len(data))
                writer.raw(data)
        return writer.finish()

    @classmethod
    def read(cls, record: bytes) -> "Metadata":
        """The metadata of a record; raises `CorruptFileError`."""
        reader, before, found = FieldReader(record, "the metadata"), 0, {}
        while reader.left:
            kind = reader.integer(what="a kind of metadata")
            if kind <= before:
                raise CorruptFileError("the kinds of metadata do not rise")
            found[kind] = reader.raw(reader.integer(what="the length of metadata"))
            before = kind
        dpi = None
        if DPI in found:
            numbers = FieldReader(found[DPI], "the dots per inch")
            most = MAX_DPI * DPI_UNITS
            dpi = (numbers.integer(most), numbers.integer(most))
            numbers.finish()
        return cls(found.get(EXIF, b""), found.get(XMP, b""), dpi)


NONE: Final = Metadata()
"""No metadata at all."""


def write_metadata(pictures: Sequence[Metadata]) -> bytes:
    """The section, for the metadata of each picture of a file.

    Raises:
        InputError: they take more bytes than a reader takes.
    """
    writer = FieldWriter()
    for one in pictures:
        record = one.write()
        writer.integer(len(record))
        writer.raw(record)
    advice = "leave them out by --strip or strip=True"
    return deflate(writer.finish(), MAX_BYTES, "EXIF and XMP data", advice)


def read_metadata(section: bytes, count: int) -> tuple[Metadata, ...]:
    """The metadata of each of `count` pictures; raises `CorruptFileError`."""
    reader = FieldReader(inflate(section, MAX_BYTES, METADATA), "the metadata")
    found = tuple(
        Metadata.read(reader.raw(reader.integer(what="the length of a record")))
        for _ in range(count)
    )
    reader.finish()
    return found


def _read_exif(image: Image.Image) -> bytes:
    """EXIF data as they are in the file; empty where they hold no more than an orientation."""
    data = image.info.get("exif")
    try:
        if data is None and "Raw profile type exif" in image.info:
            data = image.getexif().tobytes()
        if not isinstance(data, bytes) or not data:
            return b""
        tags = Image.Exif()
        tags.load(data)
        found = set(tags)
    except Exception as error:  # Damaged tags raise errors of many kinds in Pillow.
        warnings.warn(
            f"the EXIF data are damaged and are left out: {error}",
            DamagedMetadataWarning,
            stacklevel=4,
        )
        return b""
    return data.removeprefix(PREFIX) if found - {ORIENTATION_TAG} else b""


def _dpi(image: Image.Image) -> tuple[int, int] | None:
    """Dots per inch in units of 1/10000, where they are numbers that mean something."""
    found = image.info.get("dpi")
    try:
        across, down = (float(value) for value in found)  # type: ignore[union-attr]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    good = all(math.isfinite(value) and 0 < value <= MAX_DPI for value in (across, down))
    return (round(across * DPI_UNITS), round(down * DPI_UNITS)) if good else None
