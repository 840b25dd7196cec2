"""Patches: the count rule, determinism by batch number, the covariance."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from laconic.data.patches import (
    ENLARGERS,
    MixedSampler,
    PatchSampler,
    halve_chroma,
    load_images,
    patch_count,
    read_split,
    reducer,
)
from laconic.errors import ConfigError
from laconic.networks.linear_transform import block_covariance


@pytest.fixture
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [
        rng.integers(256, size=(h, w, 3), dtype=np.uint8)
        for h, w in ((64, 80), (512, 300), (20, 20))
    ]


@pytest.mark.parametrize(("size", "count"), [((256, 256), 15), ((255, 900), 0), ((1024, 683), 120)])
def test_patch_count_follows_the_source(size: tuple[int, int], count: int) -> None:
    assert patch_count(*size) == count


def test_batches_depend_on_seed_and_number_only(images: list[np.ndarray]) -> None:
    sampler = PatchSampler(images, size=32, batch=4, seed=3)
    again = PatchSampler(images, size=32, batch=4, seed=3)
    sampler.batch(0)
    torch.testing.assert_close(sampler.batch(7), again.batch(7), rtol=0, atol=0)
    assert not torch.equal(sampler.batch(7), sampler.batch(8))
    assert sampler.batch(7).shape == (4, 3, 32, 32)
    assert 0 <= float(sampler.batch(7).min()) <= float(sampler.batch(7).max()) <= 1


def test_patches_are_parts_of_the_images() -> None:
    ramp = np.arange(40 * 50, dtype=np.int64).reshape(40, 50)
    image = np.stack([ramp % 251, ramp // 251, ramp * 0], axis=-1).astype(np.uint8)
    patch = (PatchSampler([image], 16, 1, 0).batch(0)[0] * 255).round().long()
    values = patch[0] + 251 * patch[1]
    steps = sorted({abs(int(values[0, 1] - values[0, 0])), abs(int(values[1, 0] - values[0, 0]))})
    assert steps == [1, 50]


def test_images_smaller_than_a_patch_are_refused(images: list[np.ndarray]) -> None:
    with pytest.raises(ConfigError, match="1000 pixels"):
        PatchSampler(images, size=1000, batch=1, seed=0)


def test_covariance_of_white_noise_is_white() -> None:
    """Uniform noise: variance 1/12; entries within six standard errors (false alarms < 1e-4)."""
    rng = np.random.default_rng(1)
    noise = [rng.integers(256, size=(256, 256, 3), dtype=np.uint8) for _ in range(4)]
    covariance = block_covariance(map(PatchSampler(noise, 128, 8, 0).batch, range(4)), block=4)
    assert covariance.shape == (48, 48)
    samples = 4 * 8 * 32 * 32
    torch.testing.assert_close(
        covariance, torch.eye(48).double() / 12, rtol=0, atol=6 / 12 / samples**0.5
    )


def test_split_files(tmp_path: Path) -> None:
    (tmp_path / "split.txt").write_text("train a b.png\nvalid c.png\n")
    assert read_split(tmp_path, "train") == [tmp_path / "a b.png"]
    with pytest.raises(ConfigError, match="'test'"):
        read_split(tmp_path, "test")
    with pytest.raises(ConfigError, match=r"split\.txt"):
        read_split(tmp_path / "absent", "train")


def test_unreadable_images_name_the_file(tmp_path: Path) -> None:
    Image.new("L", (9, 7)).save(tmp_path / "grey.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    assert load_images([tmp_path / "grey.png"])[0].shape == (7, 9, 3)
    with pytest.raises(ConfigError, match=r"bad\.png"):
        load_images([tmp_path / "bad.png"])


def test_a_share_of_the_patches_is_grey() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40, 40, 3)).astype(np.uint8)]
    batch = PatchSampler(images, 8, 400, seed=0, grey_share=0.25).batch(0)
    grey = (batch == batch[:, :1]).flatten(1).all(1).float().mean()
    # 400 draws of probability 1/4: five standard errors, false alarms below 1e-6.
    assert abs(float(grey) - 0.25) < 5 * (0.25 * 0.75 / 400) ** 0.5


def test_halved_chroma_keeps_luma_and_smooths_chroma() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(60, 190, (33, 40, 3)).astype(np.uint8)
    before = np.asarray(Image.fromarray(image).convert("YCbCr"), np.float64)
    for enlarger in ENLARGERS:
        halved = halve_chroma(image, enlarger)
        after = np.asarray(Image.fromarray(halved).convert("YCbCr"), np.float64)
        assert halved.shape == image.shape
        # Rounding to YCbCr and back costs about a step; few pixels leave the range of RGB.
        assert np.abs(after[..., 0] - before[..., 0]).mean() < 2
        steps = [np.abs(np.diff(x[..., 1:], axis=1)).mean() for x in (before, after)]
        assert steps[1] < 0.6 * steps[0]


def test_a_share_of_the_patches_has_halved_chroma() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40, 40, 3)).astype(np.uint8)]
    plain = PatchSampler(images, 40, 400, seed=0).batch(0)
    batch = PatchSampler(images, 40, 400, seed=0, chroma_share=0.25).batch(0)
    assert batch.shape == plain.shape
    chroma = (batch[:, 0] - batch[:, 1]).diff(dim=2).abs().mean((1, 2))
    changed = (chroma < 0.6 * chroma.max()).float().mean()
    # 400 draws of probability 1/4: five standard errors, false alarms below 1e-6.
    assert abs(float(changed) - 0.25) < 5 * (0.25 * 0.75 / 400) ** 0.5


def test_reduced_photographs_are_means_over_squares() -> None:
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    reduced = reducer(2)(image)
    assert reduced.shape == (2, 3, 3)
    expected = image.reshape(2, 2, 3, 2, 3).mean((1, 3))
    assert np.abs(reduced - expected).max() <= 1


def test_a_share_of_the_patches_comes_from_elsewhere() -> None:
    white, black = ([np.full((40, 40, 3), value, np.uint8)] for value in (255, 0))
    pair = [PatchSampler(images, 32, 8, 0) for images in (white, black)]
    mixed = MixedSampler(*pair, share=0.25)
    means = torch.cat([mixed.batch(index).mean((1, 2, 3)) for index in range(50)])
    assert set(means.tolist()) == {0.0, 1.0}
    assert float(means.mean()) == pytest.approx(0.75, abs=0.07)
    assert torch.equal(mixed.batch(3), MixedSampler(*pair, share=0.25).batch(3))
