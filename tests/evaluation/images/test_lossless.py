"""Measuring lossless codecs: sizes that add up, and a check that can fail."""

import dataclasses

import numpy as np
import pytest
import torch

from laconic.codecs.lossless.chains.bits_back import ChainCoder
from laconic.codecs.lossless.codec import Core, LosslessCodec
from laconic.errors import CodingError
from laconic.evaluation.images.lossless import (
    check_equal,
    classical_sizes,
    contact_sheet,
    measure_set,
)
from laconic.models.pixel_ladder.ladder import PixelLadder
from laconic.models.pixel_ladder.networks import PixelLadderConfig

CONFIG = PixelLadderConfig(strides=(), latents=(), widths=(), context_width=8)


def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    coloured = list(rng.integers(100, 130, (6, 8, 9, 3)).astype(np.uint8))
    coloured[1][...] = coloured[1][..., :1]  # Grey pictures come last in an archive.
    return coloured


def test_a_set_is_measured_once_as_an_archive_and_some_pictures_alone() -> None:
    torch.manual_seed(0)
    coder = ChainCoder(PixelLadder(CONFIG).exact_ladder())
    result = measure_set(pictures(), LosslessCodec(Core(coder, "made", b"fingerprint")), singles=2)
    samples = 6 * 8 * 9 * 3
    assert result.bits_per_sample == pytest.approx(8 * result.file_bytes / samples)
    assert result.overhead_percent == pytest.approx(
        100 * (result.file_bytes / result.ideal_bytes - 1)
    )
    assert result.net_bytes <= result.file_bytes
    assert result.single_bits_per_sample is not None
    assert result.single_payload_bits_per_sample is not None
    assert result.single_payload_bits_per_sample < result.single_bits_per_sample
    assert min(dataclasses.asdict(result)[f"{way}_mb_per_s"] for way in ("encode", "decode")) > 0


def test_a_changed_picture_is_an_error() -> None:
    given = pictures()
    changed = [picture.copy() for picture in given]
    changed[3][0, 0, 0] += 1
    check_equal(given, given)
    with pytest.raises(CodingError, match="came back changed"):
        check_equal(given, changed)
    with pytest.raises(CodingError, match="came back changed"):
        check_equal(given, given[:5])


def test_a_contact_sheet_has_whole_rows_alone() -> None:
    given = pictures()
    sheet = contact_sheet(given, 4)
    assert sheet.shape == (8, 36, 3)
    assert np.array_equal(sheet[:, 9:18], given[1])
    assert contact_sheet(given, 3).shape == (16, 27, 3)


def test_classical_formats_take_a_file_each() -> None:
    pytest.importorskip("pillow_jxl", reason="JPEG XL is an extra")
    sizes = classical_sizes(pictures())
    assert set(sizes) == {"png", "webp", "jxl"}
    assert all(len(found) == 6 and min(found) > 50 for found in sizes.values())
