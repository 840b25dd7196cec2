"""Every file that the main package keeps for its own tests, decoded by this one."""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixture_models import FIXTURES, find_image_model, load_model
from laconic_decoder import lossless, maps, network
from laconic_decoder.cli import main
from laconic_decoder.coders import CODERS, decode_message
from laconic_decoder.coding import Range, Shared
from laconic_decoder.container import LacError, open_lac
from laconic_decoder.deep import chunks, decode_deep_png
from laconic_decoder.draws import Coder
from laconic_decoder.image import decode_image
from PIL import Image

ELSEWHERE = {"beam", "dithered", "dithered-lattice", "rotated-dither", "hybrid"}


IMAGES = sorted((FIXTURES / "image").glob("*/*.lac"))


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.stem)
def test_lossy_pictures(path: Path) -> None:
    image = decode_image(open_lac(path.read_bytes()), find_image_model)
    with Image.open(path.with_suffix(".png")) as expected:
        assert image.mode == expected.mode
        difference = np.abs(np.asarray(image).astype(int) - np.asarray(expected).astype(int))
    assert difference.max() <= 1


RELEASED = [
    path
    for path in sorted((FIXTURES / "pictures").glob("*/*.lac"))
    if not path.stem.startswith("embedded")  # Their weights come with the wheel, not with a test.
]


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: path.stem)
def test_pictures_of_every_kind(path: Path) -> None:
    lac = open_lac(path.read_bytes())
    if lac.codec == "image":
        image = decode_image(lac, find_image_model)
        with Image.open(path.with_suffix(".png")) as expected:
            assert image.mode == expected.mode
            difference = np.abs(np.asarray(image).astype(int) - np.asarray(expected).astype(int))
        assert difference.max() <= 1
    else:
        (one,) = lossless.decode_lossless(lac, load_model)  # Its checksum is that of the samples.
        image = one.image
        assert image.size == (41, 30)
    if "metadata" in path.stem:
        assert image.info["icc_profile"] == b"not a real profile, but small" * 4
        assert image.info["xmp"] == b"<xmp/>"
        upright = lac.codec == "image"  # Lossy pictures are turned, dots per inch with them.
        assert image.info["dpi"] == ((144.0, 72.0) if upright else (72.0, 144.0))
        assert b"Laconic" in image.info["exif"]


NETWORKS = sorted((FIXTURES / "network").glob("*/*.lac"))


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_networks(path: Path) -> None:
    found = parse_safetensors(network.decode_network(open_lac(path.read_bytes())).safetensors())
    expected = parse_safetensors(path.with_suffix(".safetensors").read_bytes())
    assert found == expected


MAPS = sorted((FIXTURES / "map").glob("*/*.lac"))


@pytest.mark.parametrize("path", MAPS, ids=lambda path: path.stem)
def test_maps(path: Path) -> None:
    """Of the numbers the last bit may differ: the transforms are those of numpy's version."""
    found = maps.decode_map(open_lac(path.read_bytes())).mrc()
    expected = path.with_suffix(".mrc").read_bytes()
    assert found[:76] == expected[:76]
    assert found[88:216] == expected[88:216]
    assert len(found) == len(expected)
    ours, theirs = (np.frombuffer(one, "<f4", offset=1024) for one in (found, expected))
    assert np.abs(ours - theirs).max() <= 2 * np.finfo(np.float32).eps * np.abs(theirs).max()


def parse_safetensors(file: bytes) -> dict[str, Any]:
    size = int.from_bytes(file[:8], "little")
    header, data = json.loads(file[8 : 8 + size]), file[8 + size :]
    header.pop("__metadata__", None)
    return {
        name: (about["dtype"], about["shape"], data[slice(*about["data_offsets"])])
        for name, about in header.items()
    }


CODER_FILES = sorted((FIXTURES / "coders").glob("*.json"))


