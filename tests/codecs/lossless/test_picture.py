"""Images taken apart and put together: samples, mode, profile and orientation come back."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from laconic.codecs.lossless.picture import ExactPicture, Kind, put_together, take_apart
from laconic.deep_image import DeepImage
from laconic.errors import InputError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (9, 7, 3), np.uint8)
GREY = RNG.integers(0, 256, (9, 7), np.uint8)
ALPHA = (RNG.integers(0, 3, (9, 7)) * 127).astype(np.uint8)
COLOUR = RNG.integers(0, 65536, (9, 7, 3), np.uint16)
DEEP = RNG.integers(0, 65536, (9, 7), np.uint16)

ARRAYS = {
    "RGB": (RGB, Kind.RGB, "RGB"),
    "grey": (GREY, Kind.GREY, "L"),
    "16 bits": (DEEP, Kind.GREY_16, "I;16"),
    "big endian": (DEEP.astype(">u2"), Kind.GREY_16, "I;16"),
    "bilevel": (GREY > 99, Kind.BILEVEL, "1"),
    "equal RGB": (np.repeat(GREY[..., None], 3, 2), Kind.EQUAL_RGB, "RGB"),
    "RGBA": (np.dstack([RGB, ALPHA]), Kind.RGB, "RGBA"),
    "equal RGBA": (np.dstack([GREY, GREY, GREY, ALPHA]), Kind.EQUAL_RGB, "RGBA"),
    "LA": (np.dstack([GREY, ALPHA]), Kind.GREY, "LA"),
    "deep RGB": (COLOUR, Kind.RGB_16, "RGB;16"),
    "deep RGBA": (np.dstack([COLOUR, DEEP]), Kind.RGB_16, "RGBA;16"),
    "deep LA": (COLOUR[..., :2], Kind.GREY_16, "LA;16"),
    "deep, big endian": (COLOUR.astype(">u2"), Kind.RGB_16, "RGB;16"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back(name: str) -> None:
    array, kind, mode = ARRAYS[name]
    picture = take_apart(array)
    image = put_together(picture)
    assert (picture.kind, image.mode) == (kind, mode)
    assert picture.kind.mode(picture.alpha is not None) == mode
    assert picture.pixels.shape == (9, 7, kind.colours)
    assert picture.pixels.dtype.isnative
    assert np.array_equal(np.asarray(image), array)
    assert np.array_equal(np.asarray(put_together(take_apart(image))), array)


def test_a_transparent_value_of_16_bits_becomes_alpha() -> None:
    image = Image.fromarray(np.array([[5, 6]], np.uint16))
    image.info["transparency"] = 5
    assert np.asarray(put_together(take_apart(image))).tolist() == [[[5, 0], [6, 65535]]]


def test_metadata_of_deep_images_come_back() -> None:
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = 6, "Laconic"
    info = {
        "icc_profile": b"profile",
        "exif": tags.tobytes(),
        "xmp": b"<xmp/>",
        "dpi": (72.0, 96.0),
    }
    picture = take_apart(DeepImage(COLOUR, dict(info)))
    back = put_together(picture)
    assert (picture.orientation, picture.profile) == (6, b"profile")
    assert {key: back.info[key] for key in info} == info
    stripped = take_apart(DeepImage(COLOUR, dict(info)), strip=True)
    assert stripped.orientation == 6
    assert not stripped.metadata


def test_a_channel_axis_of_one_is_dropped() -> None:
    assert np.array_equal(np.asarray(put_together(take_apart(DEEP[..., None]))), DEEP)


@pytest.mark.parametrize("transparency", [None, 2, bytes([0, 128, 255, 7])])
def test_palettes_become_what_they_stand_for(transparency: int | bytes | None) -> None:
    colours = RNG.integers(0, 256, (4, 3), np.uint8)
    indices = RNG.integers(0, 4, (9, 7), np.uint8)
    image = Image.new("P", (7, 9))
    image.putdata(indices.ravel().tolist())
    image.putpalette(colours.tobytes())
    if transparency is not None:
        image.info["transparency"] = transparency
    back = np.asarray(put_together(take_apart(image)))
    assert np.array_equal(back[..., :3], colours[indices])
    if transparency is None:
        assert back.shape[2] == 3
    else:
        opacity = list(transparency) if isinstance(transparency, bytes) else [255, 255, 0, 255]
        assert np.array_equal(back[..., 3], np.array(opacity)[indices])


@pytest.mark.parametrize(("mode", "value"), [("L", 5), ("RGB", (5, 6, 7)), ("1", 255)])
def test_a_transparent_colour_becomes_alpha_and_stays(mode: str, value: object) -> None:
    image = Image.new("RGB", (2, 1), (9, 9, 9))
    image.putpixel((0, 0), (5, 6, 7))
    image = image.convert(mode) if mode != "L" else Image.fromarray(np.array([[5, 9]], np.uint8))
    if mode == "1":
        image.putpixel((0, 0), 255)
    image.info["transparency"] = value
    back = np.asarray(put_together(take_apart(image)))
    assert back[0, 0, -1] == 0
    assert back[0, 1, -1] == 255
    assert back[0, 0, 0] == (255 if mode == "1" else 5)


@pytest.mark.parametrize("size", [1, 300_000])
def test_profiles_are_kept_byte_for_byte(size: int) -> None:
    image = Image.fromarray(RGB)
    image.info["icc_profile"] = RNG.bytes(size)
    assert put_together(take_apart(image)).info["icc_profile"] == image.info["icc_profile"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_stays_a_tag(orientation: int) -> None:
    buffer, tags = io.BytesIO(), Image.Exif()
    tags[0x0112] = orientation
    Image.fromarray(RGB).save(buffer, "PNG", exif=tags)
    with Image.open(buffer) as image:
        back = put_together(take_apart(image))
        assert np.array_equal(np.asarray(back), RGB)
        turned = ImageOps.exif_transpose(image)
    assert np.array_equal(np.asarray(ImageOps.exif_transpose(back)), np.asarray(turned))
    assert ("exif" in back.info) == (orientation > 1)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_senseless_orientations_are_dropped(value: int) -> None:
    image = Image.fromarray(RGB)
    image.getexif()[0x0112] = value
    assert take_apart(image).orientation == 1


@pytest.mark.parametrize(
    ("mode", "advice"),
    [
        ("CMYK", "RGB first"),
        ("YCbCr", "RGB first"),
        ("HSV", "RGB first"),
        ("F", "scale"),
        ("I", "I;16"),
        ("RGBa", "multiplication"),
        ("La", "multiplication"),
    ],
)
def test_what_is_not_kept_is_refused_with_advice(mode: str, advice: str) -> None:
    with pytest.raises(InputError, match=advice) as caught:
        take_apart(Image.new(mode, (3, 2)))
    assert "\n" not in str(caught.value)
    assert mode in str(caught.value)


def test_other_refusals() -> None:
    for bad in (
        np.zeros((4, 4, 2), bool),
        np.zeros((4, 4), np.int32),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((0, 4), np.uint8),
    ):
        with pytest.raises(InputError):
            take_apart(bad)
    with pytest.raises(InputError, match="no pixels"):
        take_apart(Image.new("L", (0, 3)))
    buffer = io.BytesIO()
    frames = [Image.new("L", (4, 4), shade) for shade in (1, 2, 3)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    with Image.open(buffer) as image, pytest.raises(InputError, match="3 frames"):
        take_apart(image)


def test_checksum_sees_samples_and_alpha() -> None:
    plain = take_apart(DEEP)
    assert plain.checksum() == take_apart(DEEP.astype(">u2")).checksum()
    other = DEEP.copy()
    other[8, 6] ^= 256
    assert take_apart(other).checksum() != plain.checksum()
    first = ExactPicture(Kind.GREY, GREY[..., None], ALPHA)
    second = ExactPicture(Kind.GREY, GREY[..., None], ALPHA ^ 1)
    assert (
        first.checksum() != second.checksum() != ExactPicture(Kind.GREY, GREY[..., None]).checksum()
    )
    tall = RNG.integers(0, 256, (700, 2, 1), np.uint8)  # more rows than are taken at once
    assert ExactPicture(Kind.GREY, tall).checksum() == zlib.crc32(tall.tobytes())
