"""Where the bits of a lossy file went: the header's sums, at the picture's places."""

from collections.abc import Callable

import numpy as np
import pytest

from laconic.codecs.image import codec as codec_module
from laconic.codecs.image.bits import LevelBits, bits_map, join_levels
from laconic.codecs.image.codec import ImageCodec
from laconic.codecs.image.file import ImageFile
from laconic.codecs.image.tiles import TilePlan
from laconic.models.pyramid import Pyramid
from laconic.models.sliced.ladder import SlicedLadder


def half_noise(height: int, width: int) -> np.ndarray:
    """Flat on the left, noise on the right."""
    image = np.full((height, width, 3), 128, np.uint8)
    image[:, width // 2 :] = np.random.default_rng(0).integers(0, 256, (height, width // 2, 3))
    return image


def test_levels_have_the_header_s_bits(small_ladder: Callable[[], SlicedLadder]) -> None:
    codec = ImageCodec(small_ladder(), "small", b"16 bytes of name", level_costs=True)
    file = ImageFile.read(codec.encode(half_noise(40, 56), quality=80))
    levels = bits_map(file, codec.runtime)
    ideal = [level.ideal_bits for level in file.describe().levels]
    assert [round(float(one.bits.sum())) for one in levels] == ideal
    total = join_levels(levels)
    assert total.bits.sum() == pytest.approx(file.header.ideal_bits, rel=1e-4)
    middle = 28 // total.cell[1]
    assert total.bits[:, middle:].sum() > 1.5 * total.bits[:, :middle].sum()
    assert levels[-1].per_pixel(40, 56).shape == (40, 56)


def test_levels_share_the_header_s_sum_by_their_bytes(
    small_ladder: Callable[[], SlicedLadder],
) -> None:
    codec = ImageCodec(small_ladder(), "small", b"16 bytes of name")
    file = ImageFile.read(codec.encode(half_noise(40, 56), quality=80))
    info = file.describe()
    written = np.array([level.bits for level in info.levels])
    found = [float(one.bits.sum()) for one in bits_map(file, codec.runtime)]
    assert found == pytest.approx(written * info.ideal_bits / written.sum(), rel=1e-4)


def test_tiles_take_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a tiled file without expected rates; every tile's bits are where the tile is."""
    monkeypatch.setattr(codec_module, "plan_tiles", lambda h, w, stride: TilePlan(h, w, 32, 32, 8))
    codec = ImageCodec(Pyramid(), "pyramid", b"pyramid,", coder="importance")
    file = ImageFile.read(codec.encode(half_noise(48, 80)))
    done: list[tuple[int, int]] = []
    levels = bits_map(file, codec.runtime, lambda *one: done.append(one))
    assert done == [(k, file.header.plan.count) for k in range(1, file.header.plan.count + 1)]
    assert {one.cell for one in levels} == {(8, 8)}
    assert {one.bits.shape for one in levels} == {(6, 10)}
    assert (levels[0].bits > 0).mean() > 0.8


def test_grids_are_joined_on_the_finest() -> None:
    coarse = LevelBits(np.full((1, 2), 8, np.float32), (4, 4))
    fine = LevelBits(np.arange(8, dtype=np.float32).reshape(2, 4), (2, 2))
    total = join_levels([coarse, fine])
    assert total.cell == (2, 2)
    assert (total.bits == fine.bits + 2).all()