@pytest.mark.parametrize("path", CODER_FILES, ids=lambda path: path.stem)
def test_messages_of_coders(path: Path) -> None:
    record = json.loads(path.read_text())
    coder, stream = Coder(path.stem, record["config"]), Range(bytes.fromhex(record["message"]))
    if path.stem in ELSEWHERE:
        assert path.stem not in CODERS
        with pytest.raises(LacError, match="only the package laconic-codec"):
            decode_message(coder, stream, Shared(1), (1, 4, 16, 16), None)
        return
    u = decode_message(coder, stream, Shared(1), (1, 4, 16, 16), None)
    data = (u + np.float32(0)).astype("<f4").tobytes()
    assert hashlib.sha256(data).hexdigest() == record["draw"]


def picture(number: int, height: int = 19, width: int = 23, colours: int = 3) -> Any:
    row, column, colour = np.mgrid[:height, :width, :colours]
    values = (3 * row + 5 * column + 11 * colour + 31 * number) % 97 + row * column * number % 7
    return (values + 60).astype(np.uint8)


def deep(number: int) -> Any:
    return (picture(number, colours=1)[..., 0].astype(np.uint16) * 257 + number) % 65521


def bilevel(number: int) -> Any:
    return (picture(number, 16, 16, 1)[..., 0] % 2 * 255).astype(np.uint8)


MADE: dict[str, tuple[Callable[[int], Any], int]] = {
    "archive": (picture, 12),
    "colour": (picture, 1),
    "combination": (picture, 3),
    "deep-grey": (deep, 1),
    "digits": (bilevel, 9),
    "single": (picture, 1),
}


@pytest.mark.parametrize(
    "path", sorted((FIXTURES / "lossless" / "1").glob("*.lac")), ids=lambda path: path.stem
)
def test_lossless_pictures(path: Path) -> None:
    make, count = MADE[path.stem]
    found = list(lossless.decode_lossless(open_lac(path.read_bytes()), load_model))
    assert len(found) == count
    for number, one in enumerate(found):
        assert one.name == ("" if count == 1 else f"{number:03d}.png")
        assert np.array_equal(np.asarray(one.image), make(number))


