"""A part of a lossless picture: equal to that of the whole, read from the tiles that it needs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from laconic.codecs.base import Crop, Decoding, open_file
from laconic.codecs.lossless import grid
from laconic.codecs.lossless.chains.bits_back import ChainCoder
from laconic.codecs.lossless.codec import Core, LosslessCodec
from laconic.codecs.lossless.core import GroupCoder
from laconic.codecs.lossless.direct import METHODS, Conversion, choice
from laconic.codecs.lossless.direct.conversion.known import KNOWN
from laconic.codecs.lossless.file import PIXELS, LosslessFile, make_coder
from laconic.container import StoredFile
from laconic.container.file import StoredBytes
from laconic.errors import CorruptFileError, InputError, UnsupportedFileError
from laconic.models import make_model
from laconic.progress import silent

CROPS = [(0, 0, 1, 1), (3, 2, 30, 20), (0, 0, 61, 47), (60, 46, 1, 1), (20, 0, 1, 47)]


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "TILE_SIDE", 16)
    monkeypatch.setattr(grid, "DIRECT_TILE_SIDE", 20)
    monkeypatch.setattr(grid, "MAX_TILE_PIXELS", 400)


def picture(mode: str) -> Image.Image:
    row, column, colour = np.mgrid[:47, :61, :4]
    values = ((4 * row + 3 * column + 40 * colour) % 251).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    if mode == "1":
        return Image.fromarray(values[..., 0] > 120)
    return Image.fromarray(values).convert(mode)


def check(coder: GroupCoder | None, file: LosslessFile) -> None:
    (whole,) = (np.asarray(image) for _, image in file.render(coder, silent))
    for x, y, width, height in CROPS:
        done: list[int] = []
        crop = Crop(x, y, width, height)
        found = file.render_crop(coder, crop, lambda *one, seen=done: seen.extend(one))
        assert np.array_equal(np.asarray(found), whole[y : y + height, x : x + width])
        assert done[-2] == done[-1] <= file.bundles[0].grid.count


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1", "I;16"])
@pytest.mark.parametrize("most", [1, 3])
def test_parts_of_tiles_in_chains(
    mode: str, most: int, make_stand_in: Callable[..., GroupCoder]
) -> None:
    coder = make_stand_in(most)
    data = LosslessCodec(Core(coder, "none", b"12345678")).encode(picture(mode))
    check(coder, LosslessFile.read(data))


NARROW = "prediction", "levels", "least squares", "conversion"
"""Methods that do not code every picture of 8 bits."""
SHALLOW = [one for one in METHODS.values() if one.name not in NARROW]


@pytest.mark.parametrize("method", SHALLOW, ids=lambda one: one.name)
def test_parts_of_tiles_without_a_model(method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_ALL", (method,))
    monkeypatch.setattr(choice, "_encode_squares", lambda *given: (method.number, ()))
    image = picture("RGB")
    data = LosslessCodec(lambda: pytest.fail("no model"), effort=3).encode(image)
    file = LosslessFile.read(data)
    whole = next(found for _, found in file.render(None, silent))
    assert file.bundles[0].grid.count == 12
    assert len(file.bundles[0].sizes) == 12
    check(None, file)
    assert np.array_equal(np.asarray(whole), np.asarray(image))


def test_parts_of_a_converted_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_ALL", (Conversion(KNOWN[1]),))
    image = Image.fromarray(KNOWN[1].program.run(np.asarray(picture("RGB")) // 4 + np.uint8(90)))
    data = LosslessCodec(lambda: pytest.fail("no model"), effort=3).encode(image)
    file = LosslessFile.read(data)
    assert file.bundles[0].method == Conversion.number
    assert len(file.bundles[0].sizes) == 12
    check(None, file)
    assert np.array_equal(np.asarray(next(file.render(None, silent))[1]), np.asarray(image))


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("factor", [1, 16])
def test_parts_of_16_bits(channels: int, factor: int) -> None:
    noise = np.random.default_rng(0).integers(0, 2000, (47, 61, channels))
    samples = (np.asarray(picture("RGBA"))[..., :channels] * 200 + noise).astype(np.uint16)
    data = LosslessCodec(lambda: pytest.fail("no model")).encode(samples // factor * factor)
    file = LosslessFile.read(data)
    assert METHODS[file.bundles[0].method].name == ("prediction" if factor == 1 else "levels")
    assert len(file.bundles[0].sizes) == file.bundles[0].grid.count == 12
    check(None, file)


@pytest.mark.parametrize("kind", ["causal", "ladder"])
def test_no_more_of_a_chain_is_decoded_than_needed(kind: str, fixtures: Path) -> None:
    """With latents, which are chained, and without."""
    from tests.codecs.lossless.test_golden import MODELS

    model = make_model(MODELS[kind])
    weights = load_file(fixtures / "lossless" / "1" / f"{kind}.safetensors")
    model.load_state_dict({key: value.float() for key, value in weights.items()})
    coder = make_coder(model.eval())
    assert isinstance(coder, ChainCoder)
    samples = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    group, counted = coder.encode(samples), []
    items = list(coder.decode(group, 6, 8, 8, 3, 8, counted.append, {1}))
    assert np.array_equal(items[1], samples[1])
    assert sum(counted) < 6
    assert not items[-1].any()


def test_only_needed_sections_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged section elsewhere is not noticed by a crop, and is by the whole."""
    monkeypatch.setattr("laconic.codecs.lossless.file.SECTION_BYTES", 100)
    monkeypatch.setattr(choice, "_ALL", (METHODS[1],))
    monkeypatch.setattr(choice, "_encode_squares", lambda *given: (METHODS[1].number, ()))
    image = picture("RGB")
    path = tmp_path / "a.lac"
    data = bytearray(LosslessCodec(lambda: pytest.fail("no model"), effort=3).encode(image))
    data[-1] ^= 1
    path.write_bytes(data)
    file = open_file(StoredFile(path), lazy=True)
    assert isinstance(file, LosslessFile)
    sections = [section for section in file.file.sections if section.name == PIXELS]
    assert len(sections) == 12
    assert all(isinstance(section.source, StoredBytes) for section in sections)
    how = Decoding(crop=Crop(0, 0, 20, 20))
    (found,) = (part for _, part in file.decode(how))
    assert np.array_equal(np.asarray(found), np.asarray(image)[:20, :20])
    with pytest.raises(CorruptFileError, match="checksum"):
        list(file.decode(replace(how, crop=Crop(60, 46, 1, 1))))
    with pytest.raises(CorruptFileError, match="checksum"):
        open_file(StoredFile(path))


def test_impossible_crops() -> None:
    for wrong in ((0, 0, 0, 1), (-1, 0, 1, 1), (0, 0, 1)):
        with pytest.raises(InputError, match="crop"):
            Crop.of(wrong)
    codec = LosslessCodec(lambda: pytest.fail("no model"), effort=0)
    file = LosslessFile.read(codec.encode(picture("L")))
    with pytest.raises(InputError, match="not inside"):
        file.render_crop(None, Crop(61, 0, 1, 1), silent)
    archive = LosslessFile.read(codec.archive([("a.png", lambda: picture("L"))]))
    with pytest.raises(UnsupportedFileError, match="archive"):
        archive.render_crop(None, Crop(0, 0, 1, 1), silent)
