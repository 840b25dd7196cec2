"""Packed binary images: every pixel as it was written; other files refused."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from laconic.data.binary import draw_binary, read_binary
from laconic.errors import InputError


def write(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def test_what_was_packed_is_read(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(2, size=(5, 12, 12), dtype=np.uint8)
    packed = np.packbits(pixels.reshape(5, 144), axis=1)
    path = write(tmp_path / "a.npz", train=packed, test=packed[:2])
    images = read_binary(path, "train")
    assert images.shape == (5, 1, 12, 12)
    assert images.dtype == torch.uint8
    assert np.array_equal(images[:, 0].numpy(), pixels)
    assert len(read_binary(path, "test")) == 2


@pytest.mark.parametrize("kind", ["missing", "rubbish", "cut", "pickled"])
def test_other_files_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.npz"
    packed = np.zeros((2, 18), np.uint8)
    if kind == "rubbish":
        path.write_bytes(b"rubbish")
    elif kind == "cut":
        data = write(path, train=packed).read_bytes()
        path.write_bytes(data[: len(data) // 2])
    elif kind == "pickled":
        write(path, train=np.array([packed, None], dtype=object))
    with pytest.raises(InputError, match=r"a\.npz: cannot be read"):
        read_binary(path, "train")


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", train=np.zeros((2, 18), np.uint8), valid=np.zeros(3))
    with pytest.raises(InputError, match="no array 'test'; the file holds train, valid"):
        read_binary(path, "test")


def test_an_array_alone_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros((2, 18), np.uint8))
    with pytest.raises(InputError, match="no array 'train'; the file holds none"):
        read_binary(path, "train")


@pytest.mark.parametrize(
    "array",
    [np.zeros((2, 18)), np.zeros((2, 17), np.uint8), np.zeros(18, np.uint8), np.zeros((2, 0))],
)
def test_arrays_of_other_things_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    path = write(tmp_path / "a.npz", train=array)
    with pytest.raises(InputError, match="square images"):
        read_binary(path, "train")


def test_greys_are_drawn_once_and_for_all(tmp_path: Path) -> None:
    """A false alarm once in 10,000 for each grey; other images and greys change no draw."""
    path = tmp_path / "grey.npz"
    greys = np.repeat(np.array([0, 64, 200, 255], np.uint8), 25)[:, None, None, None]
    grey = np.broadcast_to(greys, (100, 2, 6, 6)).copy()
    write(path, train=grey, fewer=grey[:30])
    bits = draw_binary(path, "train")
    assert (bits.shape, bits.dtype) == ((200, 1, 6, 6), torch.uint8)
    assert torch.equal(bits, draw_binary(path, "train"))
    assert torch.equal(bits[:60], draw_binary(path, "fewer"))
    shares = bits.double().reshape(4, -1).mean(1)
    for share, level in zip(shares.tolist(), [0, 64, 200, 255], strict=True):
        expected = level / 255
        assert abs(share - expected) <= 3.9 * math.sqrt(expected * (1 - expected) / 1800)


def test_what_holds_no_greys_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "grey.npz"
    short = {"flat": np.zeros((3, 4), np.uint8), "long": np.zeros((2, 3, 4), np.uint8)}
    write(path, float=np.zeros((3, 4, 4)), **short)
    for split in ("flat", "float", "long"):
        with pytest.raises(InputError, match=f"'{split}' does not hold square images"):
            draw_binary(path, split)