def drawing(kind: str) -> Any:
    row, column = np.mgrid[:40, :50]
    shapes = (row // 7 + column // 9) % 3 + 2 * ((row - 20) ** 2 + (column - 25) ** 2 < 150)
    steps = 1 if kind == "bilevel" else 9
    grey = shapes * 20 * (steps > 1) + (shapes + row * column // 90) % (2 if steps == 1 else 5)
    if kind == "bilevel":
        return (grey % 2 == 1)[..., None]
    if kind == "deep":
        return (grey * 600 + row).astype(np.uint16)[..., None]
    colours = np.stack([grey, 3 * grey + column, grey * row % 256, 255 - grey], 2)
    if kind.startswith("deep"):
        channels = {"deep-grey-and-alpha": 2, "deep-RGB": 3}.get(kind, 4)
        return (colours * 240 + row[..., None]).astype(np.uint16)[..., :channels]
    channels = {"grey": 1, "grey-and-alpha": 2, "RGB": 3}.get(kind, 4)
    return colours.astype(np.uint8)[..., :channels]


KINDS = {"RGB": (0, False), "RGBA": (0, True), "grey": (1, False), "grey-and-alpha": (1, True)}
KINDS |= {"bilevel": (2, False), "deep": (3, False), "deep-grey-and-alpha": (3, True)}
KINDS |= {"deep-RGB": (5, False), "deep-RGBA": (5, True)}


@pytest.mark.parametrize(
    "path", sorted((FIXTURES / "lossless" / "direct").glob("*.bin")), ids=lambda path: path.stem
)
def test_methods_without_a_model(path: Path) -> None:
    number, kind = path.stem.split("-", 1)
    expected, data = drawing(kind), path.read_bytes()
    about = (1, *KINDS[kind], *expected.shape[:2], [1, 1], 1, -1, int(number), [len(data)])
    bundle = lossless.Bundle(*about, [], 1, [])
    found = lossless.decode_direct(bundle, data)
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)


def from_jpeg(v: Any, y: Any, u: Any) -> list[Any]:
    """As docs/format.md calls them: chroma of red, luma, chroma of blue; libjpeg's integers."""
    red, blue = (91881 * (v - 128) + 32768) >> 16, (116130 * (u - 128) + 32768) >> 16
    return [y + red, y + (-22554 * (u - 128) - 46802 * (v - 128) + 32768 >> 16), y + blue]


def from_webp(v: Any, y: Any, u: Any) -> list[Any]:
    luma, green = 19077 * y >> 8, (6419 * u >> 8) + (13320 * v >> 8)
    red, blue = luma + (26149 * v >> 8) - 14234, luma + (33050 * u >> 8) - 17685
    return [red >> 6, luma - green + 8708 >> 6, blue >> 6]


def from_photo_cd(v: Any, y: Any, u: Any) -> list[Any]:
    """Kodak's constants in units of 2^-20."""
    luma, red, blue = 1424386 * y, 1909981 * (v - 137), 2325637 * (u - 156)
    green = luma - 203424 * (blue >> 20) - 533725 * (red >> 20) - 50
    return [luma + red >> 20, green >> 20, luma + blue >> 20]


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("law", [from_jpeg, from_webp, from_photo_cd])
def test_conversions(law: Callable[[Any, Any, Any], list[Any]], channels: int) -> None:
    row, column = np.mgrid[:40, :50]
    planes = 100 + row + (column * 7 & 15), 3 * row + column * 2 + (row * column & 7)
    colours = law(*planes, 160 - column + (row * 5 & 15))
    expected = np.stack([*(np.clip(one, 0, 255) for one in colours), row * 6], 2).astype(np.uint8)
    expected[7:11, 9:19, 1] ^= 85
    name = law.__name__.removeprefix("from_").replace("_", "-")
    data = (FIXTURES / "lossless" / "conversion" / f"{name}-{channels}.bin").read_bytes()
    about = (1, 0, channels == 4, 40, 50, [1, 1], 1, -1, 8, [len(data)])
    found = lossless.decode_direct(lossless.Bundle(*about, [], 1, []), data)
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected[..., :channels])
    for damaged in (data[:70], data[:1], b"\2" + data[1:], b"\3\0\0" + b"\xff" * 9 + b"\1"):
        with pytest.raises(LacError):
            lossless.decode_direct(lossless.Bundle(*about, [], 1, []), damaged)


def test_pillow_reads_what_is_written(tmp_path: Path) -> None:
    path = FIXTURES / "image" / "1" / "rgba.lac"
    image = decode_image(open_lac(path.read_bytes()), find_image_model)
    file = io.BytesIO()
    image.save(file, "PNG")
    with Image.open(file) as again:
        assert np.array_equal(np.asarray(again), np.asarray(image))


def test_16_bits_become_a_png_file(tmp_path: Path) -> None:
    for path in sorted((FIXTURES / "pictures" / "0.1").glob("lossless-deep-*.lac")):
        target = tmp_path / f"{path.stem}.png"
        assert main([str(path), "-o", str(target)]) == 0
        (one,) = lossless.decode_lossless(open_lac(path.read_bytes()), load_model)
        assert np.asarray(one.image).dtype == np.uint16
        parts = dict(chunks(target.read_bytes()))
        assert parts[b"IHDR"][8] == 16
        shape = one.image.size[1], one.image.size[0], len(one.image.mode) - 3
        assert np.array_equal(decode_deep_png(parts[b"IDAT"], *shape), np.asarray(one.image))
        assert main([str(path), "-o", str(target.with_suffix(".jpg"))]) == 1


def test_examples_of_the_specification() -> None:
    file = (FIXTURES / "example" / "picture.lac").read_bytes()
    (one,) = lossless.decode_lossless(open_lac(file), load_model)
    assert np.asarray(one.image).tolist() == [[0, 80, 160], [240, 255, 7]]
    tensors = network.decode_network(open_lac((FIXTURES / "example" / "network.lac").read_bytes()))
    assert tensors.arrays()["w"].tolist() == [1.0, -2.5, 0.0]
    assert tensors.notes == {"from": "docs"}
