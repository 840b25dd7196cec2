"""What the lossless codec is given of a picture that was taken apart for the lossy one."""

import numpy as np
import pytest
from PIL import Image

from laconic.codecs.image.picture import put_together, take_apart, to_array
from laconic.codecs.image.requests import to_exact
from laconic.codecs.lossless.picture import take_apart as take_apart_exactly


def image(mode: str) -> Image.Image:
    samples = np.random.default_rng(0).integers(0, 256, (300, 13, 4), np.uint8)
    if mode == "equal":
        return Image.fromarray(np.repeat(samples[..., :1], 3, 2))
    made = Image.fromarray(samples).convert(mode)
    made.info |= {"dpi": (72.0, 144.0), "icc_profile": b"not a real profile"}
    return made


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1", "equal", "P"])
def test_it_is_that_of_the_image_put_together(mode: str) -> None:
    picture = take_apart(image(mode))
    one, other = to_exact(picture), take_apart_exactly(put_together(picture))
    assert one.kind is other.kind
    assert one.pixels.dtype == other.pixels.dtype
    assert np.array_equal(one.samples, other.samples)
    assert (one.profile, one.orientation) == (other.profile, other.orientation)
    assert one.metadata == other.metadata


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1", "P"])
def test_rows_are_converted_as_pillow_does(mode: str) -> None:
    given = image(mode)
    for wanted in ("RGB", "L"):
        expected = np.asarray(given.convert(wanted)).reshape(300, 13, len(wanted))
        assert np.array_equal(to_array(given, wanted), expected)
