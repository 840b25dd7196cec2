"""A small file must not take much memory or time before it is refused: files made by hand."""

import io
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

import laconic
from laconic.codecs.base import Crop, Decoding, open_file
from laconic.codecs.image import tiles
from laconic.codecs.lossless import header as header_module
from laconic.codecs.lossless.codec import LosslessCodec
from laconic.codecs.lossless.header import Bundle, LosslessHeader, Parts
from laconic.codecs.lossless.names import MAX_NAME_PARTS, find_fault
from laconic.container import FieldReader, FieldWriter, Section, pack
from laconic.errors import CorruptFileError, InputError, LaconicError, UnsupportedFileError

SMALL_BYTES = 32 << 20
"""Of memory that is enough to refuse any of these files."""


def fields(*values: int) -> bytes:
    writer = FieldWriter()
    for value in values:
        writer.integer(value)
    return writer.finish()


def picture_of(height: int, width: int, method: int = 1, data: bytes = b"?") -> bytes:
    """A lossless file of one RGB picture whose method needs no model."""
    bundle = fields(128, height, width, method, len(data)) + bytes(4)
    return pack("lossless", fields(2, 0) + bundle, [Section("pixels", data)])


def archive_of(listed: bytes, pictures: int, pixels: bytes = b"") -> bytes:
    manifest = Section("manifest", zlib.compress(listed, 9))
    model = b"\x00\x01m" + b"12345678"
    front = fields(1) + model + fields(1, 0, 0, pictures)
    return pack("lossless", front, [manifest, Section("pixels", pixels)])


def refusal(work: Callable[[], object]) -> str:
    """The message of an error that takes little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(LaconicError) as caught:
            work()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < SMALL_BYTES
    return str(caught.value)


def test_a_picture_of_more_pixels_than_allowed() -> None:
    data = LosslessCodec(lambda: pytest.fail("no model"), effort=0).encode(
        np.zeros((40, 50), np.uint8)
    )
    assert laconic.decompress(data, max_pixels=2000).size == (50, 40)
    for call in (
        lambda: laconic.decompress(data, max_pixels=1999),
        lambda: laconic.decompress(data, max_pixels=99, crop=(0, 0, 10, 10)),
    ):
        with pytest.raises(UnsupportedFileError, match="raise it by --max-pixels"):
            call()
    assert laconic.decompress(data, max_pixels=100, crop=(0, 0, 10, 10)).size == (10, 10)
    packed = laconic.archive([np.zeros((4, 5), np.uint8)], effort=0)
    with pytest.raises(UnsupportedFileError, match="limit of 19"):
        laconic.unarchive(packed, max_pixels=19)
    for wrong in (0, -1, 1.5, "many"):
        with pytest.raises(InputError, match="max_pixels"):
            laconic.decompress(data, max_pixels=wrong)  # type: ignore[arg-type]


def test_the_sizes_of_the_format_end_at_2_28() -> None:
    assert "impossible" in refusal(lambda: open_file(picture_of(1 << 16, 1 << 16)))
    assert open_file(picture_of(1 << 14, 1 << 14)).describe().height == 1 << 14
    with pytest.raises(CorruptFileError):
        tiles.TilePlan(1 << 16, 1 << 13, 1 << 10, 1 << 10, 32)


@pytest.mark.parametrize("method", [1, 2, 3, 4])
def test_a_large_picture_without_its_bytes(method: int) -> None:
    """No memory is taken for pixels that the data cannot hold."""
    data = picture_of(1 << 14, 1 << 14, method)
    assert refusal(lambda: laconic.decompress(data))


def test_pillow_has_its_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = picture_of(200, 200)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(data))


def test_an_archive_of_more_parts_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each chain takes three bytes of a list that deflates well, and sixty times that in memory."""
    monkeypatch.setattr(header_module, "MAX_PARTS", 1000)
    chains = fields(1 << 20, 0, 1, 1, 0, 1 << 20) + fields(1, 0, 0) * (1 << 20)
    assert "more than 1000 parts" in refusal(lambda: open_file(archive_of(chains, 1 << 20)))
    direct = fields(1 << 20, 128, 1, 1, 1) + bytes(1 << 20)
    assert "more than 1000 parts" in refusal(lambda: open_file(archive_of(direct, 1 << 20)))


def test_a_group_of_more_samples_than_allowed() -> None:
    """One chain of four million pictures of 4096 x 4096."""
    one = fields(1 << 22, 0, 4096, 1024, 0, 1, 1 << 22, 0, 5, 1) + bytes(4)
    assert "samples" in refusal(lambda: open_file(archive_of(one, 1 << 22, b"12345")))


def test_a_list_that_inflates_too_far(monkeypatch: pytest.MonkeyPatch) -> None:
    from laconic.codecs.lossless import file

    monkeypatch.setattr(file, "MAX_MANIFEST_BYTES", 1 << 20)
    data = archive_of(bytes(1 << 24), 1)
    assert refusal(lambda: open_file(data))


def test_names_have_few_folders() -> None:
    deepest = "/".join("a" * MAX_NAME_PARTS)
    assert not find_fault(deepest)
    assert "parts" in find_fault(f"a/{deepest}")
    with pytest.raises(InputError, match="parts"):
        laconic.archive({f"a/{deepest}.png": np.zeros((4, 5), np.uint8)}, effort=0)


def test_what_is_written_is_below_the_limits() -> None:
    data = LosslessCodec(lambda: pytest.fail("no model"), effort=0).encode(
        np.zeros((40, 50), np.uint8)
    )
    file = open_file(data)
    assert file.picture_sizes() == {(50, 40)}
    file.decode(Decoding(crop=Crop(0, 0, 50, 40), max_pixels=2000))
    assert Bundle.read(FieldReader(fields(129, 1, 1, 1, 1) + bytes(4)), False, 1, Parts()).size == 1
    assert LosslessHeader.read(fields(2, 0, 129, 1, 1, 1, 1) + bytes(4)).model is None
