"""Files for lossless coding: samples as they are in the file, or a line that says why not."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from laconic.data.exact_images import LeftOutWarning, list_sources, read_exact
from laconic.deep_image import DeepImage
from laconic.errors import InputError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 5, 3), np.uint8)
DEEP = RNG.integers(0, 65536, (6, 5), np.uint16)


def png(depth: int, colour: int, row: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of two pixels, written by hand because Pillow does not write all kinds."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", 2, 1, depth, colour, 0, 0, 0)),
        *chunks,
        (b"IDAT", zlib.compress(b"\0" + row)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def tiff(bits: tuple[int, ...], data: bytes, **tags: int) -> bytes:
    """A TIFF of 2 x 1 pixels; more tags are given as t262=1."""
    pointer = 8 + len(data) + len(data) % 2
    entries = {256: (3, 2), 257: (3, 1), 259: (3, 1), 262: (3, 1), 273: (4, 8), 278: (3, 1)}
    entries |= {277: (3, len(bits)), 279: (4, len(data))}
    entries |= {int(name[1:]): (3, value) for name, value in tags.items()}
    count, tail = len(entries) + 1, b""
    end = pointer + 2 + 12 * count + 4
    rows = {k: struct.pack("<HHII", k, kind, 1, value) for k, (kind, value) in entries.items()}
    if len(bits) > 2:
        rows[258] = struct.pack("<HHII", 258, 3, len(bits), end)
        tail = struct.pack(f"<{len(bits)}H", *bits)
    else:
        rows[258] = struct.pack("<HHI", 258, 3, len(bits)) + struct.pack(
            "<2H", *bits, *(0,) * (2 - len(bits))
        )
    directory = struct.pack("<H", count) + b"".join(rows[k] for k in sorted(rows)) + bytes(4)
    return b"II*\0" + struct.pack("<I", pointer) + data + bytes(len(data) % 2) + directory + tail


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def read(path: Path, data: bytes) -> np.ndarray:
    path.write_bytes(data)
    return np.asarray(read_exact(path))


@pytest.mark.parametrize("form", ["PNG", "PPM", "TIFF", "BMP", "WEBP"])
def test_colour_of_8_bits(tmp_path: Path, form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    assert np.array_equal(read(tmp_path / "a", saved(Image.fromarray(RGB), form, **options)), RGB)


GREYS: dict[str, Callable[[], bytes]] = {
    "PNG": lambda: saved(Image.fromarray(DEEP), "PNG"),
    "TIFF": lambda: saved(Image.fromarray(DEEP), "TIFF"),
    "TIFF, LZW": lambda: saved(Image.fromarray(DEEP), "TIFF", compression="tiff_lzw"),
    "PGM": lambda: b"P5 5 6 65535\n" + DEEP.astype(">u2").tobytes(),
    "plain PGM": lambda: f"P2 5 6 65535\n{' '.join(map(str, DEEP.ravel()))}\n".encode(),
}


@pytest.mark.parametrize("name", GREYS)
def test_grey_of_16_bits(tmp_path: Path, name: str) -> None:
    found = read(tmp_path / "a", GREYS[name]())
    assert found.dtype == np.uint16
    assert np.array_equal(found, DEEP)


TWO = np.array([[[1, 256, 65535], [30_000, 4, 5]]], np.uint16)
FOUR = np.dstack([TWO, [[40_000, 7]]]).astype(np.uint16)


def big(samples: np.ndarray) -> bytes:
    return samples.astype(">u2").tobytes()


DEEP_COLOUR: dict[str, tuple[Callable[[], bytes], np.ndarray]] = {
    "PNG": (lambda: png(16, 2, big(TWO)), TWO),
    "PNG, alpha": (lambda: png(16, 6, big(FOUR)), FOUR),
    "PNG, grey and alpha": (lambda: png(16, 4, big(FOUR[..., :2])), FOUR[..., :2]),
    "PNG, a transparent colour": (
        lambda: png(16, 2, big(TWO), (b"tRNS", big(TWO[0, 1]))),
        np.dstack([TWO, [[65535, 0]]]),
    ),
    "PPM": (lambda: b"P6 2 1 65535\n" + big(TWO), TWO),
    "PPM, 12 bits": (
        lambda: b"P6 1 1 4095\n\0\1\7\xff\x0f\xff",
        np.array([[[16, 32759, 65535]]]),
    ),
    "plain PPM": (lambda: b"P3 1 1 65535\n1 2 300\n", np.array([[[1, 2, 300]]])),
    "TIFF": (lambda: tiff((16, 16, 16), TWO.astype("<u2").tobytes(), t262=2), TWO),
    "TIFF, alpha": (
        lambda: tiff((16, 16, 16, 16), FOUR.astype("<u2").tobytes(), t262=2, t338=2),
        FOUR,
    ),
}


@pytest.mark.parametrize("name", DEEP_COLOUR)
def test_colour_of_16_bits(tmp_path: Path, name: str) -> None:
    make, expected = DEEP_COLOUR[name]
    (tmp_path / "a").write_bytes(make())
    found = read_exact(tmp_path / "a")
    assert isinstance(found, DeepImage)
    assert np.array_equal(np.asarray(found), expected)
    with Image.open(tmp_path / "a") as opened:  # Opened by Pillow, and not loaded.
        assert np.array_equal(np.asarray(read_exact(opened)), expected)


def test_grey_of_12_bits_is_stretched(tmp_path: Path) -> None:
    assert read(tmp_path / "a", b"P5 3 1 4095\n\0\0\1\0\x0f\xff").tolist() == [[0, 4097, 65535]]


def test_metadata_of_16_bits_come_back(tmp_path: Path) -> None:
    """Through a PNG and a TIFF file: profile, EXIF and XMP data, orientation, dots per inch."""
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = 6, "Laconic"
    info = {"icc_profile": b"profile", "xmp": b"<xmp/>", "dpi": (72.0, 144.0)}
    info |= {"exif": tags.tobytes()}
    image = DeepImage(RNG.integers(0, 65536, (6, 5, 4), np.uint16), dict(info))
    for ending in (".png", ".tif"):
        image.save(tmp_path / f"a{ending}")
        found = read_exact(tmp_path / f"a{ending}")
        assert isinstance(found, DeepImage)
        assert {key: found.info[key] for key in ("icc_profile", "xmp")} == {
            key: info[key] for key in ("icc_profile", "xmp")
        }
        assert np.allclose(found.info["dpi"], info["dpi"], atol=0.01)
        kept = Image.Exif()
        kept.load(found.info["exif"])
        assert kept[0x010F] == "Laconic"
        upright = np.rot90(image.samples, -1)  # Pillow's reader of TIFF files turns pictures.
        assert np.array_equal(found.samples, image.samples if ending == ".png" else upright)
        assert kept.get(0x0112, 1) == (6 if ending == ".png" else 1)


def test_fewer_bits(tmp_path: Path) -> None:
    assert read(tmp_path / "a", b"P4 9 1\n\xaa\x80").tolist() == [
        [k % 2 == 1 for k in range(8)] + [False]
    ]
    assert read(tmp_path / "a", png(4, 0, b"\x1b")).tolist() == [[17, 187]]
    assert read(tmp_path / "a", png(1, 0, b"\x80")).tolist() == [[True, False]]
    white_is_zero = tiff((16,), struct.pack("<2H", 0, 65000), t262=0)
    assert read(tmp_path / "a", white_is_zero).tolist() == [[65535, 535]]
    assert read(tmp_path / "a", tiff((8, 8), bytes([1, 2, 3, 4]), t338=2)).tolist() == [
        [[1, 2], [3, 4]]
    ]


FRAMES = [Image.new("L", (9, 2), shade) for shade in (0, 90, 180)]
MORE = {"save_all": True, "append_images": FRAMES[1:]}
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "PNG, 48 bits, cut": (lambda: png(16, 2, bytes(12))[:60], "cut short"),
    "PNG, 48 bits, damaged": (lambda: png(16, 2, bytes(12))[:-20] + bytes(20), "damaged"),
    "PNG, 48 bits, few bytes": (lambda: png(16, 2, bytes(11)), "12 bytes of 13"),
    "PPM, 48 bits, cut": (lambda: b"P6 1 1 65535\n" + bytes(5), "2 samples of 3"),
    "PGM, odd range": (lambda: b"P5 1 1 200\n\1", "from 0 to 200"),
    "TIFF, 48 bits, unknown channel": (
        lambda: tiff((16, 16, 16, 16), bytes(16), t262=2, t338=0),
        "neither grey nor RGB|neither colour nor|known format",
    ),
    "TIFF, 12 bits": (lambda: tiff((12,), b"\x12\x34\x56"), "12 bits"),
    "TIFF, 32 bits": (lambda: tiff((32,), bytes(8)), "32 bits"),
    "TIFF, signed": (lambda: tiff((16,), bytes(4), t339=2), "signed"),
    "TIFF, floats": (lambda: tiff((32,), bytes(8), t339=3), "floating"),
    "TIFF, unknown channel": (
        lambda: tiff((8, 8), bytes(4), t338=0),
        "neither colour nor|known format",  # Pillow 11 does not open it.
    ),
    "TIFF, premultiplied": (
        lambda: tiff((8, 8, 8, 8), bytes(8), t262=2, t338=1),
        "multiplication",
    ),
    "TIFF, pages": (lambda: saved(FRAMES[0], "TIFF", **MORE), "3 frames"),
    "GIF, frames": (lambda: saved(FRAMES[0], "GIF", **MORE), "3 frames"),
    "PNG, frames": (lambda: saved(FRAMES[0], "PNG", **MORE), "3 frames"),
    "WebP, frames": (lambda: saved(FRAMES[0].convert("RGB"), "WEBP", **MORE), "3 frames"),
    "another format": (lambda: saved(FRAMES[0], "TGA"), "TGA"),
    "empty": (lambda: b"", "0 bytes"),
    "text": (lambda: b"no image", "known format"),
    "cut": (lambda: saved(Image.fromarray(RGB), "PNG")[:60], "a"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_pillow_would_change_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "picture"
    make, words = REFUSED[name]
    path.write_bytes(make())
    with pytest.raises(InputError, match=words) as caught:
        read_exact(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_folder_gives_its_pictures_sorted_and_names_the_rest(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "b/10.png", "a.tif", ".hidden.png", ".git/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(RGB).save(tmp_path / name)
    for k in range(7):
        (tmp_path / f"notes{k}.txt").write_text("x")
    with pytest.warns(LeftOutWarning, match=r"\.git, \.hidden\.png, notes0.*and 4 more$"):
        sources = list_sources(tmp_path)
    assert [name for name, _ in sources] == ["a.tif", "b/10.png", "b/2.PNG"]
    assert all(np.array_equal(np.asarray(load()), RGB) for _, load in sources)


def test_folders_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pictures"):
        list_sources(tmp_path)
    for path in (tmp_path / "missing", tmp_path / "file"):
        (tmp_path / "file").write_text("x")
        with pytest.raises(InputError, match="not a folder"):
            list_sources(path)


def test_links_in_a_circle_are_not_followed(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    with pytest.warns(LeftOutWarning, match="loop"):
        assert [name for name, _ in list_sources(tmp_path)] == ["a.png"]


def test_other_inputs(tmp_path: Path) -> None:
    path = tmp_path / "file.png"
    Image.fromarray(RGB).save(path)
    sources = list_sources([path, RGB, Image.fromarray(DEEP), str(path)])
    assert [name for name, _ in sources] == ["file.png", "00001.png", "00002.png", "file.png"]
    named = list_sources({"x/y.png": path, "z": DEEP})
    assert [name for name, _ in named] == ["x/y.png", "z"]
    for _, load in [*sources[:2], named[0]]:
        assert np.array_equal(np.asarray(load()), RGB)
