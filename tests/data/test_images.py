"""Reading image files: what Pillow can read is read, all else is an `InputError` with the name."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from laconic.codecs.image import picture
from laconic.data.images import read_image
from laconic.depth import SIXTEEN_BITS
from laconic.errors import InputError


def test_reads_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (5, 3), (1, 2, 3)).save(path)
    assert (np.asarray(read_image(path)) == (1, 2, 3)).all()


@pytest.mark.filterwarnings("ignore:.*EXIF.*:UserWarning", "ignore:Truncated:UserWarning")
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "tiff", "bmp"])
def test_truncated_files_name_themselves(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    for keep in (len(data) // 2, 30, 9, 0):
        path.write_bytes(data[:keep])
        with pytest.raises(InputError, match=f"cut.{suffix}"):
            read_image(path)


def test_missing_folder_and_text(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image at all")
    for name in ("missing.png", "text.png", "."):
        with pytest.raises(InputError):
            read_image(tmp_path / name)


def test_flipped_bits_raise_only_input_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    generator = np.random.default_rng(1)
    Image.fromarray(generator.integers(0, 256, (16, 16, 3), np.uint8)).save(path)
    whole = path.read_bytes()
    failed = 0
    for _ in range(200):
        data = bytearray(whole)
        data[int(generator.integers(len(data)))] ^= 1 << int(generator.integers(8))
        path.write_bytes(data)
        try:
            read_image(path)
        except InputError:
            failed += 1
    assert failed > 100


def test_sixteen_bit_colour_is_marked(tmp_path: Path) -> None:
    path = tmp_path / "deep.tiff"
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(path)
    assert read_image(path).mode.startswith("I;16")
    deep = tmp_path / "deep.png"
    deep.write_bytes(_png_of_48_bits())
    assert read_image(deep).info[SIXTEEN_BITS]
    with pytest.warns(picture.LossyInputWarning, match="16 bits"):
        assert picture.take_apart(read_image(deep)).reduced


def _png_of_48_bits() -> bytes:
    """A 2x2 PNG with 16 bits a sample, written by hand because Pillow does not write them."""
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    rows = b"".join(b"\x00" + struct.pack(">6H", *range(100, 60_100, 10_000)) for _ in range(2))
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)),
         chunk(b"IEND", b"")]
    )  # fmt: skip
