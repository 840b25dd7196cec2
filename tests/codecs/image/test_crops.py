"""A part of a lossy picture: equal to that of the whole, decoded from the tiles that it needs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from laconic.codecs.base import Crop, Decoding, LoadedModel, open_file
from laconic.codecs.image import codec as codec_module
from laconic.codecs.image.codec import ImageCodec
from laconic.codecs.image.file import ImageFile
from laconic.codecs.image.tiles import TilePlan
from laconic.container import StoredFile
from laconic.errors import CorruptFileError, InputError
from laconic.models.pyramid import Pyramid

MODEL = LoadedModel(Pyramid(), "pyramid", b"pyramid,")


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Twelve tiles of 32 x 32 pixels that share 8, with alpha, in two layers."""
    monkeypatch.setattr(codec_module, "plan_tiles", lambda h, w, stride: TilePlan(h, w, 32, 32, 8))
    pixels = np.random.default_rng(0).integers(0, 256, (77, 90, 4), np.uint8)
    image = Image.fromarray(pixels)
    return ImageCodec(*vars(MODEL).values(), coder="importance").encode(image, 70)


@pytest.mark.parametrize("crop", [(0, 0, 1, 1), (20, 25, 9, 30), (0, 0, 90, 77), (89, 76, 1, 1)])
def test_parts_are_those_of_the_whole(data: bytes, crop: tuple[int, int, int, int]) -> None:
    file, (x, y, width, height) = ImageFile.read(data), crop
    ((_, whole),) = file.decode(Decoding(lambda written: MODEL))
    done: list[tuple[int, int]] = []
    how = Decoding(lambda written: MODEL, crop=Crop(*crop), progress=lambda *p: done.append(p))
    ((_, part),) = file.decode(how)
    assert part.mode == whole.mode == "RGBA"
    assert np.array_equal(np.asarray(part), np.asarray(whole)[y : y + height, x : x + width])
    assert len(done) == done[-1][1] == {90: 12, 9: 6, 1: 1}[width]
    with pytest.raises(InputError, match="not inside"):
        file.decode(Decoding(lambda written: MODEL, crop=Crop(89, 0, 2, 1)))


def test_only_needed_tiles_are_read(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.lac"
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))  # The last tile's last layer.
    file = open_file(StoredFile(path), lazy=True)
    ((_, part),) = file.decode(Decoding(lambda written: MODEL, crop=Crop(0, 0, 20, 20)))
    ((_, whole),) = ImageFile.read(data).decode(Decoding(lambda written: MODEL))
    assert part.tobytes() == whole.crop((0, 0, 20, 20)).tobytes()
    with pytest.raises(CorruptFileError, match="checksum"):
        file.decode(Decoding(lambda written: MODEL))
