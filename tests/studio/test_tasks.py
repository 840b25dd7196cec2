"""What workers do, in this process."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import laconic
from laconic.codecs.image.file import ImageFile
from laconic.errors import LaconicError
from laconic.progress import silent
from laconic.studio import tasks
from laconic.studio.frames import Message
from laconic.studio.tasks import TASKS, Setup


@pytest.fixture(scope="module")
def setup(model_path: Path) -> Setup:
    return Setup(str(model_path), 1, 250_000)


@pytest.fixture(scope="module")
def encoded(setup: Setup, png: Callable[..., bytes]) -> Message:
    request = {"quality": 40.0, "effort": 0, "lossless": False, "tune": "psnr"}
    return TASKS["encode"](setup, request, (png(0, 176),), silent)


def image(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_describe(setup: Setup) -> None:
    facts = TASKS["describe"](setup, {}, (), silent).head
    assert facts["tunes"] == ["psnr", "balanced", "ms-ssim"]
    assert facts["levels"] == 4
    assert "jpeg" in facts["anchors"]


def test_read_gives_the_upright_picture(setup: Setup) -> None:
    buffer, turned = io.BytesIO(), Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (20, 10), "red").save(buffer, "JPEG", exif=turned)
    answer = TASKS["read"](setup, {}, (buffer.getvalue(),), silent)
    assert (answer.head["width"], answer.head["height"]) == (10, 20)
    assert image(answer.blobs[0]).size == (10, 20)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_read_takes_every_mode(setup: Setup, mode: str) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (9, 7)).save(buffer, "TIFF")
    answer = TASKS["read"](setup, {}, (buffer.getvalue(),), silent)
    assert image(answer.blobs[0]).size == (9, 7)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "empty"),
        (b"rubbish", "not an image"),
        (b"\x89LAC rubbish", "damaged|truncated|version"),
    ],
)
def test_rubbish_is_refused(setup: Setup, data: bytes, named: str) -> None:
    with pytest.raises(LaconicError, match=named):
        TASKS["read"](setup, {}, (data,), silent)


def test_too_many_pixels_are_refused_before_they_are_read(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    Image.new("L", (1000, 1000)).save(buffer, "PNG")
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("the pixels were read"))
    with pytest.raises(LaconicError, match=r"1,000,000 pixels.*250,000"):
        TASKS["read"](setup, {}, (buffer.getvalue(),), silent)


def test_encode(encoded: Message, png: Callable[..., bytes], model_path: Path) -> None:
    facts, (file, shown) = encoded.head, encoded.blobs
    assert facts["bytes"] == len(file)
    assert facts["bpp"] == pytest.approx(8 * len(file) / 176**2)
    back = laconic.decompress(file, model=model_path)
    assert back.tobytes() == image(shown).tobytes()
    error = np.asarray(back, float) - np.asarray(image(png(0, 176)), float)
    assert facts["psnr"] == pytest.approx(10 * np.log10(255**2 / (error**2).mean()))
    assert 0 < facts["ms_ssim"] < 1
    assert [level["bytes"] for level in facts["levels"]][-1] == len(file)
    assert ImageFile.read(file).describe().tune == "psnr"


def test_lossless(setup: Setup, png: Callable[..., bytes]) -> None:
    answer = TASKS["encode"](setup, {"lossless": True, "effort": 0}, (png(0, 176),), silent)
    assert answer.head["exact"]
    assert answer.head["levels"] == []
    assert image(answer.blobs[1]).tobytes() == image(png(0, 176)).tobytes()
    bits = TASKS["bits"](setup, {"level": None}, (answer.blobs[0],), silent)
    assert sum(bits.head["bits"]) < 8 * len(answer.blobs[0])
    assert image(bits.blobs[0]).size == (176, 176)


def test_a_file_is_opened(setup: Setup, encoded: Message) -> None:
    answer = TASKS["read"](setup, {}, (encoded.blobs[0],), silent)
    assert answer.head["kind"] == "lac"
    assert answer.head["bytes"] == len(encoded.blobs[0])
    assert answer.blobs[0] == encoded.blobs[1]


def test_levels(setup: Setup, encoded: Message, png: Callable[..., bytes]) -> None:
    original, errors = np.asarray(image(png(0, 176)), float), []
    for level in range(1, 5):
        answer = TASKS["level"](setup, {"level": level}, encoded.blobs[:1], silent)
        assert answer.head["bytes"] == encoded.head["levels"][level - 1]["bytes"]
        errors.append(float(((np.asarray(image(answer.blobs[0])) - original) ** 2).mean()))
    assert sorted(errors, reverse=True) == errors
    with pytest.raises(LaconicError, match="1 to 4"):
        TASKS["level"](setup, {"level": 5}, encoded.blobs[:1], silent)


def test_bits(setup: Setup, encoded: Message) -> None:
    every = TASKS["bits"](setup, {"level": None}, encoded.blobs[:1], silent)
    ideal = ImageFile.read(encoded.blobs[0]).describe().ideal_bits
    assert sum(every.head["bits"]) == pytest.approx(ideal, rel=0.01)
    assert image(every.blobs[0]).size == (176, 176)
    one = TASKS["bits"](setup, {"level": 2}, encoded.blobs[:1], silent)
    assert 0 < one.head["peak"] < every.head["peak"]
    with pytest.raises(LaconicError, match="1 to 4"):
        TASKS["bits"](setup, {"level": 9}, encoded.blobs[:1], silent)


def test_compare(setup: Setup, png: Callable[..., bytes]) -> None:
    calls: list[tuple[int, int]] = []
    answer = TASKS["compare"](
        setup, {"name": "jpeg", "bytes": 2000}, (png(0, 176),), lambda *call: calls.append(call)
    )
    assert answer.head["bytes"] == pytest.approx(2000, rel=0.1)
    assert answer.head["psnr"] > 20
    assert len(calls) > 5
    assert image(answer.blobs[0]).size == (176, 176)


def test_every_step_can_be_cancelled(setup: Setup, png: Callable[..., bytes]) -> None:
    """`tick` is called before, within and after the expensive parts."""

    class StopError(Exception):
        pass

    def run(stop_at: int) -> int:
        count = 0

        def tick(done: int, total: int) -> None:
            nonlocal count
            count += 1
            if count == stop_at:
                raise StopError

        request = {"quality": 40.0, "effort": 1, "lossless": False}
        try:
            TASKS["encode"](setup, request, (png(),), tick)
        except StopError:
            return -1
        return count

    total = run(0)
    assert total >= 5
    assert run(1) == run(total // 2) == run(total) == -1


def test_numbers_that_do_not_exist_are_null(
    png: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = np.zeros((8, 8, 3), np.uint8)
    assert tasks._similarity(small, small) == {"psnr": None, "ms_ssim": None, "exact": True}
    assert tasks._similarity(small, small + 1)["ms_ssim"] is None
