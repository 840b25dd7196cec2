"""Small colour pictures: splits, shapes, damaged files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from laconic.data import colour
from laconic.errors import ConfigError, InputError


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """200 frames; the number of a frame is its grey."""
    images = np.arange(200, dtype=np.uint8)[:, None, None].repeat(28, 1).repeat(20, 2)
    np.savez(tmp_path / colour.FACES_FILE, images=images)
    return tmp_path / colour.FACES_FILE


def test_splits_are_runs_of_frames_and_share_none(faces: Path) -> None:
    parts = {split: colour.load_faces(faces, split) for split in ("train", "valid", "test")}
    assert parts["train"].shape == (160, 1, 28, 20)
    frames = {
        split: (255 * part[:, 0, 0, 0]).round().int().tolist() for split, part in parts.items()
    }
    assert frames["valid"] == [*range(40, 50), *range(140, 150)]
    assert frames["test"] == [*range(90, 100), *range(190, 200)]
    assert sorted(one for part in frames.values() for one in part) == list(range(200))


def test_damaged_faces_are_refused(tmp_path: Path, faces: Path) -> None:
    with pytest.raises(ConfigError, match="split: 'all'"):
        colour.load_faces(faces, "all")
    with pytest.raises(InputError, match="cannot be read"):
        colour.load_faces(tmp_path / "none.npz", "train")
    np.savez(tmp_path / "odd.npz", images=np.zeros((3, 4)))
    with pytest.raises(InputError, match="float64 of shape"):
        colour.load_faces(tmp_path / "odd.npz", "train")


def test_packs_are_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def load(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
        read.append(path.name)
        return torch.arange(10.0), torch.zeros(10)

    monkeypatch.setattr(colour, "load_jpeg_pack", load)
    monkeypatch.setattr(colour, "VALID_COUNT", 3)
    assert colour.load_pack_split(tmp_path, "train").tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert colour.load_pack_split(tmp_path, "valid").tolist() == [7, 8, 9]
    assert len(colour.load_pack_split(tmp_path, "test")) == 10
    assert read == ["jpeg_train49k.npz"] * 2 + ["jpeg_test8k.npz"]
    with pytest.raises(ConfigError, match="split"):
        colour.load_pack_split(tmp_path, "all")


def test_thumbnails_are_the_middles(tmp_path: Path) -> None:
    """A folder such as CelebA's: the middle square of each picture, reduced by means."""
    pixels = np.zeros((20, 32, 3), np.uint8)
    pixels[:, 6:26] = 200
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = colour.load_thumbnails([tmp_path / "a.png"], 4)
    torch.testing.assert_close(found, torch.full((1, 3, 4, 4), 200 / 255))
    with pytest.raises(InputError, match="32 x 20 pixels, 21 x 21 are needed"):
        colour.load_thumbnails([tmp_path / "a.png"], 21)
