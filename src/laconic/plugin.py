"""Pillow's plugin for .lac files: `Image.open("x.lac")` and `image.save("x.lac", quality=60)`."""

from io import BytesIO
from typing import IO, TYPE_CHECKING, Any

from PIL import Image, ImageFile

from laconic.api import compress
from laconic.codecs.base import Codec, Content, open_file
from laconic.deep_image.image import MODES
from laconic.errors import CorruptFileError, LaconicError
from laconic.pretrained import decoding

if TYPE_CHECKING:
    from laconic.codecs.image.metadata import Info

FORMAT = "LACONIC"
EXTENSION = ".lac"
MAGIC = b"\x89LAC"


def register_pillow() -> None:
    """Register the format with Pillow: `Image.open("x.lac")` and `image.save("x.lac", quality=60)`.

    `import laconic` calls it: the one side effect that importing has.
    """
    Image.register_open(FORMAT, LaconicImageFile, lambda prefix: prefix.startswith(MAGIC))
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, EXTENSION)
    Image.register_mime(FORMAT, "image/x-laconic")


class LaconicImageFile(ImageFile.ImageFile):
    """Pillow's view of a .lac file; pixels are decoded on `load()`.

    `thumbnail` and `draft` decode the top levels of a lossy file alone. With Pillow's
    `ImageFile.LOAD_TRUNCATED_IMAGES`, a lossy file that is truncated or damaged shows what is left.
    """

    format = FORMAT
    format_description = "Laconic"
    _file: Codec | None = None
    _reduction = 1

    def _open(self) -> None:
        """Read everything but the pixels.

        Raises:
            SyntaxError: the file is damaged; `Image.open` then raises `UnidentifiedImageError`.
            OSError: the file is whole, and no picture that this laconic reads.
        """
        assert self.fp is not None
        try:
            rescue = ImageFile.LOAD_TRUNCATED_IMAGES
            self._file = open_file(self.fp.read(), rescue=rescue)
            self._file.expect(Content.PICTURE)
            info = self._file.describe()
            self.info |= self._file.attachments()
            self.info["laconic"] = info
        except CorruptFileError as error:
            raise SyntaxError(str(error)) from error
        except LaconicError as error:
            raise OSError(str(error)) from error
        if info.mode in MODES.values():
            raise OSError(
                f"Pillow has no mode for {info.mode}, 16 bits a sample: laconic.decompress gives "
                "the samples, and its result has to_eight_bits() for a Pillow image"
            )
        self._size = (info.width or 0, info.height or 0)
        self._mode = info.mode or ""
        self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]

    def draft(
        self, mode: str | None, size: tuple[int, int] | None
    ) -> tuple[str, tuple[int, int, float, float]] | None:
        """Make the next `load` decode a picture reduced by a whole factor.

        Args:
            mode: is not changed.
            size: the reduced picture has at least so many columns and rows.

        Returns:
            The mode, and the picture's own area in pixels of the reduced one; None: not reduced.
        """
        if self._file is None or size is None or self._reduction > 1:
            return None
        width, height = self.size
        reduction = min(width // max(1, size[0]), height // max(1, size[1]))
        if reduction < 2 or self.mode == "1":
            return None
        self._reduction, self._size = reduction, (-(-width // reduction), -(-height // reduction))
        self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]
        return self.mode, (0, 0, width / reduction, height / reduction)

    def load(self) -> Any:
        """Decode once; what Pillow's `load` returns.

        Raises:
            OSError: the pixels are damaged, or the model that wrote the file is missing.
        """
        if self._file is not None:
            try:
                image = self._file.preview(decoding(), float(self._reduction))
                if self._reduction > 1:
                    image = image.reduce(self._reduction)
                pixels = image.tobytes()
            except LaconicError as error:
                raise OSError(str(error)) from error
            if self.fp and self._exclusive_fp:
                self.fp.close()
            self.fp, self._file = BytesIO(pixels), None
        return super().load()

    def load_seek(self, pos: int) -> None:
        """Do nothing. Pillow maps the compressed file as pixels where this method is missing."""


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """What `Image.save` calls; metadata are those of the image unless `save` is given others."""
    options: dict[str, Any] = getattr(image, "encoderinfo", {})
    known = {"quality", "bpp", "coder", "tune", "lossless", "effort", "model", "frame", "strip"}
    given: Info = {
        key: options[key] for key in ("icc_profile", "exif", "xmp", "dpi") if key in options
    }
    if isinstance(given.get("exif"), Image.Exif):
        given["exif"] = given["exif"].tobytes()
    if given:
        image = image.copy()
        image.info |= given
    file.write(compress(image, **{key: options[key] for key in known if key in options}))
