"""TIFF files of 16 bits, beside the files of another library."""

import io
from itertools import product

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from laconic.deep_image import tiff
from laconic.deep_image.rows import DamagedRowsError
from laconic.deep_image.tiff import _save, read_tiff, write_tiff

SAMPLES = np.random.default_rng(0).integers(0, 65536, (37, 53, 4), np.uint16)


def read(file: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(file)) as image:
        return read_tiff(image, file)  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("most", [1, 5000, 1 << 26])
def test_files_of_another_library(
    channels: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiff, "MOST_BYTES", most)
    given = SAMPLES[..., :channels]
    extra = ["unassalpha"] * (channels == 4)
    kinds = product("<>", (None, "deflate"), ("contig", "separate"), (None, (16, 32)))
    for order, compression, planar, tile in kinds:
        file, planes = io.BytesIO(), given if planar == "contig" else given.transpose(2, 0, 1)
        strips = {"tile": tile} if tile else {"rowsperstrip": 7}
        tifffile.imwrite(
            file, planes, photometric="rgb", planarconfig=planar, extrasamples=extra,
            compression=compression, byteorder=order, **strips,
        )  # fmt: skip
        assert np.array_equal(read(file.getvalue()), given)


@pytest.mark.parametrize("predictor", [1, 2])
def test_lzw(predictor: int) -> None:
    """Pillow's writer packs the pairs of bytes of samples, or of their differences."""
    given, packed = SAMPLES[..., :3].copy(), io.BytesIO()
    values = given.copy()
    if predictor == 2:
        values[:, 1:] -= given[:, :-1]
    pairs = values.astype("<u2").view(np.uint8).reshape(37, -1)
    Image.fromarray(pairs).save(packed, "TIFF", compression="tiff_lzw")
    with Image.open(packed) as image:
        tags = image.tag_v2  # type: ignore[attr-defined]
        places = zip(tags[273], tags[279], strict=True)
        strips = [packed.getvalue()[start : start + size] for start, size in places]
        rows = tags[278]
    found = ImageFileDirectory_v2(prefix=b"II")
    found[256], found[257], found[258], found[259] = 53, 37, (16, 16, 16), 5
    found[262], found[277], found[278], found[317] = 2, 3, rows, predictor
    assert np.array_equal(read(_save(found, strips)), given)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_another_library_reads_what_is_written(channels: int) -> None:
    given = SAMPLES[..., :channels]
    file = write_tiff(given, dpi=(72.0, 96.0), icc_profile=b"a profile")
    with tifffile.TiffFile(io.BytesIO(file)) as opened:
        tags = {tag.code: tag.value for tag in opened.pages[0].tags}
    assert (tags[256], tags[257], tags[258]) == (53, 37, (16,) * channels)
    assert bytes(tags[34675]) == b"a profile"
    assert tags[282][0] / tags[282][1] == 72.0
    if channels > 2:  # Two channels Pillow does not open.
        assert np.array_equal(read(file), given)


def test_missing_samples_are_named() -> None:
    file = write_tiff(SAMPLES)
    with pytest.raises((DamagedRowsError, OSError)):
        read(file[:-1000])
