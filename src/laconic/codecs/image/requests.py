"""A lossy request; the file is lossless where that is better.

A lossless file of a drawing or a text often takes fewer bytes than a lossy one. And the finest
qualities promise a picture that looks like the original, which a model of photographs cannot keep
for every picture: at quality `FAITHFUL` and above the lossy file is decoded, and a lossless file is
written instead where the error is too large. The lossless file notes the request and the reason.
"""

from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from laconic.codecs.image.codec import ImageCodec, is_short, quality_step, warn_if_short
from laconic.codecs.image.picture import ROWS, Colour, Picture, put_together, take_apart, to_grey
from laconic.codecs.lossless.codec import Core, LosslessCodec
from laconic.codecs.lossless.direct.choice import EFFORT, WITH_MODEL
from laconic.codecs.lossless.direct.sketch import Sketch
from laconic.codecs.lossless.note import THOUSANDTHS, Note, Reason
from laconic.codecs.lossless.picture import ExactPicture, from_colours
from laconic.codecs.lossless.picture import take_apart as take_apart_exactly

FAITHFUL: Final = 95
"""From this quality on a lossy file is compared with what it was given."""
LEAST_PSNR: Final = 34.0
"""Decibels that it then has at least; photographs have 34.7 to 39 dB at this quality."""
FAR: Final = 64
MOST_FAR: Final = 0.001
"""At most this share of its samples is off by more than `FAR`."""
HOPELESS: Final = 0.1
"""Share of the sketch's residual bits: where a lossy file takes less, no lossless one is tried."""


class RequestCodec:
    """Writes pictures by quality or size.

    Args:
        lossy: the codec of photographs.
        lossless: writes what must be exact.
    """

    def __init__(self, lossy: ImageCodec, lossless: LosslessCodec) -> None:
        self.lossy, self.lossless = lossy, lossless
        effort = EFFORT if lossless.effort is None else lossless.effort
        self.drawings = LosslessCodec(_no_model, effort=min(effort, WITH_MODEL - 1))

    def encode(
        self,
        image: Image.Image | NDArray[Any],
        quality: float = 50,
        bpp: float | None = None,
        strip: bool = False,
    ) -> bytes:
        """Write an image.

        Args:
            image: a Pillow image, or an array `(h, w)` or `(h, w, 1 to 4)`, uint8 or uint16.
            quality: 1 (smallest file) to 100 (best picture), when `bpp` is None.
            bpp: bits per pixel of the whole file, not exceeded. A warning says where the finest
                file takes fewer.
            strip: leave out EXIF and XMP data and dots per inch.

        Raises:
            InputError: the image cannot be coded or the request is impossible.
        """
        picture = take_apart(image, strip)
        del image  # It may take more memory than all that follows.
        if bpp is not None:
            return self._fit(picture, bpp)
        step = quality_step(quality)
        data = self.lossy.encode_picture(picture, step)
        drawing = self._draw(picture, Note(Reason.SMALLER, step), 8 * len(data))
        if drawing is not None and len(drawing) <= len(data):
            return drawing
        if quality >= FAITHFUL and self._is_far(data, picture):
            return self.lossless.encode_picture(to_exact(picture), Note(Reason.FAITHFUL, step))
        return data

    def _fit(self, picture: Picture, bpp: float) -> bytes:
        """The best picture in at most so many bits per pixel."""
        pixels = picture.height * picture.width
        note = Note(Reason.FITS, round(THOUSANDTHS * bpp))
        data = self._draw(picture, note, bpp * pixels)
        if data is None or 8 * len(data) > bpp * pixels:
            data = self.lossy.search(picture, bpp)
            if is_short(data, bpp, pixels):
                exact = self.lossless.encode_picture(to_exact(picture), note)
                data = exact if 8 * len(exact) <= bpp * pixels else data
        warn_if_short(data, bpp, pixels)
        return data

    def _draw(self, picture: Picture, note: Note, lossy_bits: float) -> bytes | None:
        """A lossless file written without the model, for what may be a drawing."""
        exact = to_exact(picture)
        sketch = Sketch.of(exact.samples)
        if not sketch.drawn or lossy_bits < HOPELESS * sketch.residual_bits:
            return None
        return self.drawings.encode_picture(exact, note)

    def _is_far(self, data: bytes, picture: Picture) -> bool:
        """Whether a lossy file does not keep the picture that it was given.

        The file is decoded, though the sender has the latents: what is judged is what any receiver
        will see, coder and rounding included. That costs one decoding, and at these qualities only.
        """
        back = self.lossy.decode(data)
        samples = far = 0
        squares = 0.0
        for top in range(0, picture.height, ROWS):
            part = slice(top, min(top + ROWS, picture.height))
            shown = back.crop((0, part.start, picture.width, part.stop)).convert("RGB")
            error = np.abs(np.asarray(shown).astype(np.int16) - picture.pixels[part])
            if picture.alpha is not None:
                error = error[picture.alpha[part] > 0]
            samples += error.size
            far += int((error > FAR).sum())
            squares += float(np.square(error.astype(np.float32)).sum(dtype=np.float64))
        limit = 255.0**2 / 10 ** (LEAST_PSNR / 10)
        return samples > 0 and (squares > limit * samples or far > MOST_FAR * samples)


def to_exact(picture: Picture) -> ExactPicture:
    """What the lossless codec keeps of a picture that was taken apart for the lossy one.

    It is that of `put_together(picture)`, without the image, which takes much memory.
    """
    alpha = None if picture.alpha is None else picture.alpha[:1, :1]
    tiny = replace(picture, pixels=picture.pixels[:1, :1].copy(), alpha=alpha)
    about = take_apart_exactly(put_together(tiny))
    if picture.colour is Colour.RGB:
        found = from_colours(picture.pixels, picture.alpha, about.profile, about.orientation)
    else:
        grey = to_grey(picture.pixels)[..., None]
        bilevel = picture.colour is Colour.BILEVEL and picture.alpha is None
        samples = grey >= 128 if bilevel else grey
        found = replace(about, pixels=samples, alpha=picture.alpha)
    return replace(found, metadata=about.metadata)


def _no_model() -> Core:
    raise AssertionError("no model codes drawings at this effort")
