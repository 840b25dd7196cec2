"""Packs of JPEG files: what was packed comes out, and damage is named."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from laconic.data.jpeg_pack import load_jpeg_pack
from laconic.errors import InputError


def packed(path: Path, colours: list[tuple[int, int, int]], size: int = 8) -> dict[str, np.ndarray]:
    """Flat pictures of these colours, and what the file of them holds."""
    files = []
    for colour in colours:
        buffer = io.BytesIO()
        Image.new("RGB", (size, size), colour).save(buffer, "JPEG", quality=95)
        files.append(buffer.getvalue())
    parts = {
        "jpeg": np.frombuffer(b"".join(files), np.uint8),
        "offsets": np.cumsum([0, *map(len, files)]).astype(np.uint32),
        "labels": np.arange(len(colours), dtype=np.uint8),
    }
    np.savez(path, **parts)
    return parts


COLOURS = [(255, 0, 0), (0, 255, 0), (20, 40, 200)]


def test_pictures_and_labels_come_out_in_order(tmp_path: Path) -> None:
    packed(tmp_path / "a.npz", COLOURS)
    images, labels = load_jpeg_pack(tmp_path / "a.npz")
    assert images.shape == (3, 3, 8, 8)
    assert images.dtype == torch.float32
    assert labels.tolist() == [0, 1, 2]
    wanted = torch.tensor(COLOURS)[:, :, None, None] / 255
    torch.testing.assert_close(images, wanted.expand(3, 3, 8, 8), atol=0.02, rtol=0)


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(InputError, match="cannot be read"):
        load_jpeg_pack(path)
    path.write_bytes(b"PK rubbish")
    with pytest.raises(InputError, match="cannot be read"):
        load_jpeg_pack(path)
    parts = packed(path, COLOURS)
    np.savez(path, **{**parts, "labels": parts["labels"][:2]})
    with pytest.raises(InputError, match="do not fit"):
        load_jpeg_pack(path)
    np.savez(path, jpeg=parts["jpeg"])
    with pytest.raises(InputError, match="cannot be read"):
        load_jpeg_pack(path)
    jpeg = parts["jpeg"].copy()
    jpeg[parts["offsets"][1] : parts["offsets"][1] + 4] = 0
    np.savez(path, **{**parts, "jpeg": jpeg})
    with pytest.raises(InputError, match="picture 1 is damaged"):
        load_jpeg_pack(path)


def test_pictures_of_two_sizes_are_refused(tmp_path: Path) -> None:
    one, two = packed(tmp_path / "a.npz", COLOURS[:1]), packed(tmp_path / "b.npz", COLOURS[:1], 16)
    np.savez(
        tmp_path / "c.npz",
        jpeg=np.concatenate([one["jpeg"], two["jpeg"]]),
        offsets=np.array([0, len(one["jpeg"]), len(one["jpeg"]) + len(two["jpeg"])]),
        labels=np.zeros(2, np.uint8),
    )
    with pytest.raises(InputError, match="different sizes"):
        load_jpeg_pack(tmp_path / "c.npz")
