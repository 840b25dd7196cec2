"""Where the bits of a lossless file went: the header's sum, at the picture's places."""

import numpy as np
import pytest
import torch
from PIL import Image

from laconic.codecs.lossless import grid
from laconic.codecs.lossless.bits import bits_map
from laconic.codecs.lossless.chains.bits_back import ChainCoder
from laconic.codecs.lossless.chosen_bundles import BundleWriter
from laconic.codecs.lossless.codec import Core, LosslessCodec
from laconic.codecs.lossless.file import LosslessFile
from laconic.errors import UnsupportedFileError
from laconic.models.exact import ExactLadder
from laconic.models.pixel_ladder.ladder import PixelLadder
from laconic.models.pixel_ladder.networks import PixelLadderConfig

CAUSAL = PixelLadderConfig(strides=(), latents=(), widths=(), context_width=8, context_kernel=5)
LADDER = PixelLadderConfig(strides=(8,), latents=(4,), widths=(8,))


def make(config: PixelLadderConfig) -> ExactLadder:
    torch.manual_seed(0)
    return PixelLadder(config).eval().exact_ladder()


def half_noise(mode: str) -> Image.Image:
    """Flat on the left, noise on the right."""
    image = np.full((21, 40, 4), 128, np.uint8)
    image[:, 20:] = np.random.default_rng(0).integers(0, 256, (21, 20, 4))
    return Image.fromarray(image).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "1"])
def test_the_sum_is_what_the_header_records(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "TILE_SIDE", 16)
    monkeypatch.setattr(grid, "MAX_TILE_PIXELS", 400)
    monkeypatch.setattr(BundleWriter, "_find_better", lambda *_: None)
    ladder = make(CAUSAL)
    codec = LosslessCodec(Core(ChainCoder(ladder), "causal", b"12345678"), effort=9)
    file = LosslessFile.read(codec.encode(half_noise(mode)))
    done: list[tuple[int, int]] = []
    levels = bits_map(file, ladder, progress=lambda *one: done.append(one))
    (bundle,) = file.bundles
    assert done[-1] == (bundle.grid.count, bundle.grid.count)
    colours, alphas = levels[: bundle.kind.colours], levels[bundle.kind.colours :]
    total = sum(float(one.bits.sum()) for one in colours)
    assert total == pytest.approx(file.header.net_bits, rel=1e-5, abs=1)
    for one in colours:
        assert one.bits.shape == (21, 40)
        if mode != "1":  # An untrained model is wrong about black and white everywhere.
            assert one.bits[:, 20:].sum() > 1.2 * one.bits[:, :20].sum()
    assert [float(one.bits.sum()) for one in alphas] == [8 * size for size in bundle.alphas]


def test_without_a_model_each_tile_has_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "DIRECT_TILE_SIDE", 20)
    monkeypatch.setattr(grid, "MAX_TILE_PIXELS", 400)
    codec = LosslessCodec(lambda: pytest.fail("no model"), effort=0)
    file = LosslessFile.read(codec.encode(half_noise("RGB")))
    (level,) = bits_map(file, None)
    (bundle,) = file.bundles
    assert float(level.bits.sum()) == pytest.approx(8 * sum(bundle.sizes))
    assert level.bits[:, 20:].sum() > 5 * level.bits[:, :20].sum()


def test_latents_have_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BundleWriter, "_find_better", lambda *_: None)
    ladder = make(LADDER)
    codec = LosslessCodec(Core(ChainCoder(ladder), "ladder", b"12345678"), effort=9)
    file = LosslessFile.read(codec.encode(half_noise("RGB")))
    with pytest.raises(UnsupportedFileError, match="latents"):
        bits_map(file, ladder)
