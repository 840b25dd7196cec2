"""A picture of 16 bits a sample in two to four channels, with what Pillow would say of it.

`import laconic` imports this module, so numpy is imported where it is needed.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from PIL import Image

from laconic.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike, NDArray

MODES: Final = {2: "LA;16", 3: "RGB;16", 4: "RGBA;16"}
"""Name of a mode by its channels; Pillow has none."""


@dataclass(frozen=True)
class DeepImage:
    """What `laconic.decompress` gives for colour of 16 bits, or grey of 16 bits with alpha.

    `np.asarray(image)` is the array of its samples.

    Attributes:
        samples: uint16 `(height, width, channels)`: grey and alpha, RGB, or RGBA. Black is 0,
            white 65535.
        info: colour profile, EXIF and XMP data and dots per inch, as in Pillow's `Image.info`.

    Example:
        `laconic.decompress("photo.lac").save("photo.png")`
    """

    samples: "NDArray[np.uint16]"
    info: dict[str | tuple[int, int], Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise `InputError` unless the samples are those of such a picture."""
        import numpy as np

        shape, dtype = self.samples.shape, self.samples.dtype
        if len(shape) != 3 or shape[2] not in MODES or dtype.newbyteorder("=") != np.uint16:
            raise InputError(
                "samples must have shape (h, w, 2 to 4) and type uint16, not "
                f"{shape} and {dtype}; an array of one channel is Pillow's mode I;16"
            )

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.samples.shape[1])

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.samples.shape[0])

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows, as Pillow has them."""
        return self.width, self.height

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns and channels, as numpy has them."""
        height, width, channels = self.samples.shape
        return height, width, channels

    @property
    def dtype(self) -> "np.dtype[np.uint16]":
        """The type of the samples."""
        return self.samples.dtype

    @property
    def mode(self) -> str:
        """LA;16, RGB;16 or RGBA;16."""
        return MODES[self.samples.shape[2]]

    @property
    def has_transparency_data(self) -> bool:
        """Whether there is an alpha channel."""
        return bool(self.samples.shape[2] != 3)

    def __array__(
        self, dtype: "DTypeLike | None" = None, copy: bool | None = None
    ) -> "NDArray[Any]":
        """The samples, for `np.asarray`."""
        import numpy as np

        return np.array(self.samples, dtype, copy=copy)

    def __repr__(self) -> str:
        return f"<DeepImage {self.width}x{self.height} {self.mode}>"

    def carrier(self) -> Image.Image:
        """A Pillow image of one pixel with the same channels and `info`, for its metadata."""
        mode = self.mode.removesuffix(";16")
        found = Image.new(mode, (1, 1), (255,) * len(mode))
        found.info |= self.info
        return found

    def to_eight_bits(self) -> Image.Image:
        """The picture with samples rounded to 8 bits, as a Pillow image with the same `info`."""
        import numpy as np

        from laconic.depth import SIXTEEN_BITS, round_to_eight

        rounded = np.empty(self.samples.shape, np.uint8)
        for row, samples in zip(rounded, self.samples, strict=True):  # Little memory at a time.
            row[:] = round_to_eight(samples)
        found = Image.fromarray(rounded)
        found.info |= self.info | {SIXTEEN_BITS: True}
        return found

    def to_bytes(self, format_name: str) -> bytes:
        """A file of 16 bits a sample.

        Args:
            format_name: Pillow's name of the format: PNG, TIFF or PPM.

        Raises:
            InputError: the format cannot hold the picture.
        """
        from laconic.deep_image.files import WRITERS

        return WRITERS[format_name](self.samples, self.carrier())

    def save(self, target: str | Path | IO[bytes]) -> None:
        """Write a file of 16 bits a sample, in the format of the name's ending.

        Args:
            target: a path that ends in .png, .tif, .tiff, .ppm or .pnm; or an open binary file,
                which becomes PNG.

        Raises:
            InputError: the ending is another one, or the format cannot hold the picture.
        """
        if not isinstance(target, str | Path):
            target.write(self.to_bytes("PNG"))
            return
        from laconic.deep_image.files import ENDINGS

        path = Path(target)
        name = ENDINGS.get(path.suffix.lower())
        if name is None:
            raise InputError(f"{path}: 16 bits a sample fit {', '.join(ENDINGS)}; name one of them")
        path.write_bytes(self.to_bytes(name))
