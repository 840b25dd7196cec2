"""Pictures of 16 bits a sample in several channels: what users see of them."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from laconic.deep_image import DeepImage
from laconic.deep_image.turns import turn
from laconic.errors import InputError

RNG = np.random.default_rng(0)
SAMPLES = {k: RNG.integers(0, 65536, (6, 5, k), np.uint16) for k in (2, 3, 4)}
MODES = {2: "LA;16", 3: "RGB;16", 4: "RGBA;16"}


@pytest.mark.parametrize("channels", MODES)
def test_the_attributes_are_those_of_images_and_arrays(channels: int) -> None:
    image = DeepImage(SAMPLES[channels])
    assert (image.mode, image.size, image.shape) == (MODES[channels], (5, 6), (6, 5, channels))
    assert np.array_equal(np.asarray(image), SAMPLES[channels])
    assert np.asarray(image).dtype == image.dtype == np.uint16
    assert np.asarray(image, float).dtype == float
    assert repr(image) == f"<DeepImage 5x6 {MODES[channels]}>"


@pytest.mark.parametrize("channels", MODES)
def test_eight_bits_are_the_nearest(channels: int) -> None:
    image = DeepImage(SAMPLES[channels], {"dpi": (72.0, 72.0)})
    found = image.to_eight_bits()
    assert found.info["dpi"] == (72.0, 72.0)
    assert found.mode == MODES[channels].removesuffix(";16")
    assert np.array_equal(np.asarray(found), np.round(SAMPLES[channels] / 257))


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4, 1), np.uint16), np.zeros((4, 4), np.uint16), np.zeros((4, 4, 3))]
)
def test_other_samples_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(InputError, match="uint16"):
        DeepImage(bad)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_is_that_of_pillow(orientation: int) -> None:
    samples = RNG.integers(0, 255, (6, 5, 3), np.uint16)
    eight = Image.fromarray(samples.astype(np.uint8))
    eight.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(eight))
    assert np.array_equal(turn(samples, orientation), expected)


def test_files_are_written_by_the_ending(tmp_path: Path) -> None:
    image = DeepImage(SAMPLES[3])
    for ending, start in ((".png", b"\x89PNG"), (".tif", b"II*"), (".ppm", b"P6")):
        image.save(tmp_path / f"a{ending}")
        assert (tmp_path / f"a{ending}").read_bytes().startswith(start)
    buffer = io.BytesIO()
    image.save(buffer)
    assert buffer.getvalue() == (tmp_path / "a.png").read_bytes()
    with pytest.raises(InputError, match=r"a\.jpg: .* \.png"):
        image.save(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="transparency"):
        DeepImage(SAMPLES[4]).save(tmp_path / "b.ppm")
